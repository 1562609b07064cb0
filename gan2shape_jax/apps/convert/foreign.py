"""What the converters share: a checkpoint of another program as it was read, and tables that map its tensors to ours.

A table is a dictionary from the paths of our parameters, such as ("layers", "0", "weight"), to a `Tensor`, made by a
function that says where each parameter comes from. PyTorch's layouts: convolutions (out, in, kh, kw), linear layers
(out, in), images NCHW.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.files import atomic_bytes, atomic_file, sha256
from gan2shape_jax.io.weights import Family, explain, listed, recognise, safetensors_bytes, short, tensor_names
from gan2shape_jax.stylegan2 import Params
from gan2shape_jax.stylegan2.weights import check_params

Path = tuple[str, ...]
Shape = tuple[int, ...]
State = Mapping[str, np.ndarray]
_WRAPPER = "module."  # the prefix that data-parallel training puts before every name
_KNOWN = (
    "StyleGAN2s (a training checkpoint of rosinality/stylegan2-pytorch, or a network pickle of NVIDIA's), networks of "
    "GAN2Shape or Unsup3d (netD, netA, ...), view or light statistics (mean, cov), LPIPS (torchvision's VGG16 and "
    "LPIPS' own vgg.pth), BiSeNet and PSPNet"
)


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint that was read: its file, what it holds, with NumPy arrays for tensors, its family and its hash."""

    path: pathlib.Path
    content: Any
    family: Family
    sha256: str


def read_source(path: str | os.PathLike, tool: str | None = None) -> Source:
    """Reads a checkpoint of a family that something is made of, `tool` if it is given, without running code in it.

    Raises `UserError`: it is missing, damaged, unknown, or of another family; the message says what to do with it.
    """
    path = pathlib.Path(path)
    content = read_checkpoint(path)
    family = recognise(tensor_names(content))
    if family is None:
        held = listed(map(str, content), 8) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f"{path}: not a known kind of checkpoint (it holds {held or 'nothing'}); known are {_KNOWN}")
    if family.tool is None or tool not in (None, family.tool):
        raise UserError(explain(family, path))
    return Source(path, content, family, sha256(path))


def tensors_of(content: Any, path: str | os.PathLike) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the tensors of one network, and the names of what is stored beside them.

    The network is the dictionary itself or its entry `state_dict`; a prefix `module.` is removed. Raises `UserError` if
    it is no dictionary, or one of its entries is not a tensor.
    """
    state, beside = content if isinstance(content, Mapping) else {"": content}, list[str]()
    if isinstance(state.get("state_dict"), Mapping):
        beside = [str(name) for name in state if name != "state_dict"]
        state = state["state_dict"]
    strange = [
        short(name)
        for name, value in state.items()
        if not (isinstance(name, str) and isinstance(value, np.ndarray) and value.dtype.kind in "fiub")
    ]
    if strange:
        raise UserError(f"{path}: it holds values that are not tensors: {listed(strange, 8)}")
    wrapped = all(name.startswith(_WRAPPER) for name in state)
    return {name.removeprefix(_WRAPPER) if wrapped else name: value for name, value in state.items()}, beside


@dataclasses.dataclass(frozen=True, kw_only=True)
class Converted:
    """What was converted.

    Attributes:
        summary: what it is; a line, and perhaps further ones.
        tensors: by their names in the file to be written.
        header: the content of its header, including the weights' licence and the hash of the source.
        suffix: extension of the file to be written.
        ignored: names in the source that nothing here needs.
        notes: what the user has to know, where OUT stands for the file.
        draw: draws what a parser sees in a square picture, or samples of a GAN; None for other networks.
    """

    summary: str
    tensors: dict[str, np.ndarray]
    header: dict[str, str]
    draw: Callable[[Image.Image], Image.Image] | None = None
    suffix: str = ".safetensors"
    ignored: tuple[str, ...] = ()
    notes: str = ""

    @property
    def license_note(self) -> str:
        """What is known about the weights' licence."""
        return self.header["license"]

    def told(self, target: pathlib.Path) -> str:
        """Returns what was converted, and what to do with the file that it was written to."""
        groups = collections.Counter[str]()  # the ignored names, by the module that they belong to
        for name in self.ignored:
            counter = name.endswith(".num_batches_tracked")
            groups["*.num_batches_tracked" if counter else name.split(".")[0] + (".*" if "." in name else "")] += 1
        ignored = listed(f"{name} ({count})" if count > 1 else name for name, count in groups.items())
        numbers = sum(value.size for value in self.tensors.values())
        lines = [self.summary, f"{len(self.tensors)} tensors, {numbers:,} numbers"]
        lines += [f"ignored: {ignored}"] if ignored else []
        return "\n".join([*lines, *filter(None, [self.notes.replace("OUT", str(target))])])

    def write(self, target: pathlib.Path, licence: str | None) -> None:
        """Writes the file; `licence` is what its header says of the licence, None what is known."""
        known = f"of the published weights: {self.license_note}"
        header = self.header | {"license": known if licence is None else licence}
        if self.suffix == ".npz":
            arrays = {**self.tensors, **{name: np.asarray(text) for name, text in header.items()}}
            atomic_file(target, lambda part: np.savez(part, **arrays))  # type: ignore[arg-type]
        else:
            atomic_bytes(target, safetensors_bytes(self.tensors, header))


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of the source: its name and shape there, and how it becomes ours."""

    name: str
    shape: Shape
    convert: Callable[[np.ndarray], np.ndarray]


Table = dict[Path, Tensor]


def table(shapes: Params, tensor: Callable[[Path, Shape], Tensor]) -> Table:
    """Returns the table of parameters with these shapes, each of them from what `tensor` returns for its path."""
    return {path: tensor(path, shape) for path, shape in flatten_dict(shapes).items()}


def plain(name: str, shape: Shape, ours: Shape) -> Tensor:
    """Returns a tensor with the same numbers in the same order."""
    return Tensor(name, shape, lambda value: value.reshape(ours))


def same(name: str, ours: Shape) -> Tensor:
    """Returns a tensor that is ours as it is."""
    return plain(name, ours, ours)


def weight(name: str, ours: Shape) -> Tensor:
    """Returns what PyTorch stores of a convolution or linear layer: its weight, transposed, or its bias."""
    if len(ours) == 4:
        return kernel(name, ours)
    return Tensor(name, ours[::-1], lambda value: value.T)


def kernel(name: str, ours: Shape, lead: Shape = (), gain: float = 1.0) -> Tensor:
    """Returns a convolution's weight, with `lead` axes of length 1 in front, times `gain`."""
    height, width, inputs, outputs = ours
    shape = (outputs, inputs, height, width)
    return Tensor(name, lead + shape, lambda value: (gain * value).reshape(shape).transpose(2, 3, 1, 0))


def constant(name: str, ours: Shape, lead: Shape = ()) -> Tensor:
    """Returns the generator's constant input."""
    height, width, channels = ours
    shape = (channels, height, width)
    return Tensor(name, lead + shape, lambda value: value.reshape(shape).transpose(1, 2, 0))


def flattened(name: str, ours: Shape) -> Tensor:
    """Returns a linear layer's weight over flattened 4x4 features: PyTorch flattens (c, h, w), we (h, w, c)."""
    outputs, channels = ours[1], ours[0] // 16
    return Tensor(
        name, ours[::-1], lambda value: value.reshape(outputs, channels, 4, 4).transpose(2, 3, 1, 0).reshape(ours)
    )


def require_square(sides: Shape, source: str | os.PathLike) -> None:
    """Raises `UserError` if the generator's constant input has these two sides, and they differ."""
    if len(set(sides)) > 1:
        sizes = f"its constant input is {sides[0]} x {sides[1]}, as that of StyleGAN-Human"
        raise UserError(f"{source}: its pictures are not square ({sizes}), and only square ones are supported")


def params_of(networks: Mapping[str, tuple[str, Table, State]], source: str | os.PathLike) -> Params:
    """Returns the parameters, float32, by our name of each network.

    Each is what its tensors' names begin with in messages, its table, and its tensors. Raises a `UserError` that names
    the source and lists all tensors that are missing, unknown, misshapen or not finite.
    """
    tensors: dict[str, np.ndarray] = {}
    shapes: dict[str, Shape] = {}
    for prefix, entries, state in networks.values():
        tensors |= {f"{prefix}{name}": value for name, value in state.items()}
        shapes |= {f"{prefix}{tensor.name}": tensor.shape for tensor in entries.values()}
    check_params(tensors, shapes, source=source)

    def ours(tensor: Tensor, state: State) -> np.ndarray:
        return np.array(tensor.convert(np.asarray(state[tensor.name], np.float32)), np.float32, order="C")

    return {
        what: unflatten_dict({path: ours(tensor, state) for path, tensor in entries.items()})
        for what, (_, entries, state) in networks.items()
    }
