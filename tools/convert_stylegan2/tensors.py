"""Tables that map tensors of a PyTorch checkpoint to the package's parameters.

A table is a nested dictionary like the parameters themselves, with a `Tensor` in place of each
array. PyTorch's layouts: convolutions (out, in, kh, kw), linear layers (out, in), images NCHW.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping

import numpy as np

from gan2shape_jax.stylegan2 import Params
from gan2shape_jax.stylegan2.weights import check_params

__all__ = [
    "State",
    "Tensor",
    "biased",
    "constant",
    "expected_shapes",
    "flattened",
    "kernel",
    "matrix",
    "params_of",
    "plain",
]

State = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of the source: its name and shape there, and how it becomes ours."""

    name: str
    shape: tuple[int, ...]
    convert: Callable[[np.ndarray], np.ndarray]


def plain(name: str, shape: tuple[int, ...], ours: tuple[int, ...]) -> Tensor:
    """Returns a tensor with the same numbers in the same order."""
    return Tensor(name, shape, lambda value: value.reshape(ours))


def matrix(name: str, ours: tuple[int, ...]) -> Tensor:
    """Returns a linear layer's weight."""
    return Tensor(name, ours[::-1], lambda value: value.T)


def kernel(name: str, ours: tuple[int, ...], lead: tuple[int, ...] = (), gain: float = 1.0) -> Tensor:
    """Returns a convolution's weight, with `lead` axes of length 1 in front, times `gain`."""
    height, width, inputs, outputs = ours
    shape = (outputs, inputs, height, width)
    return Tensor(name, lead + shape, lambda value: (gain * value).reshape(shape).transpose(2, 3, 1, 0))


def constant(name: str, ours: tuple[int, ...], lead: tuple[int, ...] = ()) -> Tensor:
    """Returns the generator's constant input."""
    height, width, channels = ours
    shape = (channels, height, width)
    return Tensor(name, lead + shape, lambda value: value.reshape(shape).transpose(1, 2, 0))


def biased(weight: Callable, module: str, shapes: Params) -> Params:
    """Returns the two tensors of a layer with a bias, whose weight is one of the above."""
    names = {part: f"{module}.{part}" for part in ("weight", "bias")}
    return {
        "weight": weight(names["weight"], shapes["weight"]),
        "bias": plain(names["bias"], shapes["bias"], shapes["bias"]),
    }


def flattened(name: str, ours: tuple[int, ...]) -> Tensor:
    """Returns a linear layer's weight over flattened 4x4 features: PyTorch flattens (c, h, w), we (h, w, c)."""
    outputs, channels = ours[1], ours[0] // 16
    return Tensor(
        name, ours[::-1], lambda value: value.reshape(outputs, channels, 4, 4).transpose(2, 3, 1, 0).reshape(ours)
    )


def params_of(networks: Mapping[str, tuple[str, Params, State]], source: str | os.PathLike) -> Params:
    """Returns the parameters, float32, by our name of each network.

    Args:
      networks: by our name, what its tensors' names begin with in messages, its table, and its tensors.
      source: the file, for messages.

    Raises:
      UserError: tensors are missing, unknown, misshapen or not finite; the message lists them all.
    """
    found: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix, table, state in networks.values():
        found |= {f"{prefix}{name}": value for name, value in state.items()}
        shapes |= {f"{prefix}{name}": shape for name, shape in expected_shapes(table).items()}
    check_params(found, shapes, source=source)
    return {ours: _applied(table, state) for ours, (_, table, state) in networks.items()}


def _applied(table: Params, state: State) -> Params:
    return {
        name: np.array(t.convert(np.asarray(state[t.name], np.float32)), np.float32, order="C")
        if isinstance(t, Tensor)
        else _applied(t, state)
        for name, t in table.items()
    }


def expected_shapes(table: Params) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor of the table, by name."""
    flat = {}
    for value in table.values():
        flat.update({value.name: value.shape} if isinstance(value, Tensor) else expected_shapes(value))
    return flat
