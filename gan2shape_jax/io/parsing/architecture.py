"""The shapes of the scene parsers, their weight files, and how the original's tensors become ours.

Both parsers consist of convolutions, most of them followed by batch normalisation. In evaluation mode
that is an affine map of each channel, so it is folded into the convolution: a parser's parameters are
`NAME/kernel` (rows, columns, in, out) and, if there is one, `NAME/bias` (out,), float32. In the original, kernels are
(out, in, rows, columns); a convolution `a` followed by batch normalisation `b` is `a.weight`, `b.weight`, `b.bias`,
`b.running_mean`, `b.running_var`.

A weight file is safetensors; its header holds the architecture as JSON, the licence note of the source and its SHA-256.

BiSeNet: Yu et al., ECCV 2018, with ResNet-18 and with the features of side 1/8 in place of the spatial
path. PSPNet: Zhao et al., CVPR 2017, with a dilated ResNet-50 that starts with three 3x3
convolutions.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.messages import Refused, listed, printable, short
from gan2shape_jax.io.weights.safetensors_file import Unread, open_safetensors

__all__ = [
    "BINS",
    "FORMAT",
    "Architecture",
    "Convolution",
    "convolutions",
    "header_of",
    "ignored_names",
    "infer_architecture",
    "load_parser",
    "parameter_shapes",
    "params_from_torch",
    "torch_shapes",
]

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


State = Mapping[str, np.ndarray]
# What batch normalisation adds to a variance before taking its square root (torch's default).
_EPSILON = 1e-5
_NORM = ("weight", "bias", "running_mean", "running_var")
# Tensors that the labels do not depend on: counters, and heads used only in training.
_IGNORED = re.compile(r"\.num_batches_tracked$|^aux\.|^conv_out(16|32)\.|^criterion\.")


def ignored_names(names: Iterable[str]) -> list[str]:
    """Returns the names of tensors that the labels do not depend on, sorted."""
    return sorted(name for name in names if _IGNORED.search(name))


def infer_architecture(state: State) -> Architecture | None:
    """Returns the parser that these tensors look like, by their names and a few shapes; None for others."""
    for family, stem, output, layer in (
        ("bisenet", "cp.resnet.conv1.weight", "conv_out.conv_out.weight", "cp.resnet.layer"),
        ("pspnet", "layer0.0.weight", "cls.4.weight", "layer"),
    ):
        if stem in state and output in state:
            blocks = tuple(_count(state, f"{layer}{stage}.") for stage in range(1, 5))
            try:
                return Architecture(
                    family=family,  # type: ignore[arg-type]
                    classes=state[output].shape[0],
                    width=state[stem].shape[0],
                    blocks=blocks,
                )
            except (IndexError, ValueError):
                return None
    return None


def torch_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the tensors that `params_from_torch` takes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in convolutions(arch):
        shapes[f"{conv.torch}.weight"] = (conv.outputs, conv.inputs, conv.size, conv.size)
        if conv.bias:
            shapes[f"{conv.torch}.bias"] = (conv.outputs,)
        if conv.norm:
            shapes |= {f"{conv.norm}.{part}": (conv.outputs,) for part in _NORM}
    return shapes


def params_from_torch(arch: Architecture, state: State) -> dict[str, np.ndarray]:
    """Returns the parameters of a parser from the original's tensors.

    Args:
        arch: the parser.
        state: NumPy arrays by the original's names; those of `ignored_names` may be present.

    Raises:
        UserError: any tensor is missing, unknown, misshapen or not finite; the message lists all.
    """
    state = {name: value for name, value in state.items() if not _IGNORED.search(name)}
    _check_state(arch, state)
    params: dict[str, np.ndarray] = {}
    for conv in convolutions(arch):
        kernel, bias = _folded(conv, state)
        params[f"{conv.name}/kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0), np.float32)
        if conv.norm or conv.bias:
            params[f"{conv.name}/bias"] = np.asarray(bias, np.float32)
    return params


def _folded(conv: Convolution, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel and bias of a convolution with its normalisation folded in, in float64."""
    kernel = np.asarray(state[f"{conv.torch}.weight"], np.float64)
    bias = np.zeros(conv.outputs)
    if conv.bias:
        bias = np.asarray(state[f"{conv.torch}.bias"], np.float64)
    if conv.norm:
        weight, shift, mean, variance = (np.asarray(state[f"{conv.norm}.{part}"], np.float64) for part in _NORM)
        factor = weight / np.sqrt(variance + _EPSILON)
        kernel = kernel * factor[:, None, None, None]
        bias = (bias - mean) * factor + shift
    return kernel, bias


def _count(state: State, prefix: str) -> int:
    """Returns one more than the largest number that follows `prefix`."""
    matches = (re.match(re.escape(prefix) + r"(\d{1,9})\.", name) for name in state)
    return max((int(match.group(1)) + 1 for match in matches if match), default=0)


def _check_state(arch: Architecture, state: State) -> None:
    shapes = torch_shapes(arch)
    both = [name for name in shapes if name in state]
    fitting = [name for name in both if tuple(state[name].shape) == shapes[name]]
    wrong = {
        "missing": [name for name in shapes if name not in state],
        "unknown": [name for name in state if name not in shapes],
        "misshapen": [
            f"{name} is {tuple(state[name].shape)} instead of {shapes[name]}"
            for name in both
            if tuple(state[name].shape) != shapes[name]
        ],
        "with NaN or infinity": [name for name in fitting if not np.isfinite(state[name]).all()],
        "with a negative variance": [
            name for name in fitting if name.endswith("running_var") and (state[name] < 0).any()
        ],
    }
    if any(wrong.values()):
        told = "; ".join(f"{what}: {listed(names)}" for what, names in wrong.items() if names)
        raise UserError(f"the tensors do not make a {arch.family} of {arch.classes} classes: {told}")


FORMAT = "gan2shape-jax/parser/1"
_ADVICE = "convert the published weights with `gan2shape-jax convert networks` (docs/how-to/converting-weights.md)"


def header_of(arch: Architecture) -> dict[str, str]:
    """Returns the header of a weight file."""
    return {"format": FORMAT, "architecture": json.dumps(arch.to_dict())}


def load_parser(path: str | os.PathLike) -> tuple[Architecture, dict[str, jax.Array]]:
    """Reads a converted parser: its architecture and its parameters.

    Raises:
        UserError: the file is missing, damaged, not a parser, or its tensors do not match its header.
    """
    try:
        with open_safetensors(path) as file:
            arch = _described(path, file.metadata)
            tensors = file.read_wanted(parameter_shapes(arch))
    except FileNotFoundError as error:
        raise UserError(f"parser weights {path} do not exist (config.parsing.weights); {_ADVICE}") from error
    except (OSError, Refused) as error:
        raise UserError(f"parser weights {path} cannot be read ({error}); {_ADVICE}") from error
    _check_tensors(tensors, parameter_shapes(arch), path)
    return arch, {name: jnp.asarray(value, jnp.float32) for name, value in tensors.items()}


def _described(path: str | os.PathLike, header: Mapping[str, str]) -> Architecture:
    if header.get("format") != FORMAT:
        raise UserError(
            f"{path} holds no parser (its format is {short(header.get('format', 'not stated'))}); {_ADVICE}"
        )
    try:
        return Architecture.from_dict(json.loads(header["architecture"]))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {printable(str(error), 300)}"
        raise UserError(f"{path}: its header describes no parser ({told}); {_ADVICE}") from error


def _check_tensors(
    tensors: Mapping[str, np.ndarray | Unread], shapes: Mapping[str, tuple[int, ...]], path: str | os.PathLike
) -> None:
    both = shapes.keys() & tensors.keys()
    fitting = {k for k in both if tensors[k].shape == shapes[k]}
    wrong = {
        "missing": sorted(shapes.keys() - tensors.keys()),
        "unknown": sorted(tensors.keys() - shapes.keys()),
        "misshapen": sorted(f"{k} is {tensors[k].shape} instead of {shapes[k]}" for k in both - fitting),
        "with NaN or infinity": sorted(k for k in fitting if not np.isfinite(tensors[k]).all()),
    }
    if any(wrong.values()):
        told = "; ".join(f"{what}: {listed(names, 8)}" for what, names in wrong.items() if names)
        raise UserError(f"parser weights {path} are not what their header says: {told}; {_ADVICE}")
