"""The optimiser: Adam as in the published code, its state at the start of a step, and one of its updates."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from gan2shape_jax.method.models import Params
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import TrainState

__all__ = ["fresh_optimizer", "optimizer", "optimizer_step"]


def optimizer(settings: Settings) -> optax.GradientTransformation:
    """Returns Adam with L2 weight decay coupled into the gradient (not AdamW), as in the published code.

    With `warmup_iterations`, the learning rate rises to its full value over that many iterations in every step of the
    method: Adam's first updates, with moments of only a few gradients, are its most erratic.
    """

    def rate(count: jax.Array) -> jax.Array:
        risen: jax.Array = jnp.minimum((count + 1) / jnp.maximum(settings.warmup_iterations, 1), 1)
        return jnp.asarray(settings.learning_rate) * risen

    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay),
        optax.adam(rate, settings.beta1, settings.beta2, settings.eps),
    )


def fresh_optimizer(state: TrainState, networks: tuple[str, ...], settings: Settings) -> TrainState:
    """Returns the state with a fresh optimiser for these networks, as at the start of every step of every stage."""
    trained = {name: state.params[name] for name in networks}
    return dataclasses.replace(state, opt_state=_fresh(trained, settings=settings))


@jax.jit
def _fresh(trained: Params, *, settings: Settings) -> optax.OptState:
    """Returns the optimiser's initial state, compiled as one program instead of one for each parameter shape."""
    return optimizer(settings).init(trained)


def optimizer_step(state: TrainState, gradient: Params, settings: Settings) -> TrainState:
    """Updates the networks that the gradient covers by one step of Adam; the others stay unchanged.

    Args:
      state: its optimiser state covers the same networks.
      gradient: gradient of the loss, by network name.
      settings: of the method.
    """
    trained = {name: state.params[name] for name in gradient}
    updates, opt_state = optimizer(settings).update(gradient, state.opt_state, trained)
    params = {**state.params, **optax.apply_updates(trained, updates)}
    return dataclasses.replace(state, params=params, opt_state=opt_state)
