"""Group normalisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["EPSILON", "group_norm"]

EPSILON = 1e-5  # added to the variance


def group_norm(
    x: Float[Array, "n h w c"], scale: Float[Array, " c"], bias: Float[Array, " c"], groups: int
) -> Float[Array, "n h w c"]:
    """Normalises groups of neighbouring channels over the image (Wu and He, ECCV 2018), then scales and shifts them.

    A group's variance is the mean of its channels' variances plus that of the squared distances of
    their means from the group's: all long sums run over pixels only, and no large squares are
    subtracted from each other. Computed in float32 at least; the result has the dtype of `scale`.
    """
    n, _, _, channels = x.shape
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=(1, 2))
    grouped = mean.reshape(n, groups, -1)
    center = jnp.mean(grouped, axis=-1, keepdims=True)
    spread = variance.reshape(n, groups, -1) + jnp.square(grouped - center)
    inverse = jax.lax.rsqrt(jnp.mean(spread, axis=-1, keepdims=True) + EPSILON)

    def per_channel(of_group: Float[Array, "n g 1"]) -> Float[Array, "n 1 1 c"]:
        return jnp.repeat(of_group[..., 0], channels // groups, axis=-1)[:, None, None]

    return ((x - per_channel(center)) * (per_channel(inverse) * scale) + bias).astype(scale.dtype)
