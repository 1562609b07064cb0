"""Batches under `jax.vmap`: the mapped axis is merged into the batch axis, where JAX would add another."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["join_batch"]


def join_batch(function: Callable[..., tuple[jax.Array, ...]]) -> Callable[..., tuple[jax.Array, ...]]:
    """Wraps `function` so that `jax.vmap` calls it on one longer batch: one flat scatter, not a batched one.

    Args:
      function: takes arrays with a leading image axis and returns a tuple of such arrays, treating each image
        independently. Not differentiated: callers stop gradients at its arguments.
    """

    @jax.custom_batching.custom_vmap
    def call(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        return function(*arrays)

    @call.def_vmap
    def _(axis_size: int, in_batched: list[bool], *arrays: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[bool, ...]]:
        merged = []
        for array, batched in zip(arrays, in_batched, strict=True):
            array = array if batched else jnp.broadcast_to(array, (axis_size, *array.shape))
            merged.append(array.reshape(-1, *array.shape[2:]))
        results = call(*merged)
        split = tuple(result.reshape(axis_size, -1, *result.shape[1:]) for result in results)
        return split, tuple(True for _ in split)

    return call
