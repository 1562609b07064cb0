"""Convolutions and linear layers of StyleGAN2, in forms that XLA runs fast.

Images are NHWC; kernels (kh, kw, in, out). A style scales a convolution's input and its demodulation the output, so
that all images of a batch share one kernel: modulating kernels would require grouped convolutions, which are several
times slower on a CPU. The convolutions are those of `networks.convolution`, whose gradients are fast there.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.networks import convolution
from gan2shape_jax.networks.convolution import convolve
from gan2shape_jax.stylegan2.architecture import BINOMIAL
from gan2shape_jax.stylegan2.filters import smooth

__all__ = ["activate", "convolve", "convolve_half", "equalised", "leaky_relu", "linear", "upsample_convolve"]


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
