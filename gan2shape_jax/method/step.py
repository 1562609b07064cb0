"""A step of the method as one record: which networks it trains, on what, with which loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem, TrainState

__all__ = ["LossAndMetrics", "Metrics", "Seen", "Step"]

Metrics = dict[str, jax.Array]
# The loss, with the scalars to log and whatever else from the forward pass `Step.update` keeps.
LossAndMetrics = tuple[jax.Array, tuple[Metrics, Any]]
# What an iteration sees besides the problem; the loss takes its items as arguments.
Seen = tuple[Any, ...]


def _see_constants(key: Any, iteration: Any, factors: Any, constants: Any, frozen: Any, settings: Any) -> Seen:
    """Draws nothing: every iteration sees what the phase has computed, if anything."""
    del key, iteration, factors, frozen, settings
    return () if constants is None else (constants,)


def _keep_state(state: TrainState, extra: Any, seen: Seen, problem: Problem, settings: Settings) -> TrainState:
    """Returns the state as the optimiser leaves it."""
    del extra, seen, problem, settings
    return state


@dataclasses.dataclass(frozen=True)
class Step:
    """All that distinguishes one step from another (GAN2Shape, section 3.2); `iteration` is what they have in common.

    The functions are pure, handle one image and are called inside `jax.jit`. `flip` says whether the mirrored sheet has
    to explain the images too.

    Attributes:
      name: as in schedules, histories and checkpoints.
      networks: the networks that it trains. The loss depends on their parameters alone.
      loss: `loss(params, *seen, problem, frozen, settings, flip=...)` returns `LossAndMetrics`.
      draw: `draw(key, iteration, factors, constants, frozen, settings)` returns what the iteration sees; its randomness
        is a function of the phase's key and the iteration's number.
      cache: `cache(params, problem, frozen, settings, flip=...)` computes what stays constant during a phase; None
        where there is nothing.
      collect: `collect(params, factors, cached, problem, key, iteration, frozen, settings)` returns one batch of
        the samples that a phase collects before its first iteration. The batches together are then its constants,
        instead of what `cache` returns.
      update: `update(state, extra, seen, problem, settings)` returns the state with what changes besides the networks.
      cost: time per iteration relative to the cheapest step's, to estimate the time left; of the default configuration.
    """

    name: str
    networks: tuple[str, ...]
    loss: Callable[..., LossAndMetrics]
    draw: Callable[..., Seen] = _see_constants
    cache: Callable[..., Any] | None = None
    collect: Callable[..., Any] | None = None
    update: Callable[..., TrainState] = _keep_state
    cost: float = 1.0
