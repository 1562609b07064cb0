"""Convolutions and normalisation of features kept as blocks of pixels, for layers with few channels on a TPU.

A TPU keeps channels along the 128 lanes of its registers, so that features of 32 channels leave three quarters of each
empty. As blocks of 2x2 pixels they fill it: features (N, 2 H, 2 W, C) become (N, H, W, 4 C), in which channel
(2 p + q) C + c is channel c of the block's pixel in row p and column q. A convolution of pixels is then one of blocks,
whose kernel has each of the pixels' taps in several places, and zeros elsewhere.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gan2shape_jax.networks import normalization

__all__ = [
    "convolve",
    "convolve_half",
    "convolve_twice",
    "filter_half",
    "group_norm",
    "halve_to_blocks",
    "mix",
    "to_blocks",
    "to_pixels",
    "upsample_convolve",
]

_SIDE = 2  # of a block
_REACH = 3  # blocks that a kernel sees along an axis


def to_blocks(x: Float[Array, "n H W c"]) -> Float[Array, "n H//2 W//2 4*c"]:
    """Lays pixels out as blocks."""
    n, height, width, channels = x.shape
    cells = x.reshape(n, height // _SIDE, _SIDE, width // _SIDE, _SIDE, channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // _SIDE, width // _SIDE, _SIDE**2 * channels)


def to_pixels(x: Float[Array, "n h w b"]) -> Float[Array, "n 2*h 2*w c"]:
    """Lays blocks out as pixels."""
    n, h, w, lanes = x.shape
    cells = x.reshape(n, h, w, _SIDE, _SIDE, lanes // _SIDE**2)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(n, _SIDE * h, _SIDE * w, -1)


def convolve(x: Float[Array, "n h w j"], kernel: Float[Array, "k k i o"]) -> Float[Array, "n h w 4*o"]:
    """Does what `convolution.convolve` does with pixels, for a kernel of 3x3 or 5x5."""
    return _convolve(x, kernel, _taps(kernel.shape[0], _SIDE, _SIDE))


def convolve_half(x: Float[Array, "n h w j"], kernel: Float[Array, "k k i o"]) -> Float[Array, "n h w o"]:
    """Does what `convolution.convolve_half` does for a kernel of 3x3 or 4x4; every block becomes a pixel."""
    return _convolve(x, kernel, _taps(kernel.shape[0], _SIDE, 1))


def halve_to_blocks(x: Float[Array, "n H W i"], kernel: Float[Array, "4 4 i o"]) -> Float[Array, "n H//4 W//4 4*o"]:
    """Does what `convolution.convolve_half` does; every 4x4 pixels become a block."""
    return _convolve(x, kernel, _taps_of_two_pixels(kernel.shape[0]), stride=4, padding=1)


def mix(x: Float[Array, "n h w j"], kernel: Float[Array, "1 1 i o"]) -> Float[Array, "n h w 4*o"]:
    """Does what `convolution.convolve` does for a kernel of 1x1."""
    return x.astype(kernel.dtype) @ jnp.kron(jnp.eye(_SIDE**2, dtype=kernel.dtype), kernel[0, 0])


def convolve_twice(x: Float[Array, "n h w i"], kernel: Float[Array, "4 4 i o"]) -> Float[Array, "n h w 4*o"]:
    """Does what `convolution.convolve_twice` does; every pixel of `x` becomes a block."""
    return _convolve(x, kernel, _taps_of_spread_pixels())


def upsample_convolve(x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "n h w 4*o"]:
    """Does what `convolution.upsample_convolve` does; every pixel of `x` becomes a block."""
    return _convolve(x, kernel, _taps_of_doubled_pixels())


def filter_half(
    x: Float[Array, "n h w j"], kernel: Float[Array, "k k i o"], taps: tuple[float, ...], side: int = _SIDE
) -> Float[Array, "n _ _ o"]:
    """Filters with zeros beyond the border, then convolves with stride 2: both in one convolution.

    Args:
      x: blocks of `side` x `side` pixels.
      kernel: for pixels, 3x3 or 1x1.
      taps: the low-pass filter's along either axis, symmetric, their number even.
      side: 2 or 1.
    """
    folded, padding = _taps_after_filter(kernel.shape[0], taps, side)
    return _convolve(x, kernel, folded, stride=2 // side, padding=padding)


def group_norm(
    x: Float[Array, "n h w b"], scale: Float[Array, " c"], bias: Float[Array, " c"], groups: int
) -> Float[Array, "n h w b"]:
    """Does what `normalization.group_norm` does with pixels."""
    n, _, _, lanes = x.shape
    channels = scale.shape[0]
    cells = lanes // channels
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def of_groups(values: Float[Array, "n b"]) -> Float[Array, "n g"]:
        return jnp.mean(values.reshape(n, cells, groups, channels // groups), axis=(1, 3))

    def of_channels(values: Float[Array, "n g"]) -> Float[Array, "n c"]:
        return jnp.repeat(values, channels // groups, axis=-1)

    def of_lanes(values: Float[Array, "m c"]) -> Float[Array, "m 1 1 b"]:
        return jnp.tile(values, (1, cells))[:, None, None]

    center = of_groups(jnp.mean(x, axis=(1, 2)))
    beyond = x - of_lanes(of_channels(center))
    spread = of_groups(jnp.mean(jnp.square(beyond), axis=(1, 2)))
    factor = of_channels(lax.rsqrt(spread + normalization.EPSILON)) * scale
    return (beyond * of_lanes(factor) + of_lanes(bias[None])).astype(scale.dtype)


def _convolve(
    x: Float[Array, "n h w j"], kernel: Float[Array, "k k i o"], taps: np.ndarray, stride: int = 1, padding: int = 1
) -> Float[Array, "n _ _ p"]:
    """Convolves blocks.

    Args:
      x: blocks.
      kernel: for pixels.
      taps: (window, input cells, output cells, k), along one axis: how much of each tap is in the weight with which an
        output cell sees an input cell of each block of a window.
      stride: in blocks.
      padding: blocks of zeros at every edge.
    """
    size, _, channels_in, channels_out = kernel.shape
    window, inner, outer, _ = taps.shape
    # Both axes: blocks, then input cells, then output cells, then taps.
    matrix = np.einsum("dqpt,ersu->deqrpstu", taps, taps).reshape(-1, size**2)
    flat = jnp.matmul(jnp.asarray(matrix, kernel.dtype), kernel.reshape(size**2, -1), precision=lax.Precision.HIGHEST)
    spread = flat.reshape(window, window, inner**2, outer**2, channels_in, channels_out)
    spread = spread.swapaxes(3, 4).reshape(window, window, inner**2 * channels_in, outer**2 * channels_out)
    return lax.conv_general_dilated(
        x.astype(kernel.dtype),
        spread,
        (stride, stride),
        ((padding, padding),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.cache
def _taps(size: int, inner: int, outer: int) -> np.ndarray:
    """Returns where the taps of a kernel go whose stride is the ratio of the blocks' sides.

    The first tap of output pixel y is for input pixel stride y - (size - 1) // 2.
    """
    stride = inner // outer
    block, cell, pixel, tap = np.ogrid[:_REACH, :inner, :outer, :size]
    seen = inner * (block - 1) + cell == stride * pixel + tap - (size - 1) // 2
    if seen.sum() != outer * size:
        raise ValueError(f"a kernel of side {size} reaches beyond the neighbouring blocks of side {inner}")
    return np.asarray(seen, np.float32)


@functools.cache
def _taps_of_two_pixels(size: int) -> np.ndarray:
    """Returns where the taps of a kernel of stride 2 go, in a window of all input pixels that two output pixels see."""
    place, _, pixel, tap = np.ogrid[: size + 2, :1, :_SIDE, :size]
    return np.asarray(place == 2 * pixel + tap, np.float32)


@functools.cache
def _taps_after_filter(size: int, taps: tuple[float, ...], side: int) -> tuple[np.ndarray, int]:
    """Returns what a kernel's taps of stride 2 weigh input pixels with that are filtered first, and the padding."""
    reach = (size + len(taps) - 2) // 2  # pixels before the first of the two in the middle
    padding = -(-reach // side)
    window = 2 * padding + 2 // side
    block, cell, _, tap = np.ogrid[:window, :side, :1, :size]
    position = side * (block - padding) + cell + reach - tap
    weights = sum(weight * (position == place) for place, weight in enumerate(taps))
    return np.asarray(weights / sum(taps), np.float32), padding


@functools.cache
def _taps_of_spread_pixels() -> np.ndarray:
    """Returns where the taps of a transposed 4x4 convolution go: pixel i adds tap t to output pixel 2 i + t - 1."""
    block, _, pixel, tap = np.ogrid[:_REACH, :1, :_SIDE, :4]
    return np.asarray(_SIDE * (block - 1) + tap - 1 == pixel, np.float32)


@functools.cache
def _taps_of_doubled_pixels() -> np.ndarray:
    """Returns where the taps of a 3x3 kernel go whose input pixels are doubled first."""
    block, _, pixel, tap = np.ogrid[:_REACH, :1, :_SIDE, :3]
    return np.asarray(block - 1 == (pixel + tap - 1) // _SIDE, np.float32)
