"""Convolutions, filters and linear layers of StyleGAN2, in forms that XLA runs fast.

Images are NHWC; kernels (kh, kw, in, out). One choice matters for speed, measured with frozen
weights (gradients to inputs only): a style scales a convolution's input and its demodulation the
output, so that all images of a batch share one kernel. Modulating kernels would make grouped
convolutions, several times slower on a CPU.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gan2shape_jax.stylegan2.architecture import BINOMIAL
from gan2shape_jax.stylegan2.filters import blur, blur_half, smooth, upsample

__all__ = [
    "activate",
    "blur",
    "blur_half",
    "convolve",
    "convolve_half",
    "equalised",
    "leaky_relu",
    "linear",
    "upsample",
    "upsample_convolve",
]


def equalised(weight: Float[Array, "..."], scale: float = 1.0) -> Float[Array, "..."]:
    """Returns a stored weight times its equalised-learning-rate factor 1 / sqrt(fan in)."""
    return weight * (scale / math.sqrt(math.prod(weight.shape[:-1])))


def leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Applies a leaky ReLU of slope 0.2 with gain sqrt 2, which keeps the variance."""
    return jnp.where(x >= 0, x, 0.2 * x) * math.sqrt(2)


def activate(x: Float[Array, "..."], clamp: float | None) -> Float[Array, "..."]:
    """Applies the leaky ReLU with gain, then clamps to +-`clamp` unless that is None (Karras et al., ADA)."""
    x = leaky_relu(x)
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def linear(
    x: Float[Array, "*batch i"], weight: Float[Array, "i o"], bias: Float[Array, "o"], *, scale: float = 1.0
) -> Float[Array, "*batch o"]:
    """Applies an equalised linear layer; `scale` is the learning-rate multiplier of weight and bias."""
    return x @ equalised(weight, scale) + bias * scale


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k l i o"], *, stride: int = 1, padding: int | None = None
) -> Float[Array, "b p q o"]:
    """Convolves with zero padding, by default to the same size."""
    pad = kernel.shape[0] // 2 if padding is None else padding
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def upsample_convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], taps: tuple[float, ...] = BINOMIAL
) -> Float[Array, "b 2*h 2*w o"]:
    """Applies a transposed convolution of stride 2, then the low-pass filter with gain 4."""
    grown = _grow(x, kernel * 4)
    return smooth(grown, taps, ((len(taps) + 1) // 2 - 1, (len(taps) - 2) // 2))


@jax.custom_vjp
def _grow(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h+1 2*w+1 o"]:
    """Applies a transposed convolution of stride 2.

    Forwards and in its gradient to the input, a plain strided convolution, XLA is fast on a CPU. What it derives for
    the kernel takes ten to twenty times as long there as nine products of matrices, which are the same sums.
    """
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _grow_forwards(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _grow(x, kernel), (x, kernel)


def _grow_backwards(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = kept
    to_input = convolve(cotangent, kernel.swapaxes(2, 3), stride=2, padding=0)
    to_kernel = jnp.stack([jnp.stack([_meeting(x, cotangent, i, j) for j in range(3)]) for i in range(3)])
    return to_input, to_kernel


def _meeting(x: Array, grown: Array, row: int, column: int) -> Array:
    """Returns the sums, for one place of the kernel, of inputs times the outputs that they reach through it."""
    reached = grown[:, row : row + 2 * x.shape[1] : 2, column : column + 2 * x.shape[2] : 2]
    return jnp.einsum("bhwi,bhwo->io", x, reached)


_grow.defvjp(_grow_forwards, _grow_backwards)


def convolve_half(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], taps: tuple[float, ...] = BINOMIAL
) -> Float[Array, "b h//2 w//2 o"]:
    """Applies the low-pass filter, then a convolution of stride 2."""
    blurred = smooth(x, taps, ((len(taps) - 1) // 2 + 1, (len(taps) - 2) // 2 + 1))
    return convolve(blurred, kernel, stride=2, padding=0)
