"""A lift: one set of networks trained on a GAN's own samples, without any user images.

WORKDIR/model.safetensors      the model: networks, view and light statistics, what it is made for (`lift.model_file`);
                               with the recipe 'train_detail', anew for each row of the history
WORKDIR/networks.safetensors   D, A, V, L and E
WORKDIR/history.csv            losses, and metrics on held-out samples (`lift.task.signs_of`)
WORKDIR/history.json           the same
WORKDIR/samples/               the networks' output for held-out samples, at the end of every step
WORKDIR/joint.json             whether training has gone back to an earlier checkpoint
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.config.load import as_detail_training
from gan2shape_jax.detection import faces
from gan2shape_jax.errors import DivergedError
from gan2shape_jax.io import data
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.files import atomic_bytes, atomic_file, remove_folder, spare_unreadable
from gan2shape_jax.lift import model_file, samples, view_training
from gan2shape_jax.lift import task as task_lib
from gan2shape_jax.lift.detail_training import DetailTraining
from gan2shape_jax.method import models, pose_edit
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.plan import inputs
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results.pictures import to_uint8, write_png
from gan2shape_jax.results.views import draw_sample_sheet
from gan2shape_jax.run import joint
from gan2shape_jax.run.folder import DETAIL, Run
from gan2shape_jax.run.images import RunContext, run_context
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import devices, network_files

_WITH_LANDMARKS = 512  # samples that landmarks are measured on


def lift_gan(run: Run, names: Sequence[str]) -> None:
    """Lifts the GAN, resuming from a checkpoint where there is one.

    `names` are images that the recipe 'train_detail' mixes with samples; the others use none.

    Raises:
      UserError: a file is unusable.
      DivergedError: the loss is not finite, or the networks collapse, a second time.
    """
    if run.networks.exists:
        model = run.folder.root / model_file.NAME
        spare_unreadable(model, model_file.read_model)  # it is made again, from the networks
        if model_file.read_model(model):
            return
    with run_context(run) as context:
        _Lift(**vars(context)).make_model(names)


def detail_run(config: ConfigDict) -> ConfigDict | None:
    """Returns the configuration of the run, inside the lift's folder, that teaches its model's albedo detail.

    It is None, and a sentence says what to do, where several processes have been connected: that cannot be done twice.
    """
    pictures, model = config.lift.detail_pictures, f"{config.workdir}/{model_file.NAME}"
    if jax.process_count() > 1:
        print(f"the variant `train_detail`, with --config.networks.pretrained={model}, teaches its albedo detail")
        return None
    print(f"teaching its albedo detail, by {pictures:,} pictures (0 in config.lift.detail_pictures leaves this out)")
    detail = config.copy_and_resolve_references().unlock()
    detail = as_detail_training(detail, model=model, folder=f"{config.workdir}/{DETAIL}", pictures=pictures)
    return detail.lock()


def task_of(config: ConfigDict, architecture: Architecture, frozen: FrozenModels, **options: Any) -> task_lib.Lift:
    """Returns the task of lifting a GAN; `options` as for `Lift`."""
    return task_lib.Lift(
        config, samples.maker_of(config, architecture, frozen), config.schedule.batches_per_iteration, **options
    )


@dataclasses.dataclass(frozen=True)
class _Lift(RunContext):
    """A lift in its folder."""

    def make_model(self, names: Sequence[str]) -> None:
        """Trains the networks unless they exist, and writes the model."""
        if self.folder.leads:
            self.folder.note_joint(**self.requested_networks().made_with)
        if not self.networks.exists and self.plan.recipe.name == "train_detail":
            self.train_detail(names)
        elif not self.networks.exists:
            self.train_twice()
        leads = self.folder.leads
        jax.distributed.shutdown()
        if leads:
            remove_folder(self.folder.shared_checkpoints)  # the networks and the history have been written
            self.write_model()

    @functools.cached_property
    def _begun(self) -> tuple[models.Params, LatentPoseEdit | None]:
        """The networks to begin with, V taught to see far turns, and how the GAN turns, if a stage learns from that."""
        config = self.config
        maker = samples.maker_of(config, self.architecture, self.frozen)
        params = models.published(inputs.initial_params(self.plan, maker.settings))  # `DETAIL` is for what they become
        if config.recipe == "lift":  # every stage is anchored
            return params, None
        edit = model_file.measured_pose_edit(config, params, maker)
        if edit is None:
            self.monitor.log("the GAN hardly turns what it draws: every sample gets an encoder of its own")
            return params, None
        self.monitor.log("the GAN turns what it draws: V is trained on far turns, and depth on turned pictures")
        return pose_edit.taught(maker.key, params, edit, self.frozen, maker.settings), edit

    def train_twice(self) -> None:
        """Trains to the end; if training diverges, goes back to the newest checkpoint, at most once per run."""
        returns = int(self.folder.joint.get("returns_to_a_checkpoint", 0))
        while True:
            try:
                return self._train(returns)
            except DivergedError as error:
                if returns:
                    raise DivergedError(
                        f"{error}; the run already went back to an earlier checkpoint: use other samples "
                        "(--config.seed), a smaller --config.optimizer.learning_rate, or a larger "
                        "--config.lift.anchor_view, in a new --config.workdir"
                    ) from error
                self.monitor.log(
                    f"{error}. Going back to the last good checkpoint, with half the learning rate and another order "
                    "of the samples"
                )
                returns = 1
                if self.folder.leads:
                    self.folder.note_joint(returns_to_a_checkpoint=returns)

    def _train(self, returns: int) -> None:
        """Trains to the end, from the newest checkpoint or from scratch, having gone back so many times."""
        config = self.config
        initial, edit = self._begun
        collected = functools.partial(self._report, "collecting samples", "images")
        hooks = {"returns": returns, "on_collected": collected, "pose_edit": edit, "log": self.monitor.log}
        task = task_of(config, self.architecture, self.frozen, **hooks)
        if note := devices.padding_note(task.replicas, devices.mesh_of(task.replicas, jax.devices()), "batches"):
            self.monitor.log(note)
        self._trained(task, initial)

    def _trained(self, task: task_lib.Lift | DetailTraining, initial: models.Params) -> None:
        """Trains the task's networks from `initial`, or a checkpoint, to the end; draws sheets of held-out samples."""

        def drawn(phase: Phase, views: Prediction) -> Prediction:
            if self.folder.leads:
                images = np.stack([np.asarray(sample.example.image[0]) for sample in task.held_out[: task_lib.SHOWN]])
                recon, albedo, depth = (np.asarray(leaf) for leaf in (views.reconstruction, views.albedo, views.depth))
                path = self.folder.root / "samples" / f"{phase.number:02d}_{phase.label.replace(' ', '_')}.png"
                contact_sheet = draw_sample_sheet(images, recon, albedo, depth, task.settings.camera)
                atomic_file(path, lambda part: write_png(part, contact_sheet), parents=True)
            return jax.tree.map(lambda leaf: leaf[0], views)

        joint.train(self, task, initial, title="samples", requested=self.requested_networks(), drawn=drawn)

    def train_detail(self, names: Sequence[str]) -> None:
        """Teaches a model's `DETAIL` by samples that are never shown twice, from the newest checkpoint or the model."""
        config = self.config
        maker = samples.maker_of(config, self.architecture, self.frozen)
        settings = model_file.as_with_single_images(config, maker.settings)
        params = inputs.initial_params(self.plan, settings)
        if models.DETAIL not in params:
            params |= models.init_detail(key_of(maker.key, Stream.DETAIL), settings)
        images = [data.load_item(config, name, run_parser=False).image for name in names]
        task = DetailTraining(
            maker,
            changed(settings, fresh_samples=config.schedule.batches_per_iteration),  # of which each has a partner
            average=config.lift.average,
            held_out=maker.examples(Stream.HELD_OUT_SAMPLE, range(config.lift.held_out)),
            photographs=to_uint8(np.stack(images)) if images else None,
            on_row=self._write_detail,
        )
        self._trained(task, params)

    def _write_detail(self, detail: models.Params, shown: int) -> None:
        """Writes the model that training started from, with this network."""
        config, root = self.config, self.folder.root
        if not self.folder.leads:
            return
        maker = samples.maker_of(config, self.architecture, self.frozen)
        images, _ = maker.images(Stream.HELD_OUT_SAMPLE, range(config.lift.held_out))
        training = {"configuration": self.identity.fingerprint, "seed": config.seed, "pictures": shown}
        content = model_file.with_detail(
            pathlib.Path(config.networks.pretrained), detail, images, maker.settings, training
        )
        atomic_bytes(root / model_file.NAME, content)

    def _report(self, what: str, unit: str, done: int, count: int) -> None:
        """Reports every tenth of the way how far work is, and responds to Ctrl-C."""
        self.monitor.check()
        if done and done % -(-count // 10) == 0:
            self.monitor.log(f"{what}: {done} of {count} {unit}")

    def write_model(self) -> None:
        """Turns the trained networks into a model file."""
        if self.config.recipe == "train_detail":  # it is there
            return
        config, path = self.config, self.folder.root / model_file.NAME
        maker = samples.maker_of(config, self.architecture, self.frozen)
        like = models.shapes(maker.settings)
        params = network_files.load_networks(self.folder.networks, like, maker.settings)
        if iterations := config.lift.view_iterations:
            self.monitor.log(f"teaching V by turned samples, {iterations} iterations")
            told = functools.partial(self._report, "teaching V", "iterations", count=iterations)
            params = view_training.taught(config, params, maker, on_iteration=told)
        self.monitor.log(f"measuring views, lights and errors on {config.lift.measured} fresh samples")
        held_out = maker.examples(Stream.HELD_OUT_SAMPLE, range(config.lift.held_out))
        landmarks, configuration = measured_landmarks(config, params, maker), self.identity.fingerprint
        model_file.write(config, params, maker, held_out, path, configuration=configuration, landmarks=landmarks)
        self.monitor.log(f"wrote the model {path}; use it with --config.networks.pretrained={path}")


def measured_landmarks(config: ConfigDict, params: models.Params, maker: samples.SampleMaker) -> np.ndarray | None:
    """Returns where people's landmarks are on the mean of the lift's samples (5, 3); None if it draws no people."""
    if category_of(config.category).detector != "face":
        return None
    images, _ = maker.images(Stream.MEASURED_SAMPLE, range(_WITH_LANDMARKS))
    settings = model_file.as_with_single_images(config, maker.settings)
    views = in_batches(
        lambda some: _views(params, jnp.asarray(some), maker.frozen.view_mean, settings), images, size=16
    )
    return faces.measure_points(to_uint8(images), views, settings.camera)


_views = jax.jit(models.views)
