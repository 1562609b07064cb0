"""Tables that map tensors of a foreign checkpoint to the package's parameters.

A table is a dictionary from the paths of our parameters, such as ("layers", "0", "weight"), to a `Tensor`, made by a
function that says where each parameter comes from. PyTorch's layouts: convolutions (out, in, kh, kw), linear layers
(out, in), images NCHW.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Params
from gan2shape_jax.stylegan2.weights import check_params

Path = tuple[str, ...]
Shape = tuple[int, ...]
State = Mapping[str, np.ndarray]


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
        raise UserError(
            f"{source}: its pictures are not square (its constant input is {sides[0]} x {sides[1]}, as that of "
            "StyleGAN-Human), and only square ones are supported"
        )


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
