"""The five networks of the method (GAN2Shape, section 3 and appendix).

Depth and albedo are `EncoderDecoder`s, view and light `Encoder`s, the latent's network a `ResidualEncoder`. Images are
`(N, S, S, C)` in [-1, 1], S a power of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from gan2shape_jax.errors import UserError
from gan2shape_jax.networks.layers import Collapse, Conv, Expand, GroupNorm, Pointwise, drawing_from

__all__ = [
    "Encoder",
    "EncoderDecoder",
    "Network",
    "ResidualEncoder",
    "default_group_base",
    "default_width",
    "initial_params",
    "param_shapes",
]

_SMALLEST = 16
_LEAK = 0.2


def default_width(size: int) -> int:
    """Returns the number of channels at half the image side: the original's choice for side `size`."""
    return max(4096 // size, 16)


def default_group_base(size: int) -> int:
    """Returns the number of normalisation groups at half the image side: the original's choice for side `size`."""
    return 8 if size >= 128 else 16


def _levels(size: int, images: Float[Array, "n h w c"]) -> int:
    """Returns how many times images of side `size` are halved until they are 4 pixels wide, or raises a `UserError`."""
    if size < _SMALLEST or size & (size - 1):
        raise UserError(f"image side {size}: the networks take powers of two from {_SMALLEST} on")
    if images.shape[-3:-1] != (size, size):
        raise UserError(f"images of {images.shape[-3:-1]} pixels for networks of side {size}")
    return size.bit_length() - 3


class EncoderDecoder(nn.Module):
    """Repeatedly halves the image down to 4x4, reduces it to a vector, and builds an image from that vector."""

    size: int  # side S of the images, a power of two
    channels_out: int
    width: int  # channels at S/2, doubling at every level
    zdim: int = 256  # length of the bottleneck vector
    group_base: int | None = None  # groups of the normalisation at S/2, doubling likewise; None: `default_group_base`
    final: str | None = "tanh"  # for values in (-1, 1), None for no activation

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n s s o"]:
        """Returns the output images for a batch of images."""
        width, groups = self.width, self.group_base or default_group_base(self.size)
        if width % groups:
            raise UserError(f"network width {width} is not a multiple of its {groups} groups")
        if self.final not in ("tanh", None):
            raise UserError(f"unknown final activation {self.final!r}: give 'tanh' or None")
        deepest = _levels(self.size, x) - 1
        for level in range(deepest):
            x = Conv(width << level, 4, "half", name=f"down_{level}")(x)
            x = nn.leaky_relu(GroupNorm(groups << level, name=f"down_norm_{level}")(x), _LEAK)
        x = nn.leaky_relu(Conv(width << deepest, 4, "half", name=f"down_{deepest}")(x), _LEAK)
        x = nn.relu(Collapse(self.zdim, name="bottleneck")(x))
        x = nn.relu(Expand(width << deepest, name="expand")(x))
        x = nn.relu(Conv(width << deepest, name="widest")(x))
        for level in reversed(range(deepest)):
            x = Conv(width << level, 4, "twice", name=f"up_{level}")(x)
            x = nn.relu(GroupNorm(groups << level, name=f"up_norm_{level}")(x))
            x = Conv(width << level, name=f"refine_{level}")(x)
            x = nn.relu(GroupNorm(groups << level, name=f"refine_norm_{level}")(x))
        x = Conv(width, 3, "upsample", name="full")(x)
        x = nn.relu(GroupNorm(groups, name="full_norm")(x))
        x = Conv(width, 5, name="detail")(x)
        x = nn.relu(GroupNorm(groups, name="detail_norm")(x))
        x = Conv(self.channels_out, 5, name="output")(x)
        return jnp.tanh(x) if self.final == "tanh" else x


class Encoder(nn.Module):
    """Repeatedly halves the image down to 4x4 and returns a vector in (-1, 1)."""

    size: int  # side S of the images, a power of two
    channels_out: int  # length of the vector: 6 for views, 4 for lights
    width: int  # channels at S/2, doubling at every level

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n o"]:
        """Returns one vector for each image of a batch."""
        count = _levels(self.size, x)
        for level in range(count):
            x = nn.relu(Conv(self.width << level, 4, "half", name=f"down_{level}")(x))
        x = nn.relu(Collapse(self.width << (count - 1), name="collapse")(x))
        return jnp.tanh(Pointwise(self.channels_out, name="output")(x))


class ResidualBlock(nn.Module):
    """Halves the side; the shortcut sees the rectified input, since the original's ReLU works in place.

    Where the output's channels differ from the input's, the shortcut has a 1x1 convolution with a bias.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h//2 w//2 o"]:
        """Returns the features at half the side."""
        x = nn.relu(x)
        main = nn.relu(Conv(self.channels, 3, "half", name="conv1")(x))
        main = Conv(self.channels, name="conv2")(main)
        n, h, w, channels = x.shape
        shortcut = x.reshape(n, h // 2, 2, w // 2, 2, channels).mean(axis=(2, 4))
        if channels != self.channels:
            shortcut = Pointwise(self.channels, use_bias=True, name="shortcut")(shortcut)
        return shortcut + main


class ResidualEncoder(nn.Module):
    """Halves the image down to 4x4 with residual blocks and returns an unbounded vector."""

    size: int  # side S of the images, a power of two
    channels_out: int  # length of the vector: the GAN's style width
    width: int = 32  # channels at S/2, doubling with every block

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n o"]:
        """Returns one vector for each image of a batch."""
        count = _levels(self.size, x)
        x = Conv(self.width, 4, "half", name="stem")(x)
        for level in range(1, count):
            x = ResidualBlock(self.width << level, name=f"block_{level}")(x)
        x = nn.relu(Collapse(self.width << count, name="collapse")(nn.relu(x)))
        return Pointwise(self.channels_out, name="output")(x)


Network = EncoderDecoder | Encoder | ResidualEncoder


def initial_params(
    key: PRNGKeyArray, modules: Mapping[str, Network], *, dtype: DTypeLike = jnp.float32
) -> dict[str, Any]:
    """Returns initial parameters of networks by name, determined by the key and the modules' names and sizes."""
    shapes = {name: param_shapes(module, dtype) for name, module in sorted(modules.items())}
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    with drawing_from(jax.random.uniform(key, (count,), dtype, -1, 1)):
        return {name: modules[name].init(key, _blank(modules[name], dtype))["params"] for name in shapes}


def param_shapes(module: Network, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
    """Returns the shape and dtype of every parameter of a network, without computing any."""
    shapes: dict[str, Any] = jax.eval_shape(module.init, jax.random.key(0), _blank(module, dtype))["params"]
    return shapes


def _blank(module: Network, dtype: DTypeLike) -> jax.Array:
    return jnp.zeros((1, module.size, module.size, 3), dtype)
