"""Reconstructs images, each with its own networks: one image, or several at once as a group."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import PreparedImage, TrainState
from gan2shape_jax.run import explain, prepare, refining, trust
from gan2shape_jax.run.each_image import FAILURES, GroupOutcome, failure_of, in_words, stem_of
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.run.runtime import cadence_of, interruptible
from gan2shape_jax.run.same_config import config_hash
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import checkpoint, group, group_plan, image_axis, loop, network_files
from gan2shape_jax.training.checkpoint import Keeping
from gan2shape_jax.training.loop import Watcher
from gan2shape_jax.training.tasks import OneImage, Task

__all__ = ["Reconstructor"]


@dataclasses.dataclass(frozen=True)
class _Job:
    """Images that are trained at once.

    Attributes:
      images: the images, by name in the list; if there are several, they are alike.
      task: what the stage loop trains.
      initial: the parameters that it starts from.
      checkpoints: the folder of its checkpoints.
    """

    images: dict[str, PreparedImage]
    task: Task
    initial: models.Params
    checkpoints: pathlib.PurePath


@dataclasses.dataclass(frozen=True)
class _Trained:
    """A job with its outcome: the state and history, for several images those of all of them."""

    job: _Job
    state: TrainState
    history: list[dict[str, Any]]

    def own(self, index: int, prepared: PreparedImage) -> tuple[TrainState, list[dict[str, Any]]]:
        """Returns one image's state and history."""
        if len(self.job.images) == 1:
            return self.state, self.history
        return group.one_of(self.state, index), group.own_history(self.history, prepared.name)


@dataclasses.dataclass(frozen=True)
class Reconstructor:
    """What all images of a run share, and the methods that reconstruct one or several of them."""

    config: ConfigDict
    folder: RunFolder
    names: tuple[str, ...]
    schedule: tuple[Phase, ...]
    architecture: Architecture
    frozen: FrozenModels
    monitor: Monitor
    check_interrupt: Callable[[], None]

    @functools.cached_property
    def judge(self) -> trust.Judge:
        """The judge of the results."""
        known = self.architecture, self.frozen.discriminator
        return trust.load(self.config, known)

    def reconstruct(self, names: list[str]) -> GroupOutcome:
        """Trains the networks of images, at once where the images are alike; the results are not written yet."""
        images, failures = self._prepare_all(names)
        trained: list[_Trained] = []
        for alike in _partition(images):
            try:
                job = self._job(alike)
                with self._watched(job) as watcher:
                    state, history = loop.run_schedule(
                        *(job.task, self.schedule, job.initial, job.checkpoints, cadence_of(self.config), watcher),
                        self._keeping(list(alike)),
                    )
            except FAILURES as error:
                failures |= self._give_up(list(alike), error)
            else:
                # Frees the device for the next group.
                trained.append(_Trained(job, jax.device_get(state) if len(alike) > 1 else state, history))
                failures |= self._not_finite(job, history)
        return GroupOutcome(failures, functools.partial(self._finish, trained) if trained else None)

    def prepare(self, name: str) -> PreparedImage:
        """Loads an image of the list and its files; inverts the GAN if it has no latent."""
        prepared = prepare.load_image(self.config, name, self.architecture, self.frozen, self.folder.latents)
        if not self.config.data.latent_root:
            self.monitor.say(f"{prepared.name}: latent by inversion, mean absolute error {prepared.inversion_l1:.3f}")
        return prepared

    def _prepare_all(self, names: list[str]) -> tuple[dict[str, PreparedImage], dict[str, str]]:
        """Returns the images that could be loaded, by name, and what went wrong with the others, by stem."""
        images: dict[str, PreparedImage] = {}
        failures: dict[str, str] = {}
        for name in names:
            try:
                images[name] = self.prepare(name)
            except FAILURES as error:
                failures |= failure_of(name, error)
        return images, failures

    def _job(self, images: dict[str, PreparedImage]) -> _Job:
        names, prepared = list(images), list(images.values())
        initial = self._initial(prepared[0], names[0])
        prepared = [refining.held(one, initial) for one in prepared]
        images = dict(zip(names, prepared, strict=True))
        if len(images) == 1:
            return _Job(images, OneImage(prepared[0], self.frozen), initial, self.folder.checkpoints(prepared[0].name))
        group_plan.record(self.folder.root, names)
        task = group.gather(prepared, self.frozen, image_axis.layout_of(len(names)))
        return _Job(images, task, initial, self.folder.group_checkpoints(group_plan.key_of(names)))

    def _keeping(self, names: list[str]) -> Keeping:
        """Returns what checkpoints of these images must match, and where damaged ones go."""
        made_with = {"configuration": config_hash(self.config), "images": names}
        return Keeping(made_with, self.folder.checkpoints_aside)

    def _initial(self, prepared: PreparedImage, name: str) -> models.Params:
        """Returns what an image starts from: the previous image's networks, pretrained, or random ones (seeded)."""
        config = self.config
        previous = None if config.schedule.reset_weight else self._finished_before(name)
        if previous is None:
            return prepare.initial_params(config, prepared.settings)
        fresh = models.init_params(jax.random.key(config.seed), prepared.settings)
        path = previous / "networks.safetensors"
        return network_files.load_networks(path, fresh, prepared.settings, needed=models.NAMES)

    def _finished_before(self, name: str) -> pathlib.Path | None:
        """Returns the results folder of the nearest finished image before this one in the list."""
        before = map(stem_of, reversed(self.names[: self.names.index(name)]))
        return next((self.folder.result(stem) for stem in before if self.folder.is_finished(stem)), None)

    @contextlib.contextmanager
    def _watched(self, job: _Job) -> Iterator[Watcher]:
        names = [prepared.name for prepared in job.images.values()]
        with self.monitor.watch(names, one=len(names) == 1) as watcher:
            yield interruptible(watcher, self.check_interrupt)

    def _not_finite(self, job: _Job, history: list[dict[str, Any]]) -> dict[str, str]:
        """Returns the images of a group whose loss became non-finite, by stem; a single image raises instead."""
        if len(job.images) == 1:
            return {}
        labels = {phase.number: phase.label for phase in self.schedule}
        return group.failures_of(history, [prepared.name for prepared in job.images.values()], labels)

    def _give_up(self, names: list[str], error: Exception) -> dict[str, str]:
        """Returns the error message for every image that could not be trained, by stem."""
        failures: dict[str, str] = {}
        for name in names:
            failures |= failure_of(name, error)
        if len(names) == 1 or "RESOURCE_EXHAUSTED" not in str(error):
            return failures
        self._forget(names)  # so that the next start may form other groups
        message = (
            f"{in_words(error)}; {len(names)} images at once are too many for this device's memory: give a smaller "
            "config.runtime.images_at_once"
        )
        return dict.fromkeys(failures, message)

    def _finish(self, trained: list[_Trained]) -> dict[str, str]:
        """Writes the results of trained images; returns what went wrong, by stem."""
        failures: dict[str, str] = {}
        for one in trained:
            unwritten = self._write_all(one)
            failures |= unwritten
            if not unwritten:
                self._forget(list(one.job.images))
        return failures

    def _write_all(self, trained: _Trained) -> dict[str, str]:
        failures: dict[str, str] = {}
        broken = self._not_finite(trained.job, trained.history)
        names = list(trained.job.images)
        together: dict[str, Any] = (
            {} if len(names) == 1 else {"together": names, "broken": [n for n in names if stem_of(n) in broken]}
        )
        for index, (name, prepared) in enumerate(trained.job.images.items()):
            if prepared.name in broken or self.folder.is_finished(prepared.name):
                continue
            try:
                state, history = trained.own(index, prepared)
                self.write(prepared, trained.job.initial, state, history, **together)
            except FAILURES as error:
                failures |= failure_of(name, error)
        return failures

    def write(
        self,
        prepared: PreparedImage,
        start: models.Params,
        state: TrainState,
        history: list[dict[str, Any]],
        **together: Any,
    ) -> None:
        """Writes an image's results folder, which appears complete or not at all.

        Args:
          prepared: the image.
          start: the networks that training began with.
          state: its trained networks.
          history: its training history.
          **together: the names of the images trained at once, and of those among them that failed.
        """
        self.folder.require()
        params, measured = refining.finished(self.config, start, state, prepared, self.frozen)
        result = explain.explain(
            params, prepared, self.frozen, self.judge, history=history, start=start, measured=measured
        )
        if sentence := trust.sentence_of(result.name, result.metrics):
            self.monitor.say(sentence)
        # The next image may start from these networks, and needs all of them.
        kept = self.config.outputs.networks if self.config.schedule.reset_weight else "full"
        explain.write(
            result,
            self.folder.result(prepared.name),
            self.config,
            project=explain.projector(params, prepared, self.frozen),
            extra=explain.training_files(params, history, networks=kept),
            **together,
        )

    def _forget(self, names: list[str]) -> None:
        """Removes the checkpoints of images that no longer need them."""
        if len(names) == 1:
            checkpoint.discard(self.folder.checkpoints(stem_of(names[0])))
            return
        group_plan.finish(self.folder.root, names)
        checkpoint.discard(self.folder.group_checkpoints(group_plan.key_of(names)))


def _partition(images: dict[str, PreparedImage]) -> Iterator[dict[str, PreparedImage]]:
    """Yields the images in subsets that can be trained at once."""
    while images:
        first = next(iter(images.values()))
        alike = {name: prepared for name, prepared in images.items() if group.alike(first, prepared)}
        images = {name: prepared for name, prepared in images.items() if name not in alike}
        yield alike
