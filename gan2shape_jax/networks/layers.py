"""What a network's layers are, as plain data: its Flax module, its ONNX graph, `.pth` files and initial weights follow.

A network is a tuple of layers, in order (`modules`), each with the number of channels that it returns; how many it
takes follows from the layer before it. The published implementation's sequences are the same layers, counted alike, but
that doubling an image before a convolution counts there as a layer of its own.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

LEAK = 0.2  # slope of `leaky_relu` below 0
EPSILON = 1e-5  # added to the variance of a normalisation
Kind = Literal[
    "same",  # convolution that preserves the image's side
    "half",  # ... of stride 2
    "twice",  # transposed convolution of stride 2
    "upsample",  # convolution after every pixel is doubled
    "collapse",  # convolution with a kernel as large as the image: a matrix product, to a vector
    "expand",  # transposed convolution of a single pixel: a matrix product, from a vector
    "pointwise",  # 1x1 convolution, of an image or of a vector
    "norm",  # group normalisation
    "residual",  # block that halves the side; its parts are two convolutions and the shortcut
    "relu",
    "leaky_relu",
    "tanh",
    "keep",  # the features stay as they are, and wait for a `join`
    "join",  # the features, then those kept last, as channels
]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a network."""

    kind: Kind
    name: str = ""  # of its parameters; '' where it has none
    channels: int = 0  # that it returns; 0: as many as it takes
    side: int = 1  # of its kernel
    groups: int = 0  # of its normalisation
    bias: bool = False
    parts: tuple["Layer", ...] = ()

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of its own parameters, not those of its parts, if it takes so many channels."""
        if not self.name or self.parts:
            return {}
        if self.kind == "norm":
            return {"scale": (inputs,), "bias": (inputs,)}
        if self.kind == "expand":  # so that the product does not need to copy it
            kernel: tuple[int, ...] = inputs, self.side, self.side, self.channels
        elif self.kind == "pointwise":
            kernel = inputs, self.channels
        else:
            kernel = self.side, self.side, inputs, self.channels
        return {"kernel": kernel, "bias": (self.channels,)} if self.bias else {"kernel": kernel}

    def fan_in(self, inputs: int) -> int:
        """Returns torch's fan-in: of a transposed convolution, it counts the outputs."""
        return self.side**2 * (self.channels if self.kind in ("twice", "expand") else inputs)


class Placed(NamedTuple):
    """A layer with parameters, where it stands in its network."""

    path: tuple[str, ...]  # names of the block, if there is one, and of the layer
    layer: Layer
    inputs: int  # channels that it takes


def placed(layers: Sequence[Layer], inputs: int, path: tuple[str, ...] = ()) -> Iterator[Placed]:
    """Yields the layers that have parameters, in order, of a network that takes so many channels."""
    kept = list[int]()
    for layer in layers:
        if layer.kind == "keep":
            kept.append(inputs)
        elif layer.kind == "join":
            inputs += kept.pop()
        elif layer.kind == "residual":
            *main, shortcut = layer.parts
            for branch in (main, [shortcut]):
                yield from placed(branch, inputs, (*path, layer.name))
        elif layer.name:
            yield Placed((*path, layer.name), layer, inputs)
        inputs = layer.channels or inputs


def norm(name: str, groups: int) -> Layer:
    """Returns a group normalisation."""
    return Layer("norm", name, groups=groups)


def residual(name: str, channels: int) -> Layer:
    """Returns a residual block that halves the side."""
    parts = Layer("half", "conv1", channels, 3), Layer("same", "conv2", channels, 3)
    return Layer("residual", name, channels, parts=(*parts, Layer("pointwise", "shortcut", channels, bias=True)))
