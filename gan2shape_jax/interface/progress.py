"""What a callback receives while an image is reconstructed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.training.loop import COST, Watcher

__all__ = ["Progress", "watcher_of"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a reconstruction has got.

    Attributes:
      stage: from 1; 0 while the depth network is fitted to the prior.
      step: 'prior', 'step1' (albedo), 'step2' (encoder) or 'step3' (depth, albedo, view, light).
      iteration: number of iterations of the step that are done.
      iterations: number of iterations in the step.
      fraction: share of the whole that is done, weighted by the time each step takes; 0 to 1.
      loss: the latest loss, every `config.logging.every_iterations`; None in between.
    """

    stage: int
    step: str
    iteration: int
    iterations: int
    fraction: float
    loss: float | None


def watcher_of(callback: Callable[[Progress], object] | None, schedule: tuple[Phase, ...]) -> Watcher:
    """Returns a watcher that calls `callback` after every compiled call; with None it reports nothing."""
    if callback is None:
        return Watcher()
    costs = [COST[phase.step] * phase.iterations for phase in schedule]

    def tell(phase: Phase, done: int, loss: float | None) -> None:
        spent = sum(costs[: phase.number]) + COST[phase.step] * done
        callback(Progress(phase.stage, phase.step, done, phase.iterations, spent / sum(costs), loss))

    return Watcher(on_progress=tell)
