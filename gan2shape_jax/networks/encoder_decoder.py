"""The depth and albedo networks: image to image through one vector (GAN2Shape, appendix)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.networks import layers, outer_layers, sizes

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
        x = self._enter(x, groups)
        for level in range(1, deepest):
            x = nn.leaky_relu(layers.GroupNorm(groups << level, name=f"down_norm_{level}")(x), _LEAK)
            x = layers.ConvHalf(self.width << (level + 1), name=f"down_{level + 1}")(x)
        code = nn.relu(layers.Collapse(self.zdim, name="bottleneck")(nn.leaky_relu(x, _LEAK)))
        x = nn.relu(layers.Expand(self.width << deepest, name="expand")(code))
        x = nn.relu(layers.Conv(self.width << deepest, name="widest")(x))
        for level in reversed(range(1, deepest)):
            channels, count = self.width << level, groups << level
            x = layers.ConvTwice(channels, name=f"up_{level}")(x)
            x = nn.relu(layers.GroupNorm(count, name=f"up_norm_{level}")(x))
            x = layers.Conv(channels, name=f"refine_{level}")(x)
            x = nn.relu(layers.GroupNorm(count, name=f"refine_norm_{level}")(x))
        x = self._leave(x, groups)
        return jnp.tanh(x) if self.final == "tanh" else x

    def _enter(self, x: Float[Array, "n s s c"], groups: int) -> Float[Array, "n _ _ _"]:
        """Maps images to features of side S/4, not normalised yet."""
        width, dtype = self.width, x.dtype
        return outer_layers.first_layers(
            x,
            layers.Kernel((4, 4, x.shape[-1], width), fan_in=16 * x.shape[-1], name="down_0")(dtype),
            layers.ScaleAndBias(width, name="down_norm_0")(dtype),
            layers.Kernel((4, 4, width, 2 * width), fan_in=16 * width, name="down_1")(dtype),
            activation=lambda x: nn.leaky_relu(x, _LEAK),
            groups=groups,
        )

    def _leave(self, x: Float[Array, "n _ _ _"], groups: int) -> Float[Array, "n _ _ _"]:
        """Maps features of side S/4 to the output before its activation."""
        width, dtype = self.width, x.dtype
        kernels = {
            "up": ((4, 4, 2 * width, width), 16 * width),  # torch's fan-in of a transposed convolution is its outputs'
            "refine": ((3, 3, width, width), 9 * width),
            "full": ((3, 3, width, width), 9 * width),
            "detail": ((5, 5, width, width), 25 * width),
            "output": ((5, 5, width, self.channels_out), 25 * width),
        }
        names = {"up": "up_0", "refine": "refine_0"}
        norms = {"up": "up_norm_0", "refine": "refine_norm_0", "full": "full_norm", "detail": "detail_norm"}
        return outer_layers.last_layers(
            x,
            {
                key: layers.Kernel(shape, fan_in=fan_in, name=names.get(key, key))(dtype)
                for key, (shape, fan_in) in kernels.items()
            },
            {key: layers.ScaleAndBias(width, name=name)(dtype) for key, name in norms.items()},
            groups=groups,
        )
