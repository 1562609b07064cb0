"""The encoder that projects an image onto the GAN: image to latent offset (GAN2Shape, appendix)."""

import flax.linen as nn
from jaxtyping import Array, Float

from gan2shape_jax.networks import layers, sizes

__all__ = ["ResidualEncoder"]


class ResidualBlock(nn.Module):
    """Halves the side; the shortcut sees the rectified input, since the original's ReLU works in place.

    Attributes:
        channels: output channels; where they differ from the input's, the shortcut has a 1x1 convolution with a bias.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h//2 w//2 o"]:
        """Returns the features at half the side."""
        x = nn.relu(x)
        main = nn.relu(layers.ConvHalf(self.channels, size=3, name="conv1")(x))
        main = layers.Conv(self.channels, name="conv2")(main)
        n, h, w, channels = x.shape
        shortcut = x.reshape(n, h // 2, 2, w // 2, 2, channels).mean(axis=(2, 4))
        if channels != self.channels:
            shortcut = layers.Pointwise(self.channels, use_bias=True, name="shortcut")(shortcut)
        return shortcut + main


class ResidualEncoder(nn.Module):
    """Halves the image down to 4x4 with residual blocks and returns an unbounded vector.

    Attributes:
        size: side S of the images, a power of two.
        channels_out: length of the vector: the GAN's style width.
        width: channels at S/2, doubling with every block.
    """

    size: int
    channels_out: int
    width: int = 32

    @nn.compact
    def __call__(self, x: Float[Array, "n s s c"]) -> Float[Array, "n o"]:
        """Returns one vector for each image of a batch."""
        count = sizes.levels(self.size, x)
        x = layers.ConvHalf(self.width, name="stem")(x)
        for level in range(1, count):
            x = ResidualBlock(self.width << level, name=f"block_{level}")(x)
        x = nn.relu(layers.Collapse(self.width << count, name="collapse")(nn.relu(x)))
        return layers.Pointwise(self.channels_out, name="output")(x)
