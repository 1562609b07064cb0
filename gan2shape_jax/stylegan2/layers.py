"""Convolutions, linear layers and low-pass filter of StyleGAN2, in forms that XLA runs fast.

Images are NHWC; kernels (kh, kw, in, out). A style scales a convolution's input and its demodulation the output, so
that all images of a batch share one kernel: modulating kernels would require grouped convolutions, which are several
times slower on a CPU. The convolutions are those of `networks.convolution`, whose gradients are fast there.

The filter is separable, with zeros beyond the border. Nearly every StyleGAN2 has the taps (1, 3, 3, 1) / 8 along each
axis. For those the filter is two passes of shifted sums, and its derivative is the same filter with other borders,
written by hand: what JAX derives from sums of slices takes twice as long, a depthwise convolution forty times as long
on a CPU (measured with frozen weights). Any other taps use the general form, `_resample`; borders and phases are those
of NVIDIA's `upfirdn2d`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gan2shape_jax.networks import convolution
from gan2shape_jax.stylegan2.architecture import BINOMIAL

_EDGE, _INNER = 0.125, 0.375  # the outer and the inner taps of (1, 3, 3, 1) / 8


def _filter_axis(x: Array, axis: int, pad: int, stride: int) -> Array:
    """Applies the low-pass filter along an axis padded with `pad` zeros on both sides."""
    width = [(0, 0)] * x.ndim
    width[axis] = (pad, pad)
    x = jnp.pad(x, width)
    count = (x.shape[axis] - 4) // stride + 1

    def tap(j: int) -> Array:
        return lax.slice_in_dim(x, j, j + (count - 1) * stride + 1, stride, axis)

    return _EDGE * (tap(0) + tap(3)) + _INNER * (tap(1) + tap(2))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def blur(x: Float[Array, "b h w c"], pad: int) -> Float[Array, "b p q c"]:
    """Applies the low-pass filter to `x` padded with `pad` <= 3 zeros; sides grow by 2 pad - 3."""
    return _filter_axis(_filter_axis(x, 1, pad, 1), 2, pad, 1)


# The filter is symmetric, so its transpose is the filter itself with the complementary padding.
blur.defvjp(lambda x, pad: (blur(x, pad), None), lambda pad, _, g: (blur(g, 3 - pad),))


def _zoom_axis(x: Array, axis: int) -> Array:
    """Doubles an axis with the filter: 3/4 of the nearer input and 1/4 of the farther."""
    width = [(0, 0)] * x.ndim
    width[axis] = (1, 1)
    count, padded = x.shape[axis], jnp.pad(x, width)
    before = lax.slice_in_dim(padded, 0, count, 1, axis)
    after = lax.slice_in_dim(padded, 2, count + 2, 1, axis)
    pair = jnp.stack([2 * _EDGE * before + 2 * _INNER * x, 2 * _INNER * x + 2 * _EDGE * after], axis + 1)
    return pair.reshape(x.shape[:axis] + (2 * count,) + x.shape[axis + 1 :])


@jax.custom_vjp
def _upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    return _zoom_axis(_zoom_axis(x, 1), 2)


@jax.custom_vjp
def _blur_half(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    return _filter_axis(_filter_axis(x, 1, 1, 2), 2, 1, 2)


# Halving and doubling are each other's transposes up to the gain.
_upsample.defvjp(lambda x: (_upsample(x), None), lambda _, g: (4 * _blur_half(g),))
_blur_half.defvjp(lambda x: (_blur_half(x), None), lambda _, g: (_upsample(g) / 4,))


def _resample(x: Array, axis: int, taps: tuple[float, ...], pads: tuple[int, int], up: int = 1, down: int = 1) -> Array:
    """Applies any filter along an axis: inserts zeros, pads (or crops), convolves, keeps every `down`-th value."""
    before, after = pads
    x = lax.pad(
        x, jnp.zeros((), x.dtype), [(before, after + up - 1, up - 1) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    )
    count = (x.shape[axis] - len(taps)) // down + 1
    total = sum(taps) / up  # a gain of `up` makes up for the zeros
    # A convolution, not a correlation: the first tap meets the last pixel.
    parts = [
        tap / total * lax.slice_in_dim(x, j, j + (count - 1) * down + 1, down, axis)
        for j, tap in enumerate(reversed(taps))
    ]
    return sum(parts[1:], start=parts[0])


def smooth(
    x: Float[Array, "b h w c"],
    taps: tuple[float, ...],
    pads: tuple[int, int],
) -> Float[Array, "b p q c"]:
    """Applies a low-pass filter to `x` padded with `pads` zeros before and after (negative values crop)."""
    if taps == BINOMIAL and pads[0] == pads[1]:
        return blur(x, pads[0])
    return _resample(_resample(x, 1, taps, pads), 2, taps, pads)


def upsample(
    x: Float[Array, "b h w c"],
    taps: tuple[float, ...] = BINOMIAL,
) -> Float[Array, "b 2*h 2*w c"]:
    """Doubles the side: zeros between the pixels, then the low-pass filter with gain 4."""
    if taps == BINOMIAL:
        return _upsample(x)
    pads = ((len(taps) + 1) // 2, (len(taps) - 2) // 2)
    return _resample(_resample(x, 1, taps, pads, up=2), 2, taps, pads, up=2)


def blur_half(
    x: Float[Array, "b h w c"],
    taps: tuple[float, ...] = BINOMIAL,
) -> Float[Array, "b h//2 w//2 c"]:
    """Halves the side: the low-pass filter at every second pixel."""
    if taps == BINOMIAL:
        return _blur_half(x)
    pads = ((len(taps) - 1) // 2, (len(taps) - 2) // 2)
    return _resample(_resample(x, 1, taps, pads, down=2), 2, taps, pads, down=2)


def equalised(weight: Float[Array, "..."], scale: float = 1.0) -> Float[Array, "..."]:
    """Returns a stored weight times its equalised-learning-rate factor 1 / sqrt(fan in)."""
    return weight * (scale / math.sqrt(math.prod(weight.shape[:-1])))


def leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Applies a leaky ReLU of slope 0.2 with gain sqrt 2, which keeps the variance."""
    return jnp.where(x >= 0, x, 0.2 * x) * math.sqrt(2)


def activate(x: Float[Array, "..."], clamp: float | None = None) -> Float[Array, "..."]:
    """Applies the leaky ReLU with gain, then clamps to +-`clamp` unless it is None (Karras et al., ADA)."""
    x = leaky_relu(x)
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def linear(
    x: Float[Array, "*batch i"], weight: Float[Array, "i o"], bias: Float[Array, "o"], *, scale: float = 1.0
) -> Float[Array, "*batch o"]:
    """Applies an equalised linear layer; `scale` is the learning-rate multiplier of weight and bias."""
    return x @ equalised(weight, scale) + bias * scale


def upsample_convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], taps: tuple[float, ...] = BINOMIAL
) -> Float[Array, "b 2*h 2*w o"]:
    """Applies a transposed convolution of stride 2, then the low-pass filter with gain 4."""
    grown = convolution.convolve_twice(x, kernel * 4, 0)
    return smooth(grown, taps, ((len(taps) + 1) // 2 - 1, (len(taps) - 2) // 2))


def convolve_half(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], taps: tuple[float, ...] = BINOMIAL
) -> Float[Array, "b h//2 w//2 o"]:
    """Applies the low-pass filter, then a convolution of stride 2."""
    smoothed = smooth(x, taps, ((len(taps) - 1) // 2 + 1, (len(taps) - 2) // 2 + 1))
    return convolution.convolve_half(smoothed, kernel, 0)
