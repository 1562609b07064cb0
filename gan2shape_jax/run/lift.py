"""A lift: one set of networks trained on a GAN's own samples, without any user images.

WORKDIR/model.safetensors      the model: networks, view and light statistics, what it is made for (`lift.model_file`)
WORKDIR/networks.safetensors   D, A, V, L and E
WORKDIR/history.csv            losses, and metrics on held-out samples (`lift.task.signs_of`)
WORKDIR/history.json           the same
WORKDIR/samples/               the networks' output for held-out samples, at the end of every step
WORKDIR/joint.json             whether training has gone back to an earlier checkpoint
"""

import contextlib
import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import DivergedError, UserError
from gan2shape_jax.io.files import atomic_file
from gan2shape_jax.lift import model_file, samples
from gan2shape_jax.lift import task as task_lib
from gan2shape_jax.method import models, turning
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.turning import Turning
from gan2shape_jax.results.pictures import write_png
from gan2shape_jax.results.views import draw_sample_sheet
from gan2shape_jax.run import hosts, joint, prepare, start
from gan2shape_jax.run.folder import config_hash, joint_record, note_joint
from gan2shape_jax.run.runner import Work, at_work
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import checkpoint, network_files


def run(config: ConfigDict, names: list[str]) -> int:
    """Lifts the GAN, resuming from a checkpoint where there is one; `names` is ignored, a lift uses no images.

    Raises:
      UserError: a file is unusable.
      DivergedError: the loss is not finite, or the networks collapse, a second time.
    """
    with start.begin(config, [], stay=True) as started:
        folder = started.folder
        with contextlib.suppress(UserError):  # one that is damaged is made again
            if started.trained and model_file.read_facts(folder.root / model_file.NAME):
                return 0
        with at_work(config, folder) as work:
            lift = _Lift(**vars(work))
            if not started.trained:
                lift.train_twice()
            jax.distributed.shutdown()
            if folder.team.leads:
                checkpoint.discard(folder.group_checkpoints("all"))  # the networks and the history have been written
                lift.write_model()
    return 0


def task_of(config: ConfigDict, architecture: Architecture, frozen: FrozenModels, **given: Any) -> task_lib.Lift:
    """Returns the task of lifting a GAN; `given` as for `Lift`."""
    return task_lib.Lift(config, samples.maker_of(config, architecture, frozen), joint.replicas_of(config), **given)


@dataclasses.dataclass(frozen=True)
class _Lift(Work):
    """A lift in its folder."""

    def _returns(self) -> int:
        """Returns how many times training has gone back to an earlier checkpoint, from the run's record."""
        return int(joint_record(self.folder.root).get("returns_to_a_checkpoint", 0))

    @functools.cached_property
    def _begun(self) -> tuple[models.Params, Turning | None]:
        """The networks to begin with, V taught to see far turns, and how the GAN turns, if a stage learns from that."""
        config = self.config
        maker = samples.maker_of(config, self.architecture, self.frozen)
        params = prepare.initial_params(config, maker.settings)
        if not config.networks.pretrained or config.lift.anchored_stages >= len(config.schedule.stages):
            return params, None
        found = model_file.found_turning(config, params, maker)
        if found is None:
            self.monitor.say("the GAN hardly turns what it draws: every sample gets an encoder of its own")
            return params, None
        self.monitor.say("the GAN turns what it draws: V is taught to see far turns, and depth learns from them")
        return turning.taught(params, found, self.frozen, maker.settings), found

    def train_twice(self) -> None:
        """Trains to the end; if training diverges, goes back to the newest checkpoint, at most once per run."""
        while True:
            try:
                return self._train()
            except DivergedError as error:
                if self._returns():
                    raise DivergedError(
                        f"{error}; the run has gone back to an earlier checkpoint before: give other samples "
                        "(--config.seed), a smaller --config.optimizer.learning_rate, or a larger "
                        "--config.lift.anchor_view, in a new --config.workdir"
                    ) from error
                self.monitor.say(
                    f"{error}. Goes back to the last good checkpoint, with half the learning rate and another order "
                    "of the samples"
                )
                if self.folder.team.leads:
                    note_joint(self.folder.root, returns_to_a_checkpoint=1)
                hosts.wait_for(lambda: bool(self._returns()))

    def _train(self) -> None:
        """Trains to the end, from the newest checkpoint or from scratch."""
        config, root, leads = self.config, self.folder.root, self.folder.team.leads
        initial, found = self._begun
        hooks = {"returns": self._returns(), "on_collected": self._report, "turning": found}
        task = task_of(config, self.architecture, self.frozen, **hooks)

        def drawn(phase: Phase, views: Reconstruction) -> Reconstruction:
            if leads:
                images = np.stack([np.asarray(one.problem.image[0]) for one in task.kept_out[: task_lib.SHOWN]])
                recon, albedo, depth = (np.asarray(leaf) for leaf in (views.reconstruction, views.albedo, views.depth))
                path = root / "samples" / f"{phase.number:02d}_{phase.label.replace(' ', '_')}.png"
                sheet = draw_sample_sheet(images, recon, albedo, depth, task.settings.camera)
                atomic_file(path, lambda part: write_png(part, sheet), parents=True)
            return jax.tree.map(lambda leaf: leaf[0], views)

        made_with = {"batches_per_iteration": joint.replicas_of(config)}
        joint.train(self, task, initial, title="samples", made_with=made_with, drawn=drawn)

    def _report(self, done: int, count: int) -> None:
        """Reports every tenth of the way how many images have their samples, and responds to Ctrl-C."""
        self.monitor.check()
        if done % -(-count // 10) == 0:
            self.monitor.say(f"samples are collected: those of {done} of {count} images are done")

    def write_model(self) -> None:
        """Turns the trained networks into a model file."""
        config, path = self.config, self.folder.root / model_file.NAME
        self.monitor.say(f"measuring views, lights and errors on {config.lift.measured} fresh samples")
        maker = samples.maker_of(config, self.architecture, self.frozen)
        like = models.init_params(jax.random.key(config.seed), maker.settings)
        params = network_files.load_networks(self.folder.networks, like, maker.settings)
        kept_out = maker.problems(range(config.lift.kept_out))
        model_file.write(config, params, maker, kept_out, path, configuration=config_hash(config))
        self.monitor.say(f"the model is {path}; use it with --config.networks.pretrained={path}")
