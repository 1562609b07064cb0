"""The terms of the training loss, one pure function each.

Images and features are `(..., H, W, C)`, masks `(..., H, W)` in [0, 1], maps `(..., H, W)`. Every
function reduces to a scalar over the whole batch. A masked ratio divides by the mask's sum, so an
empty mask gives no information; it gives zero here, with zero gradients, where a plain division
would give NaN.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["feature_distance", "latent_norm", "mean_squared", "photometric", "smoothness"]


def photometric(
    a: Float[Array, "*batch h w c"],
    b: Float[Array, "*batch h w c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean absolute difference over the mask (GAN2Shape, section 3.2).

    Args:
        a: images or features, any range.
        b: the same shape.
        mask: weight of each pixel, the same for all channels; None weighs all pixels alike.

    Returns:
        `sum(|a - b| m) / sum(m)` as one ratio over batch, pixels and channels.
    """
    difference = jnp.abs(a - b)
    if mask is None:
        return jnp.mean(difference)
    return _masked_mean(difference, mask)


def smoothness(values: Float[Array, "*batch h w"]) -> Float[Array, ""]:
    """Returns the sum of the mean absolute second differences xx, xy, yx and yy of maps.

    Args:
        values: depth, shading, or any map whose last two axes are rows and columns.
    """
    along_x = jnp.diff(values, axis=-1)
    along_y = jnp.diff(values, axis=-2)
    second = (
        jnp.diff(along_x, axis=-1),
        jnp.diff(along_x, axis=-2),
        jnp.diff(along_y, axis=-1),
        jnp.diff(along_y, axis=-2),
    )
    # The two mixed terms are equal; both are kept because the method counts the mixed term twice.
    return sum((jnp.mean(jnp.abs(term)) for term in second), jnp.zeros((), values.dtype))


def feature_distance(
    features_a: Sequence[Float[Array, "batch _ _ _"]],
    features_b: Sequence[Float[Array, "batch _ _ _"]],
    mask: Float[Array, "batch h w"],
) -> Float[Array, ""]:
    """Returns the masked distance between discriminator features, summed over layers (GAN2Shape, section 3.2).

    Args:
        features_a: one array per layer, with sides that divide the mask's.
        features_b: the same shapes; the target, through which no gradient passes.
        mask: weight of each image pixel, average-pooled to each layer's side.
    """
    total = jnp.zeros((), mask.dtype)
    for a, b in zip(features_a, features_b, strict=True):
        pooled = _average_pool(mask, a.shape[-3:-1])
        total += _masked_mean(jnp.abs(a - jax.lax.stop_gradient(b)), pooled)
    return total


def latent_norm(offset: Float[Array, "*batch w"]) -> Float[Array, ""]:
    """Returns the mean square of the offsets in W that step 2 adds to the image's latent."""
    return jnp.mean(jnp.square(offset))


def mean_squared(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, ""]:
    """Returns the mean squared difference, which fits the depth network to the prior."""
    return jnp.mean(jnp.square(a - b))


def _masked_mean(values: Float[Array, "*batch h w c"], mask: Float[Array, "*batch h w"]) -> Float[Array, ""]:
    """Returns the sum of values times mask over the mask's sum, the mask counted once per channel."""
    mask = jnp.broadcast_to(mask, values.shape[:-1])
    weight = jnp.sum(mask) * values.shape[-1]
    empty = weight <= 0
    total = jnp.sum(jnp.sum(values, axis=-1) * mask)
    return jnp.where(empty, 0.0, total) / jnp.where(empty, 1.0, weight)


def _average_pool(mask: Float[Array, "*batch h w"], shape: tuple[int, ...]) -> Float[Array, "*batch hf wf"]:
    """Returns the means of whole cells; a remainder that does not fill a cell is left out, as in strided pooling."""
    rows, columns = shape
    step_y, step_x = mask.shape[-2] // rows, mask.shape[-1] // columns
    mask = mask[..., : rows * step_y, : columns * step_x]
    cells = mask.reshape(*mask.shape[:-2], rows, step_y, columns, step_x)
    return jnp.mean(cells, axis=(-3, -1))
