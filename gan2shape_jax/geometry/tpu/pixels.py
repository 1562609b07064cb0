"""The four pixels around points and, as the transpose, sums over the points around pixels; for TPU.

A TPU's gathers and scatters process one number after another. Here, for a tile of points, a matrix product with ones
and zeros picks each point's column out of every row of the image, and the point's row is picked out of the result. The
products are those of a TPU's multiplier, of bfloat16 numbers: float32 is the sum of three of them, so nothing is lost.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from gan2shape_jax.geometry.tpu.blocks import LANES, SUBLANES, result_like

__all__ = ["corners", "sums_over_corners"]

_CORNERS = 4  # of a point's cell: (x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)
_TILE = 4 * LANES  # points together
_OUTSIDE = -9.0  # a corner of no pixel
_UPPER_HALF = -(1 << 16)
_ROWS = 2 * SUBLANES  # of a register of bfloat16
_MEMORY = 64 * 2**20  # bytes of fast memory a kernel may take, of 128 MB


def corners(
    image: Float[Array, "b c h w"], low: Float[Array, "b 2 p"], *, interpret: bool
) -> tuple[Float[Array, "b 4*c p"]]:
    """Looks up the four pixels around points. See `geometry.tpu.corners`.

    `interpret`: whether to interpret the kernel, here and below: slow, but runs anywhere.
    """
    batch, channels = image.shape[:2]
    points, tile = _tiled(low)
    pieces = _pieces(_grown(image), axis=3)
    rows, columns = pieces.shape[-2:]
    out: Array = pl.pallas_call(
        functools.partial(_look_up, channels=channels, dtype=image.dtype),
        in_specs=[_of_image(channels * rows, columns), _of_points(2, tile)],
        out_specs=_of_points(_CORNERS * channels, tile),
        out_shape=result_like(image, (batch, _CORNERS * channels, points.shape[-1]), image.dtype),
        interpret=interpret,
        name="corners",
        **_options(batch, points, tile),
    )(pieces.reshape(batch, channels * rows, columns), points)
    return (out[..., : low.shape[-1]],)


def sums_over_corners(
    values: Float[Array, "b _ p"], low: Float[Array, "b 2 p"], *, shape: tuple[int, int], interpret: bool
) -> tuple[Float[Array, "b c h w"]]:
    """Sums, for each pixel, the values of the corners that lie on it: the transpose of `corners`."""
    batch, channels = values.shape[0], values.shape[1] // _CORNERS
    points, tile = _tiled(low)
    values = jnp.pad(values, ((0, 0), (0, 0), (0, points.shape[-1] - values.shape[-1])))
    rows, columns = (-(-side // _ROWS) * _ROWS for side in shape)
    out: Array = pl.pallas_call(
        functools.partial(_add_up, channels=channels),
        in_specs=[_of_points(_CORNERS * channels, tile), _of_points(2, tile)],
        out_specs=_of_image(channels * rows, columns),
        out_shape=result_like(values, (batch, channels * rows, columns), values.dtype),
        interpret=interpret,
        name="sums_over_corners",
        **_options(batch, points, tile),
    )(values, points)
    return (out.reshape(batch, channels, rows, columns)[:, :, : shape[0], : shape[1]],)


def _options(batch: int, points: Array, tile: int) -> dict[str, Any]:
    return {
        "grid": (batch, points.shape[-1] // tile),
        "compiler_params": pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=_MEMORY
        ),
    }


def _of_image(rows: int, columns: int) -> pl.BlockSpec:
    return pl.BlockSpec((1, rows, columns), lambda i, t: (i, 0, 0))


def _of_points(planes: int, tile: int) -> pl.BlockSpec:
    return pl.BlockSpec((1, planes, tile), lambda i, t: (i, 0, t))


def _tiled(low: Float[Array, "b 2 p"]) -> tuple[Float[Array, "b 2 q"], int]:
    """Returns points filled up to whole tiles, and how many a tile has."""
    count = low.shape[-1]
    tile = min(_TILE, -(-count // LANES) * LANES)
    return jnp.pad(low, ((0, 0), (0, 0), (0, -count % tile)), constant_values=_OUTSIDE), tile


def _grown(image: Float[Array, "b c h w"]) -> Float[Array, "b c r s"]:
    """Returns images with rows and columns of zeros, up to whole registers."""
    room = [(0, -side % _ROWS) for side in image.shape[-2:]]
    return jnp.pad(image, ((0, 0), (0, 0), *room))


def _pieces(values: Array, axis: int) -> Array:
    """Returns three arrays of bfloat16 along an axis, whose sum is an array of float32; one of float64 as it is."""
    if values.dtype != jnp.float32:
        return values
    parts, rest = [], values
    for _ in range(3):
        # The first half of the bits is a number of bfloat16; a conversion there and back might be optimised away.
        bits = lax.bitcast_convert_type(rest, jnp.int32) & _UPPER_HALF
        parts.append(lax.bitcast_convert_type(bits, jnp.float32))
        rest = rest - parts[-1]
    return jnp.concatenate([part.astype(jnp.bfloat16) for part in parts], axis=axis)


def _count(dtype: Any) -> int:
    """Returns the number of pieces of an array."""
    return 3 if dtype == jnp.float32 else 1


def _are_at(position: Float[Array, "1 p"], length: int) -> Array:
    """Returns, for all pixels along an axis, whether they are at each point's position."""
    pixel = lax.broadcasted_iota(jnp.int32, (length, position.shape[-1]), 0)
    return pixel.astype(position.dtype) == position


def _product(one: Array, other: Array, contracted: tuple[int, int], dtype: Any) -> Array:
    dimensions = (((contracted[0],), (contracted[1],)), ((), ()))
    return lax.dot_general(one, other, dimensions, preferred_element_type=dtype)


def _look_up(image: Any, low: Any, out: Any, *, channels: int, dtype: Any) -> None:
    """Writes the corners of a tile of points."""
    rows, count = image.shape[1] // channels, _count(dtype)
    columns = image.shape[2] // count
    x, y = low[0, 0:1, :], low[0, 1:2, :]
    along = [_are_at(y + beyond, rows) for beyond in range(2)]
    for right in range(2):
        ones = _are_at(x + right, columns).astype(image.dtype)
        picked = _product(image[0], jnp.concatenate([ones] * count, axis=0), (1, 0), dtype)
        for below in range(2):
            for channel in range(channels):
                part = jnp.where(along[below], picked[channel * rows : (channel + 1) * rows], 0)
                place = (2 * below + right) * channels + channel
                out[0, place : place + 1, :] = jnp.sum(part, axis=0, keepdims=True)


def _add_up(values: Any, low: Any, out: Any, *, channels: int) -> None:
    """Adds the values of a tile of points to the image."""

    @pl.when(pl.program_id(1) == 0)
    def _() -> None:
        out[...] = jnp.zeros_like(out)

    rows = out.shape[1] // channels
    x, y = low[0, 0:1, :], low[0, 1:2, :]
    along = [_are_at(y + beyond, rows) for beyond in range(2)]
    for right in range(2):
        parts = []
        for channel in range(channels):
            first, second = (
                jnp.where(along[below], values[0, place : place + 1, :], 0)
                for below, place in ((0, right * channels + channel), (1, (2 + right) * channels + channel))
            )
            parts.append(first + second)
        pieces = _pieces(jnp.concatenate(parts, axis=0), axis=0)
        sums = _product(pieces, _are_at(x + right, out.shape[2]).astype(pieces.dtype), (1, 1), out.dtype)
        size = channels * rows
        for piece in range(_count(out.dtype)):
            out[0] += sums[piece * size : (piece + 1) * size]
