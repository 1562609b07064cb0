"""Convolutions and linear layers of StyleGAN2, in forms that XLA runs fast.

Images are NHWC; kernels (kh, kw, in, out). Two choices matter for speed on a CPU, both measured.

A style scales a convolution's input and its demodulation the output, so that all images of a batch share one kernel.
Modulating kernels would require grouped convolutions, which are several times slower.

Training a GAN needs gradients to kernels. XLA is fast in the forward pass and in the gradient to the input, but what it
derives for a kernel is a convolution with a window as large as the image, which takes 2 to 4 times as long as the same
sums computed as matrix products, and 10 to 20 times with strides (one core, batch 16, 8 to 64 pixels). Second
derivatives, as in the gradient penalty, are built from the same functions. On GPU and TPU, all is XLA's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gan2shape_jax import platforms
from gan2shape_jax.stylegan2.architecture import BINOMIAL
from gan2shape_jax.stylegan2.filters import smooth

__all__ = ["activate", "convolve", "convolve_half", "equalised", "leaky_relu", "linear", "upsample_convolve"]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_NARROW = 32  # channels below which matrix products are too thin to be fast
_Form = Callable[[Array, Array], Array]


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


def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]) -> Float[Array, "b h w o"]:
    """Convolves with zero padding, keeping the size; k is odd."""
    return (_convolve_on_cpu if platforms.current() == "cpu" else _same)(x, kernel)


def upsample_convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], taps: tuple[float, ...] = BINOMIAL
) -> Float[Array, "b 2*h 2*w o"]:
    """Applies a transposed convolution of stride 2, then the low-pass filter with gain 4."""
    return smooth(_grow(x, kernel * 4), taps, ((len(taps) + 1) // 2 - 1, (len(taps) - 2) // 2))


def convolve_half(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], taps: tuple[float, ...] = BINOMIAL
) -> Float[Array, "b h//2 w//2 o"]:
    """Applies the low-pass filter, then a convolution of stride 2."""
    return _shrink(smooth(x, taps, ((len(taps) - 1) // 2 + 1, (len(taps) - 2) // 2 + 1)), kernel)


def _shrink(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b h//2 w//2 o"]:
    """Convolves with stride 2, without padding; h and w are odd."""
    return (_shrink_on_cpu if platforms.current() == "cpu" else _strided)(x, kernel)


def _grow(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h+1 2*w+1 o"]:
    """Applies a transposed convolution of stride 2."""
    return (_grow_on_cpu if platforms.current() == "cpu" else _dilated)(x, kernel)


def _same(x: Array, kernel: Array) -> Array:
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(x, kernel, (1, 1), ((pad, pad), (pad, pad)), dimension_numbers=_LAYOUT)


def _strided(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), ((0, 0), (0, 0)), dimension_numbers=_LAYOUT)


def _dilated(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=_LAYOUT
    )


def _with_gradients(form: _Form, to_input: _Form, to_kernel: Callable[[Array, Array, Array], Array]) -> _Form:
    """Returns a convolution with given gradients; `to_input` takes the cotangent and the kernel, in and out swapped."""
    convolution = jax.custom_vjp(form)

    def backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
        x, kernel = saved
        return to_input(cotangent, kernel.swapaxes(2, 3)), to_kernel(x, kernel, cotangent)

    convolution.defvjp(lambda x, kernel: (convolution(x, kernel), (x, kernel)), backward)
    return convolution


def _kernel_of_same(x: Array, kernel: Array, cotangent: Array) -> Array:
    """Sums inputs times cotangents at nine offsets, as one matrix product over all pixels."""
    (_, height, _, inputs), outputs = x.shape, cotangent.shape[-1]
    if kernel.shape[0] != 3 or min(inputs, outputs) < _NARROW:
        pulled: Array = jax.vjp(lambda kernel: _same(x, kernel), kernel)[1](cotangent)[0]
        return pulled
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = jnp.concatenate([padded[:, i : i + height] for i in range(3)], axis=-1)
    columns = [jnp.pad(cotangent, ((0, 0), (0, 0), (j, 2 - j), (0, 0))) for j in range(3)]
    sums = rows.reshape(-1, 3 * inputs).T @ jnp.concatenate(columns, axis=-1).reshape(-1, 3 * outputs)
    return sums.reshape(3, inputs, 3, outputs).swapaxes(1, 2)


def _kernel_of_grown(x: Array, kernel: Array, cotangent: Array) -> Array:
    """Sums, for each kernel position, the pixels of `x` times the larger image's that they reach through it."""
    height, width = x.shape[1:3]

    def at(row: int, column: int) -> Array:
        reached = cotangent[:, row : row + 2 * height : 2, column : column + 2 * width : 2]
        return jnp.einsum("bhwi,bhwo->io", x, reached)

    return jnp.stack([jnp.stack([at(row, column) for column in range(3)]) for row in range(3)])


_convolve_on_cpu = _with_gradients(_same, lambda g, kernel: convolve(g, kernel[::-1, ::-1]), _kernel_of_same)
_shrink_on_cpu = _with_gradients(_strided, _grow, lambda x, k, g: _kernel_of_grown(g, k, x).swapaxes(2, 3))
_grow_on_cpu = _with_gradients(_dilated, _shrink, _kernel_of_grown)
