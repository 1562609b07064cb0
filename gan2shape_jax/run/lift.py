"""A lift: one set of networks trained on a GAN's own samples, without any user images.

WORKDIR/model.safetensors      the model: networks, view and light statistics, what it is made for (`lift.model_file`);
                               with `config.lift.pictures`, anew for each row of the history
WORKDIR/networks.safetensors   D, A, V, L and E
WORKDIR/history.csv            losses, and metrics on held-out samples (`lift.task.signs_of`)
WORKDIR/history.json           the same
WORKDIR/samples/               the networks' output for held-out samples, at the end of every step
WORKDIR/joint.json             whether training has gone back to an earlier checkpoint
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import DivergedError, UserError
from gan2shape_jax.io import data
from gan2shape_jax.io.files import atomic_bytes, atomic_file
from gan2shape_jax.lift import model_file, samples
from gan2shape_jax.lift import task as task_lib
from gan2shape_jax.lift.amortization import Amortized, amortized
from gan2shape_jax.method import models, turning
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.method.turning import Turning
from gan2shape_jax.results.pictures import to_uint8, write_png
from gan2shape_jax.results.views import draw_sample_sheet
from gan2shape_jax.run import hosts, joint, prepare, start
from gan2shape_jax.run.folder import config_hash, joint_record, note_joint
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.run.runner import RunContext, run_context
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import checkpoint, devices, network_files


def lift_gan(plan: Plan, names: Sequence[str]) -> int:
    """Lifts the GAN, resuming from a checkpoint where there is one.

    `names` are images that `config.lift.pictures` mixes with samples; a lift without it uses none.

    Raises:
      UserError: a file is unusable.
      DivergedError: the loss is not finite, or the networks collapse, a second time.
    """
    with start.begin(plan.config, [], stay=True) as started:
        folder = started.folder
        with contextlib.suppress(UserError):  # one that is damaged is made again
            if started.trained and model_file.read_facts(folder.root / model_file.NAME):
                return 0
        with run_context(plan, folder) as context:
            lift = _Lift(**vars(context))
            if not started.trained and plan.config.lift.pictures:
                lift.amortize(names)
            elif not started.trained:
                lift.train_twice()
            jax.distributed.shutdown()
            if folder.team.leads:
                checkpoint.discard(folder.group_checkpoints("all"))  # the networks and the history have been written
                lift.write_model()
    return 0


def task_of(config: ConfigDict, architecture: Architecture, frozen: FrozenModels, **options: Any) -> task_lib.Lift:
    """Returns the task of lifting a GAN; `options` as for `Lift`."""
    return task_lib.Lift(config, samples.maker_of(config, architecture, frozen), joint.replicas_of(config), **options)


@dataclasses.dataclass(frozen=True)
class _Lift(RunContext):
    """A lift in its folder."""

    def _returns(self) -> int:
        """Returns how many times training has gone back to an earlier checkpoint, from the run's record."""
        return int(joint_record(self.folder.root).get("returns_to_a_checkpoint", 0))

    @functools.cached_property
    def _begun(self) -> tuple[models.Params, Turning | None]:
        """The networks to begin with, V taught to see far turns, and how the GAN turns, if a stage learns from that."""
        config = self.config
        maker = samples.maker_of(config, self.architecture, self.frozen)
        params = models.published(prepare.initial_params(self.plan, maker.settings))  # `DETAIL` is for what they become
        if not config.networks.pretrained or config.lift.anchored_stages >= len(config.schedule.stages):
            return params, None
        turning_fit = model_file.measured_turning(config, params, maker)
        if turning_fit is None:
            self.monitor.say("the GAN hardly turns what it draws: every sample gets an encoder of its own")
            return params, None
        self.monitor.say("the GAN turns what it draws: V is trained on far turns, and depth on turned pictures")
        return turning.taught(maker.key, params, turning_fit, self.frozen, maker.settings), turning_fit

    def train_twice(self) -> None:
        """Trains to the end; if training diverges, goes back to the newest checkpoint, at most once per run."""
        while True:
            try:
                return self._train()
            except DivergedError as error:
                if self._returns():
                    raise DivergedError(
                        f"{error}; the run already went back to an earlier checkpoint: use other samples "
                        "(--config.seed), a smaller --config.optimizer.learning_rate, or a larger "
                        "--config.lift.anchor_view, in a new --config.workdir"
                    ) from error
                self.monitor.say(
                    f"{error}. Going back to the last good checkpoint, with half the learning rate and another order "
                    "of the samples"
                )
                if self.folder.team.leads:
                    note_joint(self.folder.root, returns_to_a_checkpoint=1)
                hosts.wait_for(lambda: bool(self._returns()))

    def _train(self) -> None:
        """Trains to the end, from the newest checkpoint or from scratch."""
        config = self.config
        initial, turning_fit = self._begun
        hooks = {"returns": self._returns(), "on_collected": self._report, "turning": turning_fit}
        task = task_of(config, self.architecture, self.frozen, **hooks)
        if note := devices.padding_note(task.replicas, devices.mesh_of(task.replicas, jax.devices()), "batches"):
            self.monitor.say(note)
        self._trained(task, initial)

    def _trained(self, task: task_lib.Lift | Amortized, initial: models.Params) -> None:
        """Trains the task's networks from `initial`, or a checkpoint, to the end; draws sheets of held-out samples."""

        def drawn(phase: Phase, views: Prediction) -> Prediction:
            if self.folder.team.leads:
                images = np.stack([np.asarray(sample.problem.image[0]) for sample in task.kept_out[: task_lib.SHOWN]])
                recon, albedo, depth = (np.asarray(leaf) for leaf in (views.reconstruction, views.albedo, views.depth))
                path = self.folder.root / "samples" / f"{phase.number:02d}_{phase.label.replace(' ', '_')}.png"
                contact_sheet = draw_sample_sheet(images, recon, albedo, depth, task.settings.camera)
                atomic_file(path, lambda part: write_png(part, contact_sheet), parents=True)
            return jax.tree.map(lambda leaf: leaf[0], views)

        made_with = {"batches_per_iteration": joint.replicas_of(self.config)}
        joint.train(self, task, initial, title="samples", made_with=made_with, drawn=drawn)

    def amortize(self, names: Sequence[str]) -> None:
        """Teaches a model's `DETAIL` by samples that are never shown twice, from the newest checkpoint or the model."""
        config = self.config
        maker = samples.maker_of(config, self.architecture, self.frozen)
        settings = model_file.as_with_single_images(config, maker.settings)
        params = prepare.initial_params(self.plan, settings)
        if models.DETAIL not in params:
            params |= models.init_detail(key_of(maker.key, Stream.DETAIL), settings)
        images = [data.load_item(config, name, run_parser=False).image for name in names]
        task = amortized(
            maker,
            settings,
            pairs=joint.replicas_of(config),
            average=config.lift.average,
            kept_out=maker.problems(Stream.HELD_OUT_SAMPLE, range(config.lift.kept_out)),
            photographs=to_uint8(np.stack(images)) if images else None,
            on_row=self._write_detail,
        )
        self._trained(task, params)

    def _write_detail(self, detail: models.Params, shown: int) -> None:
        """Writes the model that training started from, with this network."""
        config, root = self.config, self.folder.root
        if not self.folder.team.leads:
            return
        maker = samples.maker_of(config, self.architecture, self.frozen)
        images, _ = maker.images(Stream.HELD_OUT_SAMPLE, range(config.lift.kept_out))
        training = {"configuration": config_hash(config), "seed": config.seed, "pictures": shown}
        content = model_file.with_detail(
            pathlib.Path(config.networks.pretrained), detail, images, maker.settings, training
        )
        atomic_bytes(root / model_file.NAME, content)

    def _report(self, done: int, count: int) -> None:
        """Reports every tenth of the way how many images have their samples, and responds to Ctrl-C."""
        self.monitor.check()
        if done % -(-count // 10) == 0:
            self.monitor.say(f"collecting samples: {done} of {count} images")

    def write_model(self) -> None:
        """Turns the trained networks into a model file."""
        if self.config.lift.pictures:  # it is there
            return
        config, path = self.config, self.folder.root / model_file.NAME
        self.monitor.say(f"measuring views, lights and errors on {config.lift.measured} fresh samples")
        maker = samples.maker_of(config, self.architecture, self.frozen)
        like = models.shapes(maker.settings)
        params = network_files.load_networks(self.folder.networks, like, maker.settings)
        kept_out = maker.problems(Stream.HELD_OUT_SAMPLE, range(config.lift.kept_out))
        model_file.write(config, params, maker, kept_out, path, configuration=config_hash(config))
        self.monitor.say(f"wrote the model {path}; use it with --config.networks.pretrained={path}")
