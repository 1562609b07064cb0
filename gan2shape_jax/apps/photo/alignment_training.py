"""Trains the alignment network on a GAN's own samples: no photos or labels are needed.

A sample is framed correctly by definition; wrong crops of it are drawn along with the corrections that lead back.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.apps.photo import alignment, canvases
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.method.models import Params

__all__ = ["STEPS", "train"]

STEPS = 2500
_BATCH = 64
_LEARNING_RATE = 1e-3
_LAST_LEARNING_RATE = 1e-5
_WARMUP = 50
_AVERAGE = 0.99  # decay per step of the moving average of weights, which is returned
_TOLD = 200  # steps between reports


class _State(NamedTuple):
    params: Params
    optimizer: Any
    average: Params


def train(
    samples: UInt8[np.ndarray, "n s s 3"],
    *,
    seed: int,
    steps: int = STEPS,
    start: Params | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Params:
    """Returns the alignment network's weights; a function of the arguments alone.

    Args:
      samples: the GAN's, with sides of `alignment.SIDE`, at least 2.
      seed: seed of the perturbations and the initial weights.
      steps: optimiser steps, 64 crops each.
      start: weights to start from, such as a view network's; those whose name and shape match are used.
      say: called with the mean error at intervals.
    """
    rng = np.random.default_rng(seed)
    frame, pictures = canvases.frame_of(samples.shape[1]), _canvases(samples, rng)
    shape = jnp.zeros((1, alignment.SIDE, alignment.SIDE, 3))
    params = _fitting(alignment.module().init(jax.random.key(seed), shape)["params"], start or {})
    optimizer = optax.adam(
        optax.warmup_cosine_decay_schedule(0.0, _LEARNING_RATE, min(_WARMUP, steps - 1), steps, _LAST_LEARNING_RATE)
    )

    @jax.jit
    def step(state: _State, crops: Array, corrections: Array) -> tuple[_State, Array]:
        error, gradient = jax.value_and_grad(_error)(state.params, crops, corrections)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        fresh = optax.apply_updates(state.params, updates)
        average = jax.tree.map(lambda a, b: _AVERAGE * a + (1 - _AVERAGE) * b, state.average, fresh)
        return _State(fresh, moments, average), error

    state, errors = _State(params, optimizer.init(params), params), []
    for number, (crops, corrections) in enumerate(_batches(pictures, frame, rng, steps), start=1):
        state, error = step(state, crops, corrections)
        errors.append(error)
        if number % _TOLD == 0 or number == steps:
            say(f"alignment: step {number} of {steps}, mean error {np.mean(jax.device_get(errors)):.3f}")
            errors = []
    return jax.device_get(state.average)


def _error(params: Params, crops: Float[Array, "n s s 3"], corrections: Float[Array, "n 4"]) -> Float[Array, ""]:
    """Returns the mean error of corrections, each as a share of its output's range."""
    told = alignment.raw_corrections(params, crops / 127.5 - 1)
    return jnp.mean(jnp.abs(told - corrections) / jnp.asarray(alignment.RANGE))


def _canvases(samples: UInt8[np.ndarray, "n s s 3"], rng: np.random.Generator) -> list[UInt8[np.ndarray, "l l 3"]]:
    others = rng.integers(len(samples), size=len(samples))
    return [
        canvases.canvas(sample, canvases.KINDS[number % len(canvases.KINDS)], samples[others[number]], rng)
        for number, sample in enumerate(samples)
    ]


def _batches(
    pictures: list[UInt8[np.ndarray, "l l 3"]], frame: CropBox, rng: np.random.Generator, count: int
) -> Iterator[tuple[Float[np.ndarray, "b s s 3"], Float[np.ndarray, "b 4"]]]:
    for _ in range(count):
        drawn = [canvases.disturb(pictures[i], frame, rng) for i in rng.integers(len(pictures), size=_BATCH)]
        yield np.stack([d.crop for d in drawn]), np.stack([d.correction for d in drawn]).astype(np.float32)


def _fitting(fresh: Params, given: Params) -> Params:
    """Returns fresh weights, replaced by given ones where name and shape match."""
    mine, theirs = flatten_dict(fresh), flatten_dict(given)
    chosen = {
        name: jnp.asarray(theirs[name], jnp.float32)
        if name in theirs and theirs[name].shape == value.shape and name[0] != "output"
        else value
        for name, value in mine.items()
    }
    return unflatten_dict(chosen)
