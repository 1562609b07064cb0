"""Convolutions, filters and linear layers of StyleGAN2, in forms that XLA runs fast.

Images are NHWC; kernels (kh, kw, in, out). The low-pass filter is the fixed binomial
(1, 3, 3, 1) / 8 along each axis. Two choices matter for speed, both measured with frozen weights
(gradients to inputs only):

*   A style scales a convolution's input and its demodulation the output, so that all images of a
    batch share one kernel. Modulating kernels would make grouped convolutions, several times slower
    on a CPU.
*   The filter is two passes of shifted sums, and its derivative is the same filter with other
    borders, given by hand: what JAX derives from sums of slices takes twice as long, a depthwise
    convolution forty times as long on a CPU.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

__all__ = ["blur", "blur_half", "convolve", "convolve_half", "equalised", "leaky_relu", "linear",
           "upsample", "upsample_convolve"]

_EDGE, _INNER = 0.125, 0.375  # the outer and the inner taps of (1, 3, 3, 1) / 8


def equalised(weight: Float[Array, "..."], scale: float = 1.0) -> Float[Array, "..."]:
    """A stored weight times its equalised-learning-rate factor 1 / sqrt(fan in)."""
    return weight * (scale / math.sqrt(math.prod(weight.shape[:-1])))


def leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Leaky ReLU of slope 0.2 with gain sqrt 2, which keeps the variance."""
    return jnp.where(x >= 0, x, 0.2 * x) * math.sqrt(2)


def linear(x: Float[Array, "*batch i"], weight: Float[Array, "i o"], bias: Float[Array, "o"], *,
           scale: float = 1.0) -> Float[Array, "*batch o"]:
    """Equalised linear layer; `scale` is the learning-rate multiplier of weight and bias."""
    return x @ equalised(weight, scale) + bias * scale


def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "k l i o"], *, stride: int = 1,
             padding: int | None = None) -> Float[Array, "b p q o"]:
    """Convolution with zero padding, by default to the same size."""
    pad = kernel.shape[0] // 2 if padding is None else padding
    return lax.conv_general_dilated(x, kernel, (stride, stride), ((pad, pad), (pad, pad)),
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _filter_axis(x: Array, axis: int, pad: int, stride: int) -> Array:
    """One pass of the low-pass filter after padding by `pad` zeros on both sides."""
    width = [(0, 0)] * x.ndim
    width[axis] = (pad, pad)
    x = jnp.pad(x, width)
    count = (x.shape[axis] - 4) // stride + 1

    def tap(j):
        return lax.slice_in_dim(x, j, j + (count - 1) * stride + 1, stride, axis)

    return _EDGE * (tap(0) + tap(3)) + _INNER * (tap(1) + tap(2))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def blur(x: Float[Array, "b h w c"], pad: int) -> Float[Array, "b p q c"]:
    """Low-pass filter of `x` padded by `pad` <= 3 zeros: sides grow by 2 pad - 3."""
    return _filter_axis(_filter_axis(x, 1, pad, 1), 2, pad, 1)


# The filter is symmetric, so its transpose is the filter itself with the complementary padding.
blur.defvjp(lambda x, pad: (blur(x, pad), None), lambda pad, _, g: (blur(g, 3 - pad),))


def _zoom_axis(x: Array, axis: int) -> Array:
    """One pass of filtered x2 upsampling: 3/4 of the nearer input and 1/4 of the farther."""
    width = [(0, 0)] * x.ndim
    width[axis] = (1, 1)
    count, padded = x.shape[axis], jnp.pad(x, width)
    before = lax.slice_in_dim(padded, 0, count, 1, axis)
    after = lax.slice_in_dim(padded, 2, count + 2, 1, axis)
    pair = jnp.stack([2 * _EDGE * before + 2 * _INNER * x, 2 * _INNER * x + 2 * _EDGE * after],
                     axis + 1)
    return pair.reshape(x.shape[:axis] + (2 * count,) + x.shape[axis + 1:])


@jax.custom_vjp
def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Twice the side: zeros between the pixels, then the low-pass filter with gain 4."""
    return _zoom_axis(_zoom_axis(x, 1), 2)


@jax.custom_vjp
def blur_half(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Half the side: the low-pass filter at every second pixel."""
    return _filter_axis(_filter_axis(x, 1, 1, 2), 2, 1, 2)


# Halving and doubling are each other's transposes up to the gain.
upsample.defvjp(lambda x: (upsample(x), None), lambda _, g: (4 * blur_half(g),))
blur_half.defvjp(lambda x: (blur_half(x), None), lambda _, g: (upsample(g) / 4,))


def upsample_convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"],
                      ) -> Float[Array, "b 2*h 2*w o"]:
    """Transposed convolution of stride 2, then the low-pass filter with gain 4.

    The dilated form is as fast as convolving for each of the four phases and interleaving, and its
    gradient to the input, a plain strided convolution, is twice as fast. (The gradient to the
    kernel is what is slow here on a CPU; nothing in this method trains the generator.)
    """
    grown = lax.conv_general_dilated(x, kernel[::-1, ::-1] * 4, (1, 1), ((2, 2), (2, 2)),
                                     lhs_dilation=(2, 2),
                                     dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return blur(grown, 1)


def convolve_half(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"],
                  ) -> Float[Array, "b h//2 w//2 o"]:
    """The low-pass filter, then a convolution of stride 2."""
    return convolve(blur(x, 2), kernel, stride=2, padding=0)
