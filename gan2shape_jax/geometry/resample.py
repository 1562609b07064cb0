"""Samples images at points, resizes and crops them.

Images are `(..., H, W, C)` with any channel count and range. Sampling grids are `(..., h, w, 2)` = (x, y)
with corners aligned: -1 and 1 are the centres of the outer pixels. Everything outside the image is
zero.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from gan2shape_jax import platforms


@platforms.arrays
@platforms.per_shard(image=3, grid=3)
def grid_sample(
    image: Shaped[Array, "*#batch H W C"],
    grid: Float[Array, "*#batch h w 2"],
    *,
    mode: str = "bilinear",
) -> Shaped[Array, "*batch h w C"]:
    """Samples an image at grid points, (x, y) in [-1, 1] or outside; neighbours outside the image count as zero.

    `mode` is "bilinear", differentiable in image and grid, or "nearest" (halves round to even), in the image only.
    Leading axes broadcast: many grids may sample one image.
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode is {mode!r}; it must be 'bilinear' or 'nearest'")
    if mode == "bilinear" and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image is of {image.dtype.name}; sampled bilinearly, it must be floating point")
    height, width = image.shape[-3:-1]
    scale = jnp.array([width - 1, height - 1], grid.dtype) / 2
    # Two pixels outside, every neighbour is outside too; clipping there keeps integers from overflowing.
    limit = jnp.array([width + 1, height + 1], grid.dtype)
    xy = jnp.clip((grid + 1) * scale, -2, limit)
    flat = jnp.asarray(image).reshape(-1, image.shape[-1])
    start = jnp.arange(math.prod(image.shape[:-3]), dtype=jnp.int32) * (height * width)
    start = start.reshape(*image.shape[:-3], 1, 1)
    result = jnp.zeros((), image.dtype)
    for x, y, weight in _corners(mode, xy):
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = jnp.where(inside, start + y * width + x, 0)
        values = flat.at[index].get(mode="promise_in_bounds")
        result = result + values * jnp.where(inside, weight, 0)[..., None].astype(image.dtype)
    return result


@platforms.arrays
def resize(image: Float[Array, "*batch H W C"], size: int) -> Float[Array, "*batch size size C"]:
    """Resizes to a square: shrinking averages cells, growing is bilinear with half-pixel centres.

    When shrinking, cell i averages pixels floor(i H / size) up to, but not including, ceil((i + 1) H / size).

    Examples:
      >>> resize(jnp.arange(16.0).reshape(4, 4, 1), 2)[..., 0].tolist()
      [[2.5, 4.5], [10.5, 12.5]]
    """
    for axis in (-3, -2):
        length = image.shape[axis]
        if length == size:
            continue
        weights = _average_weights(length, size) if length > size else _linear_weights(length, size)
        matrix = jnp.asarray(weights, image.dtype)
        equation = "oi,...iwc->...owc" if axis == -3 else "oi,...hic->...hoc"
        image = jnp.einsum(equation, matrix, image, precision=jax.lax.Precision.HIGHEST)
    return image


@platforms.arrays
def average_cells(image: Float[Array, "*batch H W C"], cell: int) -> Float[Array, "*batch h w C"]:
    """Averages cells of `cell` x `cell` pixels; height and width must be multiples of `cell`."""
    *batch, height, width, channels = image.shape
    # One axis at a time: JAX follows the sharding of a batch through either, but not through both at once.
    cells = image.reshape(*batch, height // cell, cell, width, channels)
    cells = cells.reshape(*batch, height // cell, cell, width // cell, cell, channels)
    return jnp.mean(cells, (-4, -2))


@platforms.arrays
def center_crop(image: Float[Array, "*batch H W C"], size: int) -> Float[Array, "*batch size size C"]:
    """Crops a centred square of side `size`; an odd remainder leaves the extra pixel at the end."""
    height, width = image.shape[-3:-1]
    top, left = (height - size) // 2, (width - size) // 2
    return image[..., top : top + size, left : left + size, :]


def _corners(mode: str, xy: Float[Array, "*shape 2"]) -> list[tuple[Array, Array, Array]]:
    """Returns x, y and weight of the pixel nearest to each point, or of the four around it."""
    fixed = jax.lax.stop_gradient(xy)
    low = jnp.round(fixed) if mode == "nearest" else jnp.floor(fixed)
    x, y = low[..., 0].astype(jnp.int32), low[..., 1].astype(jnp.int32)
    if mode == "nearest":
        return [(x, y, jnp.ones((), xy.dtype))]
    fx, fy = xy[..., 0] - low[..., 0], xy[..., 1] - low[..., 1]
    upper = [(x, y, (1 - fx) * (1 - fy)), (x + 1, y, fx * (1 - fy))]
    return [*upper, (x, y + 1, (1 - fx) * fy), (x + 1, y + 1, fx * fy)]


@functools.cache
def _average_weights(length: int, size: int) -> np.ndarray:
    weights = np.zeros((size, length))
    for i in range(size):
        start, end = i * length // size, -((i + 1) * length // -size)
        weights[i, start:end] = 1 / (end - start)
    return weights


@functools.cache
def _linear_weights(length: int, size: int) -> np.ndarray:
    weights = np.zeros((size, length))
    position = np.maximum((np.arange(size) + 0.5) * length / size - 0.5, 0)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, length - 1)
    np.add.at(weights, (np.arange(size), low), 1 - (position - low))
    np.add.at(weights, (np.arange(size), high), position - low)
    return weights
