"""Random views, lights and sample orders: everything that is drawn, as functions of a key.

Views are drawn in network units from a normal distribution and lights uniformly (GAN2Shape, section
3.2, step 2); see `factors` for units. The key comes first everywhere.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from gan2shape_jax.geometry.lighting import diffuse_shading, light_direction

__all__ = [
    "CHOOSE",
    "COLLECT",
    "TRAIN",
    "batch_indices",
    "draw_lights",
    "draw_views",
    "light_deviations",
    "phase_key",
    "relit_shading",
    "view_deviations",
]

# Independent uses of randomness in a phase: training, collecting samples, choosing among images or samples.
TRAIN, COLLECT, CHOOSE = 0, 1, 2


def phase_key(key: PRNGKeyArray, phase: Int[Scalar, ""] | int, use: int) -> PRNGKeyArray:
    """Returns the key for one use of randomness in a phase.

    Args:
      key: key of an image or of a run.
      phase: the phase's number in the schedule.
      use: `TRAIN`, `COLLECT` or `CHOOSE`.
    """
    return jax.random.fold_in(jax.random.fold_in(key, phase), use)


def draw_views(
    key: PRNGKeyArray,
    mean: Float[Array, "6"],
    factor: Float[Array, "6 6"],
    count: int,
    *,
    yaw_scale: Float[Scalar, ""] | float = 1.0,
) -> Float[Array, "count 6"]:
    """Draws views in network units from N(mean, factor factor^T), the yaw multiplied by `yaw_scale`."""
    normal = jax.random.normal(key, (count, 6), mean.dtype)
    drawn = mean + jnp.matmul(normal, factor.T, precision=jax.lax.Precision.HIGHEST)
    return drawn.at[:, 1].multiply(yaw_scale)


def view_deviations(factor: Float[Array, "6 6"], yaw_scale: Float[Scalar, ""] | float) -> Float[Array, "6"]:
    """Returns the standard deviations of the views that `draw_views` draws, in network units."""
    return jnp.sqrt(jnp.sum(jnp.square(factor), axis=1)).at[1].multiply(yaw_scale)


def light_deviations(rand_light: Float[Array, "7"] | tuple[float, ...]) -> Float[Array, "4"]:
    """Returns the standard deviations of ambient, diffuse, dx and dy under lights drawn by `draw_lights`."""
    x0, x1, y0, y1, r0, r1, alpha = rand_light
    strength, dx, dy = ((high - low) / math.sqrt(12) for low, high in ((r0, r1), (x0, x1), (y0, y1)))
    return jnp.stack([abs(alpha) * strength, strength, dx, dy])


def draw_lights(
    key: PRNGKeyArray,
    count: int,
    *,
    rand_light: Float[Array, "7"] | tuple[float, ...],
    dtype: DTypeLike = jnp.float32,
) -> tuple[Float[Array, "count 2"], Float[Array, " count"]]:
    """Draws light directions (dx, dy) and strengths, uniform in `rand_light` = (x0, x1, y0, y1, r0, r1, alpha)."""
    x_key, y_key, strength_key = jax.random.split(key, 3)
    x0, x1, y0, y1, r0, r1, _ = rand_light
    dx = jax.random.uniform(x_key, (count,), dtype, x0, x1)
    dy = jax.random.uniform(y_key, (count,), dtype, y0, y1)
    strength = jax.random.uniform(strength_key, (count,), dtype, r0, r1)
    return jnp.stack([dx, dy], axis=-1), strength


def relit_shading(
    normal: Float[Array, "s s 3"],
    light: Float[Array, "4"],
    direction_xy: Float[Array, "count 2"],
    strength: Float[Array, " count"],
    *,
    alpha: Float[Scalar, ""] | float,
) -> Float[Array, "count s s"]:
    """Returns the shading under drawn lights: ambient + alpha r + (diffuse + r) max(0, n . direction).

    A stronger directional light reduces the ambient one (alpha < 0), as if a flash replaced the sky.
    """
    drawn = jnp.concatenate([jnp.zeros_like(direction_xy), direction_xy], axis=-1)
    diffuse = diffuse_shading(normal, light_direction(drawn))
    ambient = light[0] + alpha * strength
    return ambient[:, None, None] + (light[1] + strength)[:, None, None] * diffuse


def batch_indices(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""] | int,
    *,
    count: int,
    batch_size: int,
    skip_first: bool = False,
) -> Int[Array, " batch"]:
    """Returns which of the kept samples an iteration of step 3 sees, a function of key and iteration alone.

    The first pass goes through the samples in order, each later one through a fresh permutation; a pass
    ends when less than a batch remains.

    Args:
      key: key of this step 3, the same in all of its iterations.
      iteration: counted from 0.
      count: number of kept samples, at least `batch_size`.
      batch_size: samples per iteration.
      skip_first: the published code's order, which starts at the second batch and ends each pass one
        batch early.
    """
    per_pass = max(count // batch_size - int(skip_first), 1)
    position = jnp.asarray(iteration) + int(skip_first and per_pass > 1)
    number, place = position // per_pass, position % per_pass
    shuffled = jax.random.permutation(jax.random.fold_in(key, number), count)
    order = jnp.where(number == 0, jnp.arange(count), shuffled)
    return jax.lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
