"""The view and light networks: image to a short vector (GAN2Shape, appendix)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.networks import layers, outer_layers, sizes

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """Repeatedly halves the image down to 4x4 and returns a vector in (-1, 1).

    Attributes:
        size: side S of the images, a power of two.
        channels_out: length of the vector: 6 for views, 4 for lights.
        width: channels at S/2, doubling at every level.
    """

    size: int
    channels_out: int
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n o"]:
        """Returns one vector for each image of a batch."""
        count = sizes.levels(self.size, x)
        kernels = [
            layers.Kernel((4, 4, c, self.width << level), fan_in=16 * c, name=f"down_{level}")(x.dtype)
            for level, c in enumerate((x.shape[-1], self.width))
        ]
        x = nn.relu(outer_layers.first_layers(x, kernels[0], None, kernels[1], activation=nn.relu))
        for level in range(2, count):
            x = nn.relu(layers.ConvHalf(self.width << level, name=f"down_{level}")(x))
        x = nn.relu(layers.Collapse(self.width << (count - 1), name="collapse")(x))
        return jnp.tanh(layers.Pointwise(self.channels_out, name="output")(x))
