"""A depth network."""

from flax import linen as nn

from gan2shape_jax.method.settings import NetworkSizes
from gan2shape_jax.networks.layers import Layer
from gan2shape_jax.networks.modules import Network


class Local(Network):
    """Three convolutions at the full side: every depth sees 13 pixels across, and nothing else of the image."""

    width: int  # channels between them

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        """See `Network`."""
        first, second = (Layer("same", name, self.width, 5) for name in ("first", "second"))
        return first, Layer("relu"), second, Layer("relu"), Layer("same", "output", 1, 5)


def local(size: int, sizes: NetworkSizes) -> Network:
    """Returns the network for images of a side, in pixels, with the configuration's widths."""
    return Local(size=size, width=sizes.width)
