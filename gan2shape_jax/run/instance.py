"""A run in which every image trains networks of its own: one after another, or several at once as a group."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import DiskFullError
from gan2shape_jax.inputs import data
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import PreparedImage, TrainState
from gan2shape_jax.run import interrupt, loading, results
from gan2shape_jax.run.each_image import FAILURES, GroupOutcome, attempt, divide, explain, for_each_group, stem_of
from gan2shape_jax.run.monitor import Monitor
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.runtime import cadence_of, interruptible, schedule_of
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import checkpoint, group, group_plan, image_axis, loop, network_files

__all__ = ["run"]


@dataclasses.dataclass(frozen=True)
class _Run:
    """What all images of a run share."""

    config: ConfigDict
    folder: RunFolder
    names: tuple[str, ...]
    schedule: tuple[Phase, ...]
    architecture: Architecture
    frozen: FrozenModels
    monitor: Monitor
    check_interrupt: Callable[[], None]

    def prepare(self, name: str) -> PreparedImage:
        prepared = loading.load_problem(self.config, name, self.architecture, self.frozen, self.folder.latents)
        if not self.config.data.latent_root:
            self.monitor.say(f"{prepared.name}: found a latent, mean absolute error {prepared.inversion_l1:.3f}")
        return prepared

    def initial(self, prepared: PreparedImage, name: str) -> models.Params:
        """What an image starts from: the last image's networks, pretrained ones, or random ones (by the seed)."""
        config = self.config
        previous = None if config.schedule.reset_weight else self._finished_before(name)
        if previous is None:
            return loading.initial_params(config, prepared.settings)
        fresh = models.init_params(jax.random.key(config.seed), prepared.settings)
        return network_files.load_networks(previous / "networks.safetensors", fresh, prepared.settings)

    def _finished_before(self, name: str) -> pathlib.Path | None:
        """Results of the nearest image before this one in the list that has some."""
        before = [stem_of(one) for one in self.names[: self.names.index(name)]]
        finished = [stem for stem in before if self.folder.is_finished(stem)]
        return self.folder.result(finished[-1]) if finished else None

    def write(self, prepared: PreparedImage, state: TrainState, history: list[dict[str, Any]]) -> None:
        """Writes an image's results folder, which appears whole or not at all."""
        result = results.result_of(state, prepared, self.frozen, history, category=self.config.category)
        extra = {
            "history.csv": results.history_csv(history).encode(),
            "networks.safetensors": network_files.networks_bytes(state.params),
        }
        results.write_result(
            result,
            self.folder.result(prepared.name),
            results.projector(state, prepared, self.frozen),
            self.config,
            extra,
        )


def _reconstruct(this: _Run, name: str) -> GroupOutcome:
    """Trains one image's networks; what is left to do is to write its results."""
    done = []

    def train() -> None:
        prepared = this.prepare(name)
        done.append(
            (
                prepared,
                *loop.train(
                    prepared,
                    this.frozen,
                    this.schedule,
                    this.initial(prepared, name),
                    this.folder.checkpoints(prepared.name),
                    cadence_of(this.config),
                    interruptible(this.monitor.watch(prepared.name), this.check_interrupt),
                ),
            )
        )

    def finish() -> dict[str, str]:
        prepared, state, history = done[0]
        failures = attempt(name, functools.partial(this.write, prepared, state, history))
        if not failures:
            checkpoint.discard(this.folder.checkpoints(prepared.name))  # the networks are in the results
        return failures

    failures = attempt(name, train)
    return GroupOutcome(failures, None if failures else finish)


def _reconstruct_together(this: _Run, names: list[str]) -> GroupOutcome:
    """Trains several images' networks at once."""
    ready: dict[str, PreparedImage] = {}

    def get_ready(name: str) -> None:
        ready[name] = this.prepare(name)

    failures: dict[str, str] = {}
    for name in names:
        failures |= attempt(name, functools.partial(get_ready, name))
    finishes = []
    while ready:
        first = next(iter(ready.values()))
        alike = {name: one for name, one in ready.items() if group.alike(first, one)}
        ready = {name: one for name, one in ready.items() if name not in alike}
        made = _train_together(this, alike)
        failures |= made.failures
        finishes += [made.finish] if made.finish else []
    return GroupOutcome(failures, lambda: {stem: message for finish in finishes for stem, message in finish().items()})


def _train_together(this: _Run, images: dict[str, PreparedImage]) -> GroupOutcome:
    """Trains images that are alike; what is left to do is to write their results."""
    names = list(images)
    folder = this.folder.checkpoints(group_plan.key_of(names))
    group_plan.record(this.folder.root, names)
    task = group.gather(list(images.values()), this.frozen, image_axis.layout_of(len(names)))
    watcher = interruptible(this.monitor.watch_group(task.names), this.check_interrupt)
    try:
        state, history = loop.run_schedule(
            task, this.schedule, this.initial(images[names[0]], names[0]), folder, cadence_of(this.config), watcher
        )
    except DiskFullError:
        raise
    except FAILURES as error:
        return GroupOutcome(_give_up(this, names, folder, error))
    broken = group.failures_of(history, task.names, {phase.number: phase.label for phase in this.schedule})
    kept = jax.device_get(state)  # the device is for the next group

    def finish() -> dict[str, str]:
        failures: dict[str, str] = {}
        for index, (name, prepared) in enumerate(images.items()):
            if prepared.name not in broken and not this.folder.is_finished(prepared.name):
                own = group.own_history(history, prepared.name)
                failures |= attempt(name, functools.partial(this.write, prepared, group.one_of(kept, index), own))
        group_plan.finish(this.folder.root, names)
        checkpoint.discard(folder)
        return failures

    return GroupOutcome(dict(broken), finish)


def _give_up(this: _Run, names: list[str], folder: pathlib.PurePath, error: Exception) -> dict[str, str]:
    """What to say of every image of a group that could not be trained."""
    message = explain(error)
    if "RESOURCE_EXHAUSTED" in str(error):
        message += (
            f"; {len(names)} images at once are too many for this device's memory: give a smaller "
            "config.runtime.images_at_once"
        )
        group_plan.finish(this.folder.root, names)  # so that the next start may put other groups together
        checkpoint.discard(folder)
    return {stem_of(name): message for name in names}


def _size(this: _Run, images: int) -> int:
    """How many images are reconstructed at once."""
    if not this.config.schedule.reset_weight:
        return 1  # each image starts from the one before it

    def bytes_of_one() -> int:
        prepared = this.prepare(this.names[0])
        return group.bytes_of_one(prepared, this.frozen)

    wanted = this.config.runtime.images_at_once
    size = group_plan.choose_size(wanted, images, jax.local_devices(), bytes_of_one)
    if size < min(wanted, images):
        warnings.warn(
            f"config.runtime.images_at_once is {wanted}; {size} at once on this CPU: more images than cores "
            "take longer together than in turn",
            stacklevel=2,
        )
    return size


def run(config: ConfigDict) -> int:
    """Reconstructs every image of the list, each with networks of its own.

    Returns:
      0, or 1 when an image failed.

    Raises:
      UserError: the GAN or the folder is unusable, so that no image could succeed.
    """
    names = data.read_names(config.data.image_list)
    team, units = divide(config, names)
    architecture, frozen = loading.load_frozen(config)
    folder = RunFolder.open(config, team)
    schedule = schedule_of(config)
    tensorboard = folder.tensorboard if config.logging.tensorboard else None
    with Monitor(schedule, tensorboard) as monitor, interrupt.noted() as check_interrupt:
        this = _Run(config, folder, tuple(names), schedule, architecture, frozen, monitor, check_interrupt)

        def make(chosen: list[str]) -> GroupOutcome:
            return _reconstruct_together(this, chosen) if len(chosen) > 1 else _reconstruct(this, chosen[0])

        open_ones = [[n for n in unit if len(unit) > 1 or not folder.is_finished(stem_of(n))] for unit in units]
        waiting = sum(len(unit) for unit in open_ones)
        groups = group_plan.plan([unit for unit in open_ones if unit], _size(this, waiting))
        done = [unit for unit, rest in zip(units, open_ones, strict=True) if not rest]
        return for_each_group(folder, names, monitor.say, done + groups, make, wait=not config.schedule.reset_weight)
