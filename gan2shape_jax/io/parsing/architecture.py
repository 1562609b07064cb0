"""The shapes of the scene parsers, and which of the original's convolutions each of ours corresponds to.

Both parsers consist of convolutions, most of them followed by batch normalisation. In evaluation mode
that is an affine map of each channel, so it is folded into the convolution: a parser's parameters are
`NAME/kernel` (rows, columns, in, out) and, if there is one, `NAME/bias` (out,), float32.

BiSeNet: Yu et al., ECCV 2018, with ResNet-18 and with the features of side 1/8 in place of the spatial
path. PSPNet: Zhao et al., CVPR 2017, with a dilated ResNet-50 that starts with three 3x3
convolutions.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from gan2shape_jax.io.weights.messages import listed, short

__all__ = ["BINS", "Architecture", "Convolution", "convolutions", "parameter_shapes"]

# Sides of the grids over which PSPNet averages its features.
BINS = (1, 2, 3, 6)
_STAGES = 4
# More than any parser has; these determine the size of the shape tables, before any tensor is checked.
_MOST = 2**12
_MOST_CLASSES = 256  # labels are bytes
_MOST_BLOCKS = 40


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What kind of parser a weight file holds.

    Attributes:
        family: "bisenet" or "pspnet".
        classes: number of labels, including the background.
        width: channels of the first convolution, 64 in all published weights; the others follow.
        blocks: residual blocks in each of the four stages.
    """

    family: Literal["bisenet", "pspnet"]
    classes: int
    width: int = 64
    blocks: tuple[int, ...] = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        if self.family not in ("bisenet", "pspnet"):
            raise ValueError(f"unknown family {short(self.family)}")
        sizes = (self.classes, self.width, *self.blocks)
        if not all(type(n) is int and 1 <= n <= _MOST for n in sizes) or not 2 <= self.classes <= _MOST_CLASSES:
            raise ValueError(f"classes, width and blocks of {listed(map(short, sizes))}")
        if len(self.blocks) != _STAGES or max(self.blocks) > _MOST_BLOCKS:
            raise ValueError(f"blocks {listed(map(short, self.blocks))}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Architecture":
        """Inverts `to_dict`, also after JSON; raises KeyError, TypeError or ValueError."""
        return cls(**{**fields, "blocks": tuple(fields["blocks"])})


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution: our name, the original's name, its normalisation there, and its shape.

    Attributes:
        name: our name.
        torch: the original's name of the convolution.
        norm: the original's name of the batch normalisation after it, or "".
        inputs, outputs: channels.
        size: rows and columns of the kernel.
        bias: True if the convolution itself has a bias.
    """

    name: str
    torch: str
    norm: str
    inputs: int
    outputs: int
    size: int
    bias: bool = False


def convolutions(arch: Architecture) -> tuple[Convolution, ...]:
    """Returns all convolutions that the labels depend on."""
    return tuple(_bisenet(arch) if arch.family == "bisenet" else _pspnet(arch))


def parameter_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of all parameters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in convolutions(arch):
        shapes[f"{conv.name}/kernel"] = (conv.size, conv.size, conv.inputs, conv.outputs)
        if conv.norm or conv.bias:
            shapes[f"{conv.name}/bias"] = (conv.outputs,)
    return shapes


def _bisenet(arch: Architecture) -> Iterator[Convolution]:
    w = arch.width
    yield Convolution("stem", "cp.resnet.conv1", "cp.resnet.bn1", 3, w, 7)
    before = w
    for stage, count in enumerate(arch.blocks, 1):
        width = w << (stage - 1)
        for block in range(count):
            there, ours = f"cp.resnet.layer{stage}.{block}", f"stage{stage}_{block}"
            yield Convolution(f"{ours}/conv1", f"{there}.conv1", f"{there}.bn1", before, width, 3)
            yield Convolution(f"{ours}/conv2", f"{there}.conv2", f"{there}.bn2", width, width, 3)
            if block == 0 and stage > 1:
                yield Convolution(
                    f"{ours}/shortcut", f"{there}.downsample.0", f"{there}.downsample.1", before, width, 1
                )
            before = width
    for level, width in ((16, 4 * w), (32, 8 * w)):
        arm = f"cp.arm{level}"
        yield Convolution(f"refine{level}", f"{arm}.conv.conv", f"{arm}.conv.bn", width, 2 * w, 3)
        yield Convolution(f"attention{level}", f"{arm}.conv_atten", f"{arm}.bn_atten", 2 * w, 2 * w, 1)
        head = f"cp.conv_head{level}"
        yield Convolution(f"head{level}", f"{head}.conv", f"{head}.bn", 2 * w, 2 * w, 3)
    yield Convolution("mean", "cp.conv_avg.conv", "cp.conv_avg.bn", 8 * w, 2 * w, 1)
    yield Convolution("fusion", "ffm.convblk.conv", "ffm.convblk.bn", 4 * w, 4 * w, 1)
    yield Convolution("fusion_squeeze", "ffm.conv1", "", 4 * w, w, 1)
    yield Convolution("fusion_excite", "ffm.conv2", "", w, 4 * w, 1)
    yield Convolution("classify", "conv_out.conv.conv", "conv_out.conv.bn", 4 * w, 4 * w, 3)
    yield Convolution("output", "conv_out.conv_out", "", 4 * w, arch.classes, 1)


def _pspnet(arch: Architecture) -> Iterator[Convolution]:
    w = arch.width
    for i, (inputs, outputs) in enumerate(((3, w), (w, w), (w, 2 * w))):
        yield Convolution(f"stem{i}", f"layer0.{3 * i}", f"layer0.{3 * i + 1}", inputs, outputs, 3)
    before = 2 * w
    for stage, count in enumerate(arch.blocks, 1):
        width = w << (stage - 1)
        for block in range(count):
            there, ours = f"layer{stage}.{block}", f"stage{stage}_{block}"
            yield Convolution(f"{ours}/conv1", f"{there}.conv1", f"{there}.bn1", before, width, 1)
            yield Convolution(f"{ours}/conv2", f"{there}.conv2", f"{there}.bn2", width, width, 3)
            yield Convolution(f"{ours}/conv3", f"{there}.conv3", f"{there}.bn3", width, 4 * width, 1)
            if block == 0:
                yield Convolution(
                    f"{ours}/shortcut", f"{there}.downsample.0", f"{there}.downsample.1", before, 4 * width, 1
                )
            before = 4 * width
    for i, side in enumerate(BINS):
        there = f"ppm.features.{i}"
        yield Convolution(f"pool{side}", f"{there}.1", f"{there}.2", before, before // len(BINS), 1)
    yield Convolution("classify", "cls.0", "cls.1", 2 * before, 8 * w, 3)
    yield Convolution("output", "cls.4", "", 8 * w, arch.classes, 1, bias=True)
