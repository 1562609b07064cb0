"""One iteration of any step, what a phase computes before its first one, and the optimiser.

Every random choice in a phase is a function of the image's key, the phase's number and the iteration, so a run can stop
anywhere and be resumed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Int, PRNGKeyArray, Scalar

from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.sampling import COLLECT, TRAIN, phase_key
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Metrics, Problem, Step, TrainState
from gan2shape_jax.method.step1 import STEP1

__all__ = [
    "advance",
    "begin",
    "cached",
    "collect",
    "collected",
    "compiled_with",
    "finds_mask",
    "fresh_optimizer",
    "iterate",
    "iterate_many",
    "optimizer",
    "optimizer_step",
    "phase_constants",
]


def iterate(
    state: TrainState,
    constants: Any,
    problem: Problem,
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""],
    frozen: FrozenModels,
    settings: Settings,
    *,
    step: Step,
    flip: bool,
) -> tuple[TrainState, Metrics]:
    """Runs one iteration of a step, counted from 0 in its phase; to be called inside `jax.jit`.

    `constants` and `key` are the phase's (see `phase_constants`); `flip` says whether the mirrored sheet has to explain
    the images too. Returns the new state, and scalars to log.
    """
    seen = step.draw(key, iteration, state.factors, constants, frozen, settings)
    trained = {name: state.params[name] for name in step.networks}
    differentiated = jax.value_and_grad(step.loss, has_aux=True)
    (_, (metrics, extra)), gradient = differentiated(trained, *seen, problem, frozen, settings, flip=flip)
    state = optimizer_step(state, gradient, settings)
    return step.update(state, extra, seen, problem, settings), metrics


def iterate_many(
    state: TrainState,
    constants: Any,
    problem: Problem,
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""],
    frozen: FrozenModels,
    settings: Settings,
    *,
    step: Step,
    flip: bool,
    count: int,
) -> tuple[TrainState, Metrics]:
    """Runs `count` iterations from `iteration` in a `lax.scan`; arguments and results as for `iterate`."""

    def body(carry: TrainState, number: jax.Array) -> tuple[TrainState, Metrics]:
        return iterate(carry, constants, problem, key, number, frozen, settings, step=step, flip=flip)

    state, metrics = jax.lax.scan(body, state, iteration + jnp.arange(count))
    return state, jax.tree.map(lambda scalar: scalar[-1], metrics)


def cached(
    params: models.Params, problem: Problem, frozen: FrozenModels, settings: Settings, *, step: Step, flip: bool
) -> Any:
    """Returns what `Step.cache` computes; to be called inside `jax.jit`."""
    return step.cache(params, problem, frozen, settings, flip=flip) if step.cache else None


def collected(
    params: models.Params,
    factors: Any,
    cache: Any,
    problem: Problem,
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""] | int,
    frozen: FrozenModels,
    settings: Settings,
    *,
    step: Step,
) -> Any:
    """Returns one batch of what `Step.collect` collects; to be called inside `jax.jit`."""
    assert step.collect is not None
    return step.collect(params, factors, cache, problem, key, iteration, frozen, settings)


_cached = jax.jit(cached, static_argnames=("step", "flip"))
collect = jax.jit(collected, static_argnames="step")


def finds_mask(phase: Phase, settings: Settings) -> bool:
    """Whether the image's canonical mask is computed when the phase begins."""
    return phase.kind is STEP1 and phase.stage == 1 and settings.use_mask


def begin(state: TrainState, phase: Phase, problem: Problem, frozen: FrozenModels, settings: Settings) -> TrainState:
    """Returns the state at a phase's first iteration: a fresh optimiser and, once per image, its canonical mask."""
    step = phase.kind
    if finds_mask(phase, settings):
        cache = _cached(state.params, problem, frozen, settings, step=step, flip=phase.flip)
        state = dataclasses.replace(state, mask=cache.mask)
    return fresh_optimizer(state, step.networks, settings)


def phase_constants(state: TrainState, phase: Phase, problem: Problem, frozen: FrozenModels, settings: Settings) -> Any:
    """Returns what all iterations of a phase use: `Step1Cache` in step 1, all `ProjectedSamples` in step 3, or None.

    No iteration changes its inputs, so a resumed phase computes the same values again.
    """
    step = phase.kind
    if step.cache is None:
        return None
    cache = _cached(state.params, problem, frozen, settings, step=step, flip=phase.flip)
    if step.collect is None:
        return cache
    key = phase_key(problem.key, phase.number, COLLECT)
    batches = [
        collect(state.params, state.factors, cache, problem, key, i, frozen, settings, step=step)
        for i in range(settings.collect_iters)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *batches)


@functools.cache
def compiled_with(function: Callable[..., Any], static: tuple[str, ...], platform: str) -> Any:
    """Returns `function` compiled with its first argument, the state, donated, except on CPU.

    On CPU, XLA copies donated parameters before it overwrites them, which costs more time than the memory saved is
    worth (docs/reports/speed.md).
    """
    return jax.jit(function, static_argnames=static, donate_argnums=() if platform == "cpu" else 0)


def advance(
    state: TrainState,
    phase: Phase,
    iteration: int | jax.Array,
    constants: Any,
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    count: int = 1,
) -> tuple[TrainState, Metrics]:
    """Runs `count` iterations from `iteration` in one call; the state is donated (except on CPU).

    More than one iteration is a `lax.scan`: right on GPU and TPU, where launches are costly. On CPU, a convolution in a
    loop body falls off XLA's fast path, so callers pass 1 there. Returns the new state, and the last iteration's
    scalars (still on the device).
    """
    key = phase_key(problem.key, phase.number, TRAIN)
    static: dict[str, Any] = {"step": phase.kind, "flip": phase.flip}
    function: Callable[..., Any] = iterate
    if count > 1:
        function, static = iterate_many, static | {"count": count}
    run = compiled_with(function, tuple(static), jax.default_backend())
    result: tuple[TrainState, Metrics] = run(
        state, constants, problem, key, jnp.asarray(iteration, jnp.int32), frozen, settings, **static
    )
    return result


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
def _fresh(trained: models.Params, *, settings: Settings) -> optax.OptState:
    """Returns the optimiser's initial state, compiled as one program instead of one for each parameter shape."""
    return optimizer(settings).init(trained)


def optimizer_step(state: TrainState, gradient: models.Params, settings: Settings) -> TrainState:
    """Updates the networks that the gradient and the optimiser's state cover by one step of Adam; others stay."""
    trained = {name: state.params[name] for name in gradient}
    updates, opt_state = optimizer(settings).update(gradient, state.opt_state, trained)
    params = {**state.params, **optax.apply_updates(trained, updates)}
    return dataclasses.replace(state, params=params, opt_state=opt_state)
