"""The stage loop: phases in order, checkpoints, history, progress.

The loop holds no state of its own: what it needs to go on is in the checkpoint (train state, position
in the schedule, history), so killing it at any moment and starting it again gives the same result. What is
trained, one image or many, is a `Task`.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import PreparedImage, TrainState
from gan2shape_jax.training.checkpoint import Checkpoints, open_checkpoints
from gan2shape_jax.training.tasks import OneImage, Task

__all__ = ["COST", "START", "Cadence", "Watcher", "run_schedule", "train"]

# Seconds of an iteration relative to the cheapest step, for the time left; measured on the default config.
COST = {"prior": 1.0, "step1": 1.0, "step2": 4.0, "step3": 9.0}

# Stands for the step in the history's first row: the errors before any training.
START = "start"


@dataclasses.dataclass(frozen=True)
class Cadence:
    """How often things happen, in iterations."""

    checkpoint: int
    log: int
    per_call: int
    keep: int


@dataclasses.dataclass(frozen=True)
class Watcher:
    """What a caller wants to be told while an image is trained; all calls are optional to heed.

    Attributes:
      on_progress: phase, iterations done in it, latest loss or None.
      on_record: a row of the history.
      on_phase_end: phase, train state and what is seen at its end.
    """

    on_progress: Callable[[Phase, int, float | None], None] = lambda phase, done, loss: None
    on_record: Callable[[dict[str, Any]], None] = lambda row: None
    on_phase_end: Callable[[Phase, Reconstruction], None] = lambda phase, view: None


def _together(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both records in one; what they say of single images is put together too."""
    both = first | second
    if "images" in first and "images" in second:
        both["images"] = {name: first["images"][name] | second["images"][name] for name in first["images"]}
    return both


def _record(phase: Phase, done: int, scalars: dict[str, float], found: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"phase": phase.number, "stage": phase.stage, "step": phase.step, "iteration": done}
    row |= _together(scalars, found)
    if not np.isfinite(row.get("loss", 0.0)):
        raise UserError(
            f"the loss became {row['loss']} in {phase.label}, iteration {done}; check the "
            "image, its latent and the GAN's weights, or lower config.optimizer.learning_rate"
        )
    return row


def _spans(start: int, phase: Phase, cadence: Cadence) -> Iterator[tuple[int, int]]:
    """(first iteration, count) of each compiled call; calls end where something is due."""
    here = start
    while here < phase.iterations:
        due = min((here // every + 1) * every for every in (cadence.log, cadence.checkpoint))
        end = min(here + cadence.per_call, due, phase.iterations)
        yield here, end - here
        here = end


def _is_due(done: int, phase: Phase, every: int) -> bool:
    return done == phase.iterations or done % every == 0


@dataclasses.dataclass(frozen=True)
class _Position:
    """Where a run goes on: phase, iteration in it, history, and the latest scalars that are yet to be averaged."""

    phase: int
    iteration: int
    history: list[dict[str, Any]]
    recent: list[dict[str, Any]]


def _resume(checkpoints: Checkpoints, task: Task, initial: models.Params) -> tuple[TrainState, _Position | None]:
    """State and position to go on from: the newest checkpoint's; or the start, without a position."""

    def template(record: dict[str, Any]) -> TrainState:
        return task.fresh_optimizer(task.initial(initial), record["step"])

    restored = checkpoints.restore(template)
    if restored is None:
        return task.initial(initial), None
    state, record = restored
    position = _Position(record["phase"], record["iteration"], record["history"], record.get("recent", []))
    return task.restored(state), position


@dataclasses.dataclass(frozen=True)
class _Loop:
    """What all phases share; `history` grows, `recent` holds the scalars of the last iterations of a phase."""

    task: Task
    checkpoints: Checkpoints
    cadence: Cadence
    watcher: Watcher
    history: list[dict[str, Any]]
    recent: collections.deque[dict[str, Any]]

    def run(self, state: TrainState, phase: Phase, start: int, before: int) -> TrainState:
        """Carries the state through a phase from iteration `start`; `before` counts those of earlier phases."""
        if start == 0:
            self.recent.clear()
            state = self.task.begin(state, phase)
        if start == phase.iterations:
            return state
        context = self.task.phase_constants(state, phase)
        for here, count in _spans(start, phase, self.cadence):
            state, scalars = self.task.advance(state, phase, here, context, count)
            self.recent.append(scalars)
            done = here + count
            loss = self._log(state, phase, done) if _is_due(done, phase, self.cadence.log) else None
            self.watcher.on_progress(phase, done, loss)
            if _is_due(done, phase, self.cadence.checkpoint):
                self._save(state, phase, done, before)
        return state

    def _save(self, state: TrainState, phase: Phase, done: int, before: int) -> None:
        recent = [{k: np.asarray(v).tolist() for k, v in row.items()} for row in jax.device_get(list(self.recent))]
        record = {
            "phase": phase.number,
            "step": phase.step,
            "iteration": done,
            "history": list(self.history),
            "recent": recent,
        }
        self.checkpoints.save(before + done, state, record)

    def _log(self, state: TrainState, phase: Phase, done: int) -> float:
        view, found = self.task.examine(state, phase, done)
        row = _record(phase, done, self.task.averages(self.recent), found)
        self._note(row)
        if done == phase.iterations and view is not None:
            self.watcher.on_phase_end(phase, view)
        return row["loss"]

    def start(self, state: TrainState) -> None:
        """Notes the errors before any training."""
        _, found = self.task.examine(state, None, 0)
        self._note({"phase": 0, "stage": 0, "step": START, "iteration": 0} | found)

    def _note(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        self.watcher.on_record(row)


def run_schedule(
    task: Task,
    schedule: tuple[Phase, ...],
    initial: models.Params,
    folder: pathlib.PurePath | None,
    cadence: Cadence,
    watcher: Watcher,
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains a task's networks through the schedule, going on from a checkpoint where there is one.

    Args:
      task: what is trained.
      schedule: the phases.
      initial: parameters that it starts from.
      folder: of the task's checkpoints; None keeps none.
      cadence: how often to save and to log.
      watcher: who wants to know.

    Returns:
      The final state, and the history: errors before any training, then losses and errors over iterations.

    Raises:
      UserError: the loss is not finite, or the checkpoint does not fit the configuration.
    """
    with open_checkpoints(folder, keep=cadence.keep) as checkpoints:
        state, found = _resume(checkpoints, task, initial)
        position = found or _Position(0, 0, [], [])
        recent = collections.deque(position.recent, maxlen=task.window)
        loop = _Loop(task, checkpoints, cadence, watcher, position.history, recent)
        if found is None:
            loop.start(state)
        start, before = position.iteration, sum(phase.iterations for phase in schedule[: position.phase])
        for phase in schedule[position.phase :]:
            state = loop.run(state, phase, start, before)
            before += phase.iterations
            start = 0
    return state, loop.history


def train(
    prepared: PreparedImage,
    frozen: FrozenModels,
    schedule: tuple[Phase, ...],
    initial: models.Params,
    folder: pathlib.PurePath | None,
    cadence: Cadence,
    watcher: Watcher,
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains one image's networks; see `run_schedule`."""
    return run_schedule(OneImage(prepared, frozen), schedule, initial, folder, cadence, watcher)
