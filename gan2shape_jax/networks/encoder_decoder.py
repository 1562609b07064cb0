"""The depth and albedo networks: image to image through one vector (GAN2Shape, appendix)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.networks import layers, sizes

__all__ = ["EncoderDecoder"]

_LEAK = 0.2


class EncoderDecoder(nn.Module):
    """Repeatedly halves the image down to 4x4, reduces it to a vector, and builds an image from that vector.

    Attributes:
        size: side S of the images, a power of two.
        channels_out: channels of the output.
        width: channels at S/2, doubling at every level.
        zdim: length of the bottleneck vector.
        group_base: groups of the normalisation at S/2, doubling likewise; None means
            `default_group_base`.
        final: "tanh" for values in (-1, 1), None for no activation.
    """

    size: int
    channels_out: int
    width: int
    zdim: int = 256
    group_base: int | None = None
    final: str | None = "tanh"

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n s s o"]:
        """Returns the output images for a batch of images."""
        groups = self.group_base or sizes.default_group_base(self.size)
        if self.width % groups:
            raise UserError(f"network width {self.width} is not a multiple of its {groups} groups")
        if self.final not in ("tanh", None):
            raise UserError(f"unknown final activation {self.final!r}: give 'tanh' or None")
        deepest = sizes.levels(self.size, x) - 1
        for level in range(deepest):
            x = layers.ConvHalf(self.width << level, name=f"down_{level}")(x)
            x = layers.GroupNorm(groups << level, name=f"down_norm_{level}")(x)
            x = nn.leaky_relu(x, _LEAK)
        x = layers.ConvHalf(self.width << deepest, name=f"down_{deepest}")(x)
        code = nn.relu(layers.Collapse(self.zdim, name="bottleneck")(nn.leaky_relu(x, _LEAK)))
        x = nn.relu(layers.Expand(self.width << deepest, name="expand")(code))
        x = nn.relu(layers.Conv(self.width << deepest, name="widest")(x))
        for level in reversed(range(deepest)):
            channels, count = self.width << level, groups << level
            x = layers.ConvTwice(channels, name=f"up_{level}")(x)
            x = nn.relu(layers.GroupNorm(count, name=f"up_norm_{level}")(x))
            x = layers.Conv(channels, name=f"refine_{level}")(x)
            x = nn.relu(layers.GroupNorm(count, name=f"refine_norm_{level}")(x))
        return self._full_size(x, groups)

    def _full_size(self, x: jax.Array, groups: int) -> jax.Array:
        """Maps features of side S/2 to the output."""
        x = layers.UpsampleConv(self.width, name="full")(x)
        x = nn.relu(layers.GroupNorm(groups, name="full_norm")(x))
        x = layers.Conv(self.width, size=5, name="detail")(x)
        x = nn.relu(layers.GroupNorm(groups, name="detail_norm")(x))
        x = layers.Conv(self.channels_out, size=5, name="output")(x)
        return jnp.tanh(x) if self.final == "tanh" else x
