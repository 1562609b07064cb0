"""Tables that map tensors of a PyTorch checkpoint to the package's parameters.

A table is a nested dictionary like the parameters themselves, with a `Tensor` in place of each
array. PyTorch's layouts: convolutions (out, in, kh, kw), linear layers (out, in), images NCHW.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from gan2shape_jax.stylegan2 import Params

__all__ = ["State", "Tensor", "apply", "constant", "flattened", "kernel", "matrix", "plain", "expected_shapes"]

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


def flattened(name: str, ours: tuple[int, ...]) -> Tensor:
    """Returns a linear layer's weight over flattened 4x4 features: PyTorch flattens (c, h, w), we (h, w, c)."""
    outputs, channels = ours[1], ours[0] // 16
    return Tensor(
        name, ours[::-1], lambda value: value.reshape(outputs, channels, 4, 4).transpose(2, 3, 1, 0).reshape(ours)
    )


def apply(table: Params, state: State) -> Params:
    """Returns the parameters, float32, from tensors whose names and shapes have been checked."""
    return {
        name: np.array(t.convert(np.asarray(state[t.name], np.float32)), np.float32, order="C")
        if isinstance(t, Tensor)
        else apply(t, state)
        for name, t in table.items()
    }


def expected_shapes(table: Params) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor of the table, by name."""
    flat = {}
    for value in table.values():
        flat.update({value.name: value.shape} if isinstance(value, Tensor) else expected_shapes(value))
    return flat
