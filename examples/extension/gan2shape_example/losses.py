"""A loss."""

import jax
import jax.numpy as jnp

from gan2shape_jax.method.reconstruction import Scene
from gan2shape_jax.method.state import Context


def flatness(scene: Scene, albedo: jax.Array, reconstructions: jax.Array, context: Context) -> jax.Array:
    """Mean absolute difference between neighbouring pixels of the albedo."""
    across, down = (jnp.mean(jnp.abs(jnp.diff(albedo, axis=axis))) for axis in (1, 2))
    return across + down
