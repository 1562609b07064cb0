"""A distance between images."""

import jax
import jax.numpy as jnp

from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.perceptual import Distance, Features
from gan2shape_jax.method.settings import Settings


def _edges(images: jax.Array, frozen: FrozenModels, settings: Settings) -> Features:
    """Returns the differences between neighbouring pixels, down and across."""
    return tuple(jnp.diff(images, axis=axis) for axis in (1, 2))


def _difference(first: Features, second: Features, frozen: FrozenModels) -> jax.Array:
    return sum(jnp.mean(jnp.abs(a - b)) for a, b in zip(first, second, strict=True))


EDGES = Distance(_edges, _difference)
