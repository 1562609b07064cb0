"""PyTorch's storages, and tensors as views of them.

Sizes, strides and offsets are checked against the storage, and tensors that have to be copied are charged to the file's
budget, so that a file cannot take up a lot of memory.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from gan2shape_jax.io.weights.budget import Budget, Refused

__all__ = ["STORAGES", "Storage", "StorageType", "counts", "rebuild_tensor"]

_EXPANDED_LIMIT = 2**20  # elements that an expanded (stride 0) tensor may have if its storage has fewer
_AXES = 32
_TENSOR_STEPS = 10  # a view takes as long as this many instructions

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "BFloat16Storage": np.dtype("<u2"),
}


@dataclasses.dataclass(frozen=True)
class StorageType:
    """The type of a storage's values, by PyTorch's name for it."""

    name: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of the stored values; bfloat16 is stored as integers."""
        return STORAGES[self.name]

    def values(self, data: bytes, budget: Budget) -> np.ndarray:
        """Returns the values in `data`, with bfloat16 as float32, charging what this takes beyond `data` itself."""
        values = np.frombuffer(data, self.dtype)
        if self.name != "BFloat16Storage":
            return values
        budget.take(2 * len(data))
        wide = values.astype(np.uint32)
        wide <<= 16  # bfloat16 is the upper half of a float32
        return wide.view(np.float32)


@dataclasses.dataclass(frozen=True)
class Storage:
    """The values that tensors are views of.

    Attributes:
      count: the number of values.
      values: the values; None while sizes are being collected.
      budget: the budget that tensors are charged to.
    """

    count: int
    values: np.ndarray | None
    budget: Budget

    def part(self, offset: int, count: int) -> "Storage":
        """Returns a part of the storage as a storage; raises `Refused` if it extends beyond the storage."""
        if offset + count > self.count:
            raise Refused("a view that reaches beyond its storage")
        return Storage(count, None if self.values is None else self.values[offset : offset + count], self.budget)


def counts(values: Any, most: int = _AXES) -> tuple[int, ...]:
    """Returns up to `most` non-negative integers as a tuple; raises `Refused` for anything else."""
    if not isinstance(values, (tuple, list)) or len(values) > most:
        raise Refused("a tensor whose size or stride is no short list")
    if not all(type(v) is int and v >= 0 for v in values):
        raise Refused("a tensor whose size, stride or offset is not a whole number from 0 on")
    return tuple(values)


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray | None:
    """Returns a strided view of a storage as an array, after checking that it stays inside."""
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    storage.budget.step(_TENSOR_STEPS)
    (offset,), size, stride = counts((offset,)), counts(size), counts(stride)
    if len(size) != len(stride):
        raise Refused(f"a tensor of {len(size)} axes with {len(stride)} strides")
    count = math.prod(size)  # Python integers, which cannot overflow
    end = offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if count else offset
    if end > storage.count or max(count, *size, 0) > max(storage.count, _EXPANDED_LIMIT):
        raise Refused("a tensor that reaches beyond its storage")
    if storage.values is None:
        return None
    values = storage.values
    view = np.lib.stride_tricks.as_strided(values[offset:], size, tuple(s * values.itemsize for s in stride))
    if view.flags.c_contiguous and 0 not in stride:
        return view
    storage.budget.take(view.nbytes)
    return view.copy()
