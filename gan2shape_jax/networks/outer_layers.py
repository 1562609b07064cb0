"""The networks' first and last layers, which have many pixels and few channels, in a form for each platform.

On a TPU their features are kept as blocks of pixels (`blocks`), unless they have channels enough to fill a register.
Weights are a convolution's kernel, or scale and bias of a group normalisation.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from gan2shape_jax.networks import blocks, convolution
from gan2shape_jax.networks.normalization import group_norm
from gan2shape_jax.platforms import by_platform

__all__ = ["first_layers", "last_layers"]

_Norm = tuple[Float[Array, " _"], Float[Array, " _"]]
_FEW = 64  # channels, of a register's 128 lanes


def first_layers(
    x: Float[Array, "n s s c"],
    first: Float[Array, "4 4 c w"],
    norm: _Norm | None,
    second: Float[Array, "4 4 w v"],
    *,
    activation: Callable[[jax.Array], jax.Array],
    groups: int = 0,
) -> Float[Array, "n s//4 s//4 v"]:
    """Halves images twice: convolution, normalisation into `groups` groups if there is one, activation, convolution."""

    def pixels(x: jax.Array, first: jax.Array, norm: _Norm | None, second: jax.Array) -> jax.Array:
        x = _applied(convolution.convolve_half, x, first)
        if norm is not None:
            x = group_norm(x, *norm, groups)
        return _applied(convolution.convolve_half, activation(x), second)

    def in_blocks(x: jax.Array, first: jax.Array, norm: _Norm | None, second: jax.Array) -> jax.Array:
        x = blocks.halve_to_blocks(x, first)
        if norm is not None:
            x = blocks.group_norm(x, *norm, groups)
        return blocks.convolve_half(activation(x), second)

    few = first.shape[-1] <= _FEW
    return by_platform(x, first, norm, second, cpu=pixels, other=pixels, tpu=in_blocks if few else pixels)


def last_layers(
    x: Float[Array, "n h w v"],
    kernels: dict[str, Float[Array, "_ _ _ _"]],
    norms: dict[str, _Norm],
    *,
    groups: int,
) -> Float[Array, "n 4*h 4*w o"]:
    """Doubles features twice, to the output's side, with group normalisation and ReLU between convolutions.

    Args:
      x: features.
      kernels: of the convolutions "up", "refine", "full", "detail" and "output": transposed 4x4 of stride 2, 3x3,
        upsampling 3x3, 5x5 and 5x5.
      norms: scale and bias after all but the last.
      groups: that each normalisation has.
    """

    def pixels(x: jax.Array, kernels: dict[str, jax.Array], norms: dict[str, _Norm]) -> jax.Array:
        def normal(x: jax.Array, name: str) -> jax.Array:
            return nn.relu(group_norm(x, *norms[name], groups))

        x = normal(_applied(convolution.convolve_twice, x, kernels["up"]), "up")
        x = normal(_applied(convolution.convolve, x, kernels["refine"]), "refine")
        x = normal(_applied(convolution.upsample_convolve, x, kernels["full"]), "full")
        x = normal(_applied(convolution.convolve, x, kernels["detail"]), "detail")
        return _applied(convolution.convolve, x, kernels["output"])

    def in_blocks(x: jax.Array, kernels: dict[str, jax.Array], norms: dict[str, _Norm]) -> jax.Array:
        def normal(x: jax.Array, name: str) -> jax.Array:
            return nn.relu(blocks.group_norm(x, *norms[name], groups))

        x = normal(blocks.convolve_twice(x, kernels["up"]), "up")
        x = blocks.to_pixels(normal(blocks.convolve(x, kernels["refine"]), "refine"))
        x = normal(blocks.upsample_convolve(x, kernels["full"]), "full")
        x = normal(blocks.convolve(x, kernels["detail"]), "detail")
        return blocks.to_pixels(blocks.convolve(x, kernels["output"]))

    few = kernels["full"].shape[-1] <= _FEW
    return by_platform(x, kernels, norms, cpu=pixels, other=pixels, tpu=in_blocks if few else pixels)


def _applied(
    convolve: Callable[..., jax.Array], x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "n _ _ o"]:
    """Convolves in the kernel's dtype, whatever the features': see `precision`."""
    return convolve(x.astype(kernel.dtype), kernel)
