"""Layers with torch's initialisation: convolutions and group normalisation.

Features are `(N, H, W, C)`. Kernels are `(rows, columns, in, out)`, except `Expand`'s. Parameters
take the dtype of the input they are initialised with; afterwards, a layer computes in the dtype of
its parameters, whatever its input's dtype: see `precision`.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from gan2shape_jax.networks import convolution, normalization

__all__ = [
    "Collapse",
    "Conv",
    "ConvHalf",
    "ConvTwice",
    "Expand",
    "GroupNorm",
    "Kernel",
    "Pointwise",
    "ScaleAndBias",
]


_Initialiser = Callable[[PRNGKeyArray, tuple[int, ...], DTypeLike], jax.Array]


def _uniform(fan_in: int) -> _Initialiser:
    """Returns torch's default initialiser: Kaiming uniform with a = sqrt 5 has the bounds +-1 / sqrt(fan in)."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Conv(nn.Module):
    """Convolution of stride 1 that preserves the side; no bias."""

    channels: int
    size: int = 3

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """Convolves a batch of features."""
        fan_in = self.size**2 * x.shape[-1]
        shape = (self.size, self.size, x.shape[-1], self.channels)
        kernel = self.param("kernel", _uniform(fan_in), shape, x.dtype)
        return convolution.convolve(x.astype(kernel.dtype), kernel)


class ConvHalf(nn.Module):
    """Convolution of stride 2 that halves the side; no bias."""

    channels: int
    size: int = 4

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h//2 w//2 o"]:
        """Convolves a batch of features to half the side."""
        fan_in = self.size**2 * x.shape[-1]
        shape = (self.size, self.size, x.shape[-1], self.channels)
        kernel = self.param("kernel", _uniform(fan_in), shape, x.dtype)
        return convolution.convolve_half(x.astype(kernel.dtype), kernel)


class ConvTwice(nn.Module):
    """Transposed 4x4 convolution of stride 2 that doubles the side; no bias.

    Torch computes the fan-in of a transposed convolution from its outputs.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n 2*h 2*w o"]:
        """Convolves a batch of features to twice the side."""
        shape = (4, 4, x.shape[-1], self.channels)
        kernel = self.param("kernel", _uniform(16 * self.channels), shape, x.dtype)
        return convolution.convolve_twice(x.astype(kernel.dtype), kernel)


class Collapse(nn.Module):
    """Convolution with a kernel as large as the input: a matrix product; no bias."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n k k i"]) -> Float[Array, "n o"]:
        """Returns one vector for each item of the batch."""
        shape = (*x.shape[1:], self.channels)
        fan_in = math.prod(x.shape[1:])
        kernel = self.param("kernel", _uniform(fan_in), shape, x.dtype)
        return x.astype(kernel.dtype).reshape(x.shape[0], fan_in) @ kernel.reshape(fan_in, self.channels)


class Expand(nn.Module):
    """Transposed 4x4 convolution of a single pixel: a matrix product; no bias.

    The kernel is `(in, 4, 4, out)`, so that the product does not need to copy it.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n 4 4 o"]:
        """Returns 4x4 features for each vector."""
        shape = (x.shape[-1], 4, 4, self.channels)
        kernel = self.param("kernel", _uniform(16 * self.channels), shape, x.dtype)
        return (x.astype(kernel.dtype) @ kernel.reshape(x.shape[-1], -1)).reshape(x.shape[0], *shape[1:])


class Pointwise(nn.Module):
    """1x1 convolution: a product along the channels."""

    channels: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        """Mixes the channels of every pixel or vector."""
        init = _uniform(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.channels), x.dtype)
        out = x.astype(kernel.dtype) @ kernel
        if self.use_bias:
            out += self.param("bias", init, (self.channels,), kernel.dtype)
        return out


class GroupNorm(nn.Module):
    """Group normalisation: see `normalization.group_norm`."""

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises, scales and shifts a batch of features."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), x.dtype)
        return normalization.group_norm(x, scale, bias, self.groups)


class Kernel(nn.Module):
    """A convolution's kernel alone, for functions that apply it: `outer_layers`."""

    shape: tuple[int, int, int, int]
    fan_in: int

    @nn.compact
    def __call__(self, dtype: DTypeLike) -> Float[Array, "k k i o"]:
        """Returns the kernel."""
        kernel: jax.Array = self.param("kernel", _uniform(self.fan_in), self.shape, dtype)
        return kernel


class ScaleAndBias(nn.Module):
    """The parameters of a group normalisation alone."""

    channels: int

    @nn.compact
    def __call__(self, dtype: DTypeLike) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """Returns scale and bias."""
        scale = self.param("scale", nn.initializers.ones, (self.channels,), dtype)
        return scale, self.param("bias", nn.initializers.zeros, (self.channels,), dtype)
