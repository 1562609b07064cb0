"""Reads safetensors files without trusting their headers.

A file consists of eight bytes with the header's length, the header (JSON: type, shape and position of each tensor, and
metadata) and the tensors. Files are accepted only if the header is short and has no duplicate entries, and the tensors
lie one after another from the header's end to the end of the file, so that they can be no larger than the file. They
are read one at a time, once the reader has compared names and shapes with those it wants.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np

from gan2shape_jax.io.regular_files import MIB, open_regular
from gan2shape_jax.io.weights.budget import LIMIT, Refused
from gan2shape_jax.io.weights.messages import short
from gan2shape_jax.io.weights.pickle_source import Binary, bytes_left

__all__ = ["TensorFile", "Unread", "open_safetensors"]

_HEADER = MIB  # maximum bytes of a header; ours have at most 40 KiB
_PREFIX = 8  # bytes that give the header's length
_AXES = 32
_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


class Unread(NamedTuple):
    """Stands in for a tensor that was not wanted and therefore not read."""

    shape: tuple[int, ...]


class _Place(NamedTuple):
    begin: int  # bytes from the start of the file
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.begin + math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """A safetensors file whose header has been read and found consistent.

    Attributes:
      metadata: the header's metadata, all text.
      shapes: the tensors' shapes, by name.
    """

    def __init__(self, file: Binary) -> None:
        """Reads the header; raises `Refused` if it is not a valid safetensors header."""
        size = bytes_left(file)
        length = int.from_bytes(file.read(_PREFIX), "little")
        if size < _PREFIX or length > size - _PREFIX:
            raise Refused("no safetensors file, or only the beginning of one")
        if length > _HEADER:
            raise Refused(f"a header of {length / MIB:.1f} MiB")
        header = _parsed(file.read(length))
        self._file = file
        self.metadata: Mapping[str, str] = _texts(header.pop("__metadata__", {}))
        self._places = {name: _place(name, entry, _PREFIX + length) for name, entry in header.items()}
        _check_places(self._places, _PREFIX + length, size)
        self.shapes = {name: place.shape for name, place in self._places.items()}

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor; raises `Refused` if the file has been truncated in the meantime."""
        place = self._places[name]
        values = np.empty(place.shape, place.dtype)
        self._file.seek(place.begin)
        if values.size and self._file.readinto(values.reshape(-1).view(np.uint8).data) != values.nbytes:
            raise Refused("tensors that are not there any more")
        return values

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
    with open_regular(path, limit=LIMIT) as file:
        yield TensorFile(cast(Binary, file))


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(f"a header that cannot be read ({type(error).__name__})") from error
    if not isinstance(header, dict):
        raise Refused("a header that is no dictionary")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if not all(name.isprintable() for name, _ in pairs):
        raise Refused("a header with names that cannot be printed")
    if len(entries := dict(pairs)) != len(pairs):
        raise Refused("a header that names something twice")
    return entries


def _no_number(text: str) -> NoReturn:
    raise Refused(f"a header with {text}")


def _texts(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Refused("a header whose metadata is other than text")
    return metadata


def _place(name: str, entry: Any, start: int) -> _Place:
    """Returns a tensor's position; raises `Refused` if its entry is invalid or its extent does not match its shape."""
    told = f"the tensor {short(name)}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Refused(f"{told} without type, shape and place")
    kind, shape, ends = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise Refused(f"{told} of type {short(kind)} ({', '.join(_TYPES)} are read)")
    if not _whole(shape) or len(shape) > _AXES or not _whole(ends) or len(ends) != 2:
        raise Refused(f"{told} whose shape or place is not made of whole numbers")
    place = _Place(start + ends[0], _TYPES[kind], tuple(shape))
    if place.end != start + ends[1] or max(shape, default=0) > LIMIT:
        raise Refused(f"{told} whose place does not fit its shape")
    return place


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _check_places(places: Mapping[str, _Place], start: int, size: int) -> None:
    end = start
    for place in sorted(places.values(), key=lambda place: (place.begin, place.end)):
        if place.begin != end:
            raise Refused("tensors that overlap, or gaps between them")
        end = place.end
    if end != size:
        raise Refused("tensors that are shorter or longer than the file")
