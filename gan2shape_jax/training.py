"""The stage loop over one image: phases in order, checkpoints, history, progress.

The loop holds no state of its own: what it needs to go on is in the checkpoint (train state, position
in the schedule, history), so killing it at any moment and starting it again gives the same result.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import metrics, models, stages
from gan2shape_jax import state as state_lib
from gan2shape_jax.checkpoint import Checkpoints
from gan2shape_jax.errors import UserError
from gan2shape_jax.frozen import Frozen
from gan2shape_jax.loading import Prepared
from gan2shape_jax.stages import Phase
from gan2shape_jax.state import TrainState

__all__ = ["COST", "Cadence", "Watcher", "scores", "train"]

# Seconds of an iteration relative to the cheapest step, for the time left; measured on the default config.
COST = {"prior": 1.0, "step1": 1.0, "step2": 4.0, "step3": 9.0}


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
    on_phase_end: Callable[[Phase, stages.View], None] = lambda phase, view: None


def scores(view: stages.View, prepared: Prepared) -> dict[str, float]:
    """Depth and normal errors in the input view, where true depth is known; {} where it is not."""
    truth = prepared.problem.true_depth
    if truth is None:
        return {}
    found = metrics.depth_metrics(view.warped_depth, truth, view.valid, prepared.settings.camera)
    return {name: float(value) for name, value in found.items()}


def _record(phase: Phase, done: int, scalars: dict[str, jax.Array], found: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"phase": phase.number, "stage": phase.stage, "step": phase.step, "iteration": done}
    row.update({name: float(value) for name, value in scalars.items()})
    row.update(found)
    if not np.isfinite(row.get("loss", 0.0)):
        raise UserError(f"the loss became {row['loss']} in {phase.label}, iteration {done}; check the "
                        "image and the GAN's weights, or lower config.optimizer.learning_rate")
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


def _resume(
    checkpoints: Checkpoints, prepared: Prepared, initial: models.Params
) -> tuple[TrainState, int, int, list[dict[str, Any]]]:
    """State, phase, iteration in it and history to go on from: the newest checkpoint's, or the start."""

    def template(record: dict[str, Any]) -> TrainState:
        blank = state_lib.initial_state(initial, prepared.settings)
        return state_lib.fresh_optimizer(blank, record["step"], prepared.settings)

    restored = checkpoints.restore(template)
    if restored is None:
        own = jax.tree.map(lambda x: x.copy(), initial)  # the state is donated, the caller's arrays must survive
        return state_lib.initial_state(own, prepared.settings), 0, 0, []
    state, record = restored
    # By way of the host: Orbax ties arrays to their device, and programs would be compiled anew for such arrays.
    state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), state)
    return state, record["phase"], record["iteration"], record["history"]


@dataclasses.dataclass(frozen=True)
class _Loop:
    """What every phase of one image's training shares; `history` grows."""

    prepared: Prepared
    fixed: Frozen
    checkpoints: Checkpoints
    cadence: Cadence
    watcher: Watcher
    history: list[dict[str, Any]]

    def run(self, state: TrainState, phase: Phase, start: int, before: int) -> TrainState:
        """Carries the state through a phase from iteration `start`; `before` counts those of earlier phases."""
        rest = (self.prepared.problem, self.fixed, self.prepared.settings)
        if start == 0:
            state = stages.begin(state, phase, *rest)
        if start == phase.iterations:
            return state
        context = stages.prepare(state, phase, *rest)
        for here, count in _spans(start, phase, self.cadence):
            state, scalars = stages.advance(state, phase, here, context, *rest, count=count)
            done = here + count
            loss = self._log(state, phase, done, scalars) if _is_due(done, phase, self.cadence.log) else None
            self.watcher.on_progress(phase, done, loss)
            if _is_due(done, phase, self.cadence.checkpoint):
                position = {"phase": phase.number, "step": phase.step, "iteration": done}
                self.checkpoints.save(before + done, state, {**position, "history": list(self.history)})
        return state

    def _log(self, state: TrainState, phase: Phase, done: int, scalars: dict[str, jax.Array]) -> float:
        view = stages.see(state, self.prepared.problem, self.fixed, self.prepared.settings)
        row = _record(phase, done, scalars, scores(view, self.prepared))
        self.history.append(row)
        self.watcher.on_record(row)
        if done == phase.iterations:
            self.watcher.on_phase_end(phase, view)
        return row["loss"]


def train(
    prepared: Prepared,
    fixed: Frozen,
    schedule: tuple[Phase, ...],
    initial: models.Params,
    folder: pathlib.Path,
    cadence: Cadence,
    watcher: Watcher,
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains one image's networks through the schedule, going on from a checkpoint where there is one.

    Args:
      prepared: the image.
      fixed: the frozen networks.
      schedule: the phases.
      initial: parameters that the image starts from.
      folder: of this image's checkpoints.
      cadence: how often to save and to log.
      watcher: who wants to know.

    Returns:
      The final state, and the history: losses and errors over iterations.

    Raises:
      UserError: the loss is not finite, or the checkpoint does not fit the configuration.
    """
    with Checkpoints(folder, keep=cadence.keep) as checkpoints:
        state, first, start, history = _resume(checkpoints, prepared, initial)
        loop = _Loop(prepared, fixed, checkpoints, cadence, watcher, history)
        before = sum(phase.iterations for phase in schedule[:first])
        for phase in schedule[first:]:
            state = loop.run(state, phase, start, before)
            before += phase.iterations
            start = 0
    return state, history
