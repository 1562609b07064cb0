"""The interface of what the training loop trains.

The tasks are `group.Group`, whose images have networks of their own, and `joint.ManyImages`, whose images share them;
`lift.task.Lift` is made of the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from gan2shape_jax.method import metrics, models, optimizer
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem, TrainState
from gan2shape_jax.method.steps import STEPS

__all__ = ["OneSet", "Task", "means", "on_device", "scores"]

_depth_metrics = jax.jit(metrics.depth_metrics, static_argnames="camera")


def scores(view: Reconstruction, problem: Problem, settings: Settings) -> dict[str, float]:
    """Returns depth and normal errors in the input view; {} if true depth is unknown."""
    if problem.true_depth is None:
        return {}
    errors = _depth_metrics(view.warped_depth, problem.true_depth, view.valid, camera=settings.camera)
    return {name: float(value) for name, value in jax.device_get(errors).items()}


def means(scalars: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns the mean of each scalar over iterations."""
    rows = jax.device_get(list(scalars))
    return {name: float(np.mean([float(row[name]) for row in rows])) for name in (rows[-1] if rows else ())}


def on_device(state: TrainState) -> TrainState:
    """Returns a restored state on the default device.

    Goes through the host: Orbax commits arrays to their device, and programs would be recompiled for such arrays.
    """
    return jax.device_put(jax.tree.map(np.asarray, state), may_alias=False)


@runtime_checkable
class Task(Protocol):
    """What a loop trains; `TrainState` is the same for all tasks except for the shape of its factors."""

    @property
    def settings(self) -> Settings:
        """The settings, shared by all images."""
        ...

    @property
    def window(self) -> int:
        """How many of the latest iterations are averaged for the logged losses."""
        ...

    def initial(self, params: models.Params) -> TrainState:
        """Returns the state before the first phase; copies the parameters because the state is donated."""
        ...

    def restored(self, state: TrainState) -> TrainState:
        """Returns a checkpoint's state on the devices where the task's programs run."""
        ...

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """Returns the state at the phase's first iteration."""
        ...

    def fresh_optimizer(self, state: TrainState, step: str) -> TrainState:
        """Returns the state with the initial optimiser state of a step."""
        ...

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """Computes what all iterations of the phase use; gives the same values when the phase is resumed."""
        ...

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Runs `count` iterations from `iteration`; returns the state and the last one's scalars. Donates the state."""
        ...

    def averages(self, scalars: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Returns the mean scalars of the latest iterations, for the history; groups of images add `images`."""
        ...

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[Reconstruction | None, dict[str, Any]]:
        """Returns the reconstruction and its errors; None and {} if computing them is not worth the cost."""
        ...


class OneSet:
    """Common base of the tasks that train one set of networks."""

    def restored(self, state: TrainState) -> TrainState:
        """See `tasks.Task`."""
        return on_device(state)

    def fresh_optimizer(self: Task, state: TrainState, step: str) -> TrainState:
        """See `tasks.Task`."""
        return optimizer.fresh_optimizer(state, STEPS[step].networks, self.settings)

    def averages(self, scalars: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """See `tasks.Task`."""
        return means(scalars)
