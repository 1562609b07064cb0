"""Reads safetensors files by their library, a tensor at a time.

The library checks that a file's header is consistent and that its tensors fill the file; what a caller does not expect
by name and shape is not read.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors

from gan2shape_jax.io.files import open_regular
from gan2shape_jax.io.weights.messages import LIMIT, Refused, printable, short

__all__ = ["TensorFile", "Unread", "open_safetensors"]

_TYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


class Unread(NamedTuple):
    """Stands in for a tensor that was not wanted and therefore not read."""

    shape: tuple[int, ...]


class TensorFile:
    """An open safetensors file.

    Attributes:
      metadata: the header's metadata, all text.
      shapes: the tensors' shapes, by name.
    """

    def __init__(self, file: Any) -> None:
        """Takes what `safetensors.safe_open` returns; raises `Refused` for tensors of other types than floats."""
        self._file = file
        self.metadata: Mapping[str, str] = file.metadata() or {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name in file.keys():  # it is no dictionary
            entry = file.get_slice(name)
            if entry.get_dtype() not in _TYPES:
                raise Refused(
                    f"the tensor {short(name)} of type {short(entry.get_dtype())} ({', '.join(_TYPES)} are read)"
                )
            self.shapes[name] = tuple(entry.get_shape())

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor."""
        if not math.prod(self.shapes[name]):
            return np.zeros(self.shapes[name], _TYPES[self._file.get_slice(name).get_dtype()])
        tensor: np.ndarray = self._file.get_tensor(name)
        return tensor

    def read_wanted(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray | Unread]:
        """Returns all tensors of the file by name; those without a wanted name and shape are left unread."""
        return {
            name: self.read(name) if shapes.get(name) == shape else Unread(shape) for name, shape in self.shapes.items()
        }


@contextlib.contextmanager
def open_safetensors(path: str | os.PathLike[str]) -> Iterator[TensorFile]:
    """Opens a safetensors file.

    Raises:
      UserError: it is not a regular file, or is larger than any weight file.
      OSError: it is missing or cannot be read.
      Refused: it is not a safetensors file, is damaged, or has types other than 16, 32 or 64-bit floating point.
    """
    open_regular(path, limit=LIMIT).close()
    try:
        opened = safetensors.safe_open(path, framework="np")
    except safetensors.SafetensorError as error:
        raise Refused(f"no safetensors file, or only the beginning of one ({printable(str(error), 200)})") from error
    with opened as file:
        yield TensorFile(file)
