"""The plan of a joint-training phase: which image, and which of its samples, every iteration sees."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from gan2shape_jax.method.state import ProjectedSamples
from gan2shape_jax.method.step1 import Step1Cache

__all__ = ["Plan", "image_order", "sample_choices"]


@functools.partial(jax.jit, static_argnames=("epochs", "count"))
def _permutations(key, *, epochs: int, count: int):
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(epochs))
    return jax.vmap(lambda k: jax.random.permutation(k, count))(keys)


def image_order(key: jax.Array, iterations: int, count: int) -> Int[np.ndarray, " iterations"]:
    """Returns which of `count` images each iteration of a phase sees: successive epochs, each reshuffled."""
    epochs = -(-iterations // count)
    return np.asarray(_permutations(key, epochs=epochs, count=count)).reshape(-1)[:iterations]


@functools.partial(jax.jit, static_argnames=("count", "batch_size"))
def sample_choices(
    keys: jax.Array, iterations: jax.Array, *, count: int, batch_size: int
) -> Int[jax.Array, "iterations batch"]:
    """Returns which of an image's kept samples each iteration sees: distinct ones, redrawn every iteration.

    Args:
      keys: (iterations,), the key of the image that each iteration sees.
      iterations: (iterations,), the iterations' numbers.
      count: the number of the image's samples.
      batch_size: the number of samples per iteration.
    """

    def choose(key, iteration):
        return jax.random.permutation(jax.random.fold_in(key, iteration), count)[:batch_size]

    return jax.vmap(choose)(keys, iterations)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The course of a phase: the image of every iteration, and per-image or per-iteration data.

    Attributes:
      order: (iterations,), image indices.
      caches: for step 1, by image index (only the albedo changes, so one per image is enough); on the host.
      samples: for step 3, one entry per image; on the host.
      choices: (iterations, batch), which of the image's samples step 3 sees.
      keys: (images,), for random draws in training when several images share an iteration (`joint_parallel`).
    """

    order: np.ndarray
    caches: Mapping[int, Step1Cache] = dataclasses.field(default_factory=dict)
    samples: tuple[ProjectedSamples, ...] = ()
    choices: np.ndarray | None = None
    keys: Any = None

    def constants(self, iteration: int) -> Step1Cache | ProjectedSamples | None:
        """Returns what an iteration sees besides its image's problem and factors."""
        index = int(self.order[iteration])
        if self.choices is None:
            return self.caches.get(index)
        chosen = self.choices[iteration]
        return jax.tree.map(lambda kept: kept[chosen], self.samples[index])
