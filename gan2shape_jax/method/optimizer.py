"""One step of the optimiser down a loss, from one place or from the mean of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from gan2shape_jax.method import models
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import ACTIVE, TrainState, optimizer

__all__ = ["Loss", "Metrics", "optimizer_step"]

Metrics = dict[str, jax.Array]
Loss = Callable[[models.Params], tuple[jax.Array, tuple[Metrics, Any]]]


def optimizer_step(
    loss: Loss,
    state: TrainState,
    step: str,
    settings: Settings,
    *,
    average_over: str | None = None,
) -> tuple[TrainState, Metrics, Any]:
    """One Adam step of the networks that `step` optimises; the others stay as they are.

    Args:
      loss: of all parameters; gives the loss, scalars, and whatever else.
      state: before.
      step: names the networks.
      settings: static settings.
      average_over: a mapped axis whose members have losses of their own: they take their mean gradient.

    Returns:
      The new state, the scalars, and whatever else the loss gives.
    """
    active = {name: state.params[name] for name in ACTIVE[step]}

    def of_active(chosen):
        return loss({**state.params, **chosen})

    (_, (metrics, extra)), gradient = jax.value_and_grad(of_active, has_aux=True)(active)
    if average_over is not None:
        gradient, metrics = jax.lax.pmean((gradient, metrics), average_over)
    updates, opt_state = optimizer(settings).update(gradient, state.opt_state, active)
    params = {**state.params, **optax.apply_updates(active, updates)}
    return dataclasses.replace(state, params=params, opt_state=opt_state), metrics, extra
