"""One iteration of any step, what a phase computes before its first one, and the optimiser.

Every random choice in a phase is a function of the image's key, the phase's number and the iteration, so a run can stop
anywhere and be resumed.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Int, PRNGKeyArray, Scalar

from gan2shape_jax.method import models
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Context, Iteration, LossAndMetrics, Metrics, Step, TrainState


def iterate(
    state: TrainState,
    constants: Any,
    key: PRNGKeyArray,
    number: Int[Scalar, ""],
    context: Context,
    *,
    step: Step,
    flip: bool,
) -> tuple[TrainState, Metrics]:
    """Runs one iteration of a step, numbered from 0 in its phase; to be called inside `jax.jit`.

    `constants` and `key` are the phase's (see `phase_constants`); the context has no example for a step that draws its
    images; `flip` says whether the mirrored depth map has to explain the images too. Returns the new state, and scalars
    to log.
    """
    batch = step.draw(Iteration(key, number, state.factors, constants), context)
    trained = models.trained(state.params, step.networks)

    def loss(trained: models.Params) -> LossAndMetrics:
        return step.loss(state.params | trained, batch, context, flip=flip)

    (_, (metrics, extra)), gradient = jax.value_and_grad(loss, has_aux=True)(trained)
    state = optimizer_step(state, gradient, context.settings)
    return step.update(state, extra, batch, context), metrics


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
    trained = models.trained(state.params, networks)
    return dataclasses.replace(state, opt_state=_fresh(trained, settings=settings))


@jax.jit
def _fresh(trained: models.Params, *, settings: Settings) -> optax.OptState:
    """Returns the optimiser's initial state, compiled as one program instead of one for each parameter shape."""
    return optimizer(settings).init(trained)


def optimizer_step(state: TrainState, gradient: models.Params, settings: Settings) -> TrainState:
    """Updates the networks that the gradient and the optimiser's state cover by one step of Adam; others stay."""
    trained = {name: state.params[name] for name in gradient}
    updates, opt_state = optimizer(settings).update(gradient, state.opt_state, trained)
    params = {**state.params, **optax.apply_updates(trained, updates)}
    return dataclasses.replace(state, params=params, opt_state=opt_state)
