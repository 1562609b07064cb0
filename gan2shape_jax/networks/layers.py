"""Layers with torch's initialisation: convolutions and group normalisation.

Features are `(N, H, W, C)`. Kernels are `(rows, columns, in, out)`, except `Expand`'s. Parameters
take the dtype of the input they are initialised with; afterwards, a layer computes in the dtype of
its parameters, whatever its input's dtype: see `precision`.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from gan2shape_jax.networks import convolution

__all__ = ["Collapse", "Conv", "Expand", "GroupNorm", "Pointwise", "drawing_from"]

_EPSILON = 1e-5  # added to the variance
_CONVOLUTIONS = {
    "same": convolution.convolve,
    "half": convolution.convolve_half,
    "twice": convolution.convolve_twice,
    "upsample": convolution.upsample_convolve,
}
_Initialiser = Callable[[PRNGKeyArray, tuple[int, ...], DTypeLike], jax.Array]
_UNIFORM: contextvars.ContextVar[list[jax.Array] | None] = contextvars.ContextVar("uniform", default=None)


@contextlib.contextmanager
def drawing_from(values: Float[Array, " n"]) -> Iterator[None]:
    """Layers initialised within the context take their random numbers from `values`, uniform in [-1, 1), in order.

    Each layer would draw with its own key otherwise; XLA compiles the random generator anew for each, which takes a
    minute for the five networks on a CPU.
    """
    token = _UNIFORM.set([values])
    try:
        yield
    finally:
        _UNIFORM.reset(token)


def _uniform(fan_in: int) -> _Initialiser:
    """Returns torch's default initialiser: Kaiming uniform with a = sqrt 5 has the bounds +-1 / sqrt(fan in)."""

    def init(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        drawn = _UNIFORM.get()
        if drawn is None:
            unit = jax.random.uniform(key, shape, dtype, -1, 1)
        else:
            size = math.prod(shape)
            unit, drawn[0] = drawn[0][:size].reshape(shape), drawn[0][size:]
        return unit / math.sqrt(fan_in)

    return init


class Conv(nn.Module):
    """Convolution without bias.

    `resample` "same" preserves the image's side; "half" has stride 2; "twice" is a transposed convolution of stride 2,
    whose kernel has side 4; "upsample" doubles every pixel before it.
    """

    channels: int  # of the output
    size: int = 3  # side of the kernel
    resample: str = "same"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n H W o"]:
        """Convolves a batch of features."""
        shape = (self.size, self.size, x.shape[-1], self.channels)
        # Torch computes the fan-in of a transposed convolution from its outputs.
        fan_in = self.size**2 * (self.channels if self.resample == "twice" else x.shape[-1])
        kernel = self.param("kernel", _uniform(fan_in), shape, x.dtype)
        return _CONVOLUTIONS[self.resample](x.astype(kernel.dtype), kernel)


class Collapse(nn.Module):
    """Convolution with a kernel as large as the input: a matrix product; no bias."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n k k i"]) -> Float[Array, "n o"]:
        """Returns one vector for each item of the batch."""
        fan_in = math.prod(x.shape[1:])
        kernel = self.param("kernel", _uniform(fan_in), (*x.shape[1:], self.channels), x.dtype)
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
    """Normalises groups of neighbouring channels over the image (Wu and He, ECCV 2018), then scales and shifts them.

    A group's variance is the mean of its channels' variances plus that of the squared distances of their means from the
    group's: all long sums run over pixels only, and no large squares are subtracted from each other. Computed in
    float32 at least; the result has the dtype of `scale`.
    """

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises, scales and shifts a batch of features."""
        n, _, _, channels = x.shape
        scale = self.param("scale", nn.initializers.ones, (channels,), x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), x.dtype)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axis=(1, 2))
        grouped = mean.reshape(n, self.groups, -1)
        center = jnp.mean(grouped, axis=-1, keepdims=True)
        spread = variance.reshape(n, self.groups, -1) + jnp.square(grouped - center)
        inverse = jax.lax.rsqrt(jnp.mean(spread, axis=-1, keepdims=True) + _EPSILON)

        def per_channel(of_group: Float[Array, "n g 1"]) -> Float[Array, "n 1 1 c"]:
            return jnp.repeat(of_group[..., 0], channels // self.groups, axis=-1)[:, None, None]

        return ((x - per_channel(center)) * (per_channel(inverse) * scale) + bias).astype(scale.dtype)
