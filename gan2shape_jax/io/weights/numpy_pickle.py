"""Reads NumPy numbers, types and arrays in a pickle as data.

Only plain numeric data types are read: arrays of objects, which contain further pickles, are refused.
"""

import re
from typing import Any

import numpy as np

from gan2shape_jax.io.weights.budget import Refused
from gan2shape_jax.io.weights.messages import short
from gan2shape_jax.io.weights.torch_storages import counts
from gan2shape_jax.io.weights.torch_unpickler import Record

__all__ = ["CALLS", "DataType", "NumpyArray"]


class DataType:
    """Stands in for a NumPy data type; numbers only."""

    def __init__(self, text: str, *_: Any) -> None:
        if not isinstance(text, str) or not re.fullmatch(r"[<|=]?(f[248]|[iu][1248]|b1)", text):
            raise Refused(f"numpy.dtype of {short(text)}, which is not a plain number")
        self.dtype = np.dtype(text)

    def set_state(self, state: Any) -> None:
        """Takes the state from a pickle; raises `Refused` if it would change the type."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise Refused("numpy.dtype of another byte order or with fields")


class NumpyArray(Record):
    """Stands in for a NumPy array.

    Attributes:
      values: a view of the bytes in the file, which are charged as they are read; None for an array without its state,
        and for one from Python 2, whose bytes are text.
    """

    values: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """Takes the state from a pickle; raises `Refused` if type, shape and bytes do not match."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], DataType):
            raise Refused("numpy.ndarray of other than plain numbers")
        if isinstance(state[4], (bytes, bytearray)):
            self.values = _viewed(state[4], state[2], state[1], "F" if state[3] is True else "C")


def _viewed(data: bytes | bytearray, kind: DataType, shape: Any, order: str) -> np.ndarray:
    size = counts(shape)
    count = 1
    for side in size:  # Python integers, which cannot overflow
        count *= side
    if count * kind.dtype.itemsize != len(data):
        raise Refused(f"numpy.ndarray of {count} values in {len(data)} bytes")
    return np.frombuffer(data, kind.dtype).reshape(size, order="F" if order == "F" else "C")


def _number(kind: Any = None, data: Any = None) -> Any:
    """Returns a pickled NumPy number as a Python number."""
    if not isinstance(kind, DataType) or not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
        raise Refused("numpy.core.multiarray.scalar of what is not a plain number")
    return np.frombuffer(data, kind.dtype)[0].item()


def _array(kind: Any = None, *_: Any) -> NumpyArray:
    if kind is not NumpyArray:
        raise Refused("numpy.core.multiarray._reconstruct of another class")
    return NumpyArray()


def _array_of_bytes(data: Any = None, kind: Any = None, shape: Any = None, order: Any = None, *_: Any) -> NumpyArray:
    """Returns an array pickled with protocol 5, whose bytes are an argument."""
    if not isinstance(kind, DataType):
        raise Refused("numpy.core.numeric._frombuffer of what is not a plain number")
    if not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise Refused("numpy.core.numeric._frombuffer of what are no bytes in order")
    array = NumpyArray()
    array.values = _viewed(data, kind, shape, order)
    return array


def _both(name: str, value: Any) -> dict[str, Any]:
    """Lists a name from NumPy's `core` under its NumPy 2 name as well."""
    return {f"numpy.core.{name}": value, f"numpy._core.{name}": value}


# What a pickle may refer to, by `module.name`.
CALLS: dict[str, Any] = (
    {"numpy.dtype": DataType, "numpy.ndarray": NumpyArray}
    | _both("multiarray.scalar", _number)
    | _both("multiarray._reconstruct", _array)
    | _both("numeric._frombuffer", _array_of_bytes)
)
