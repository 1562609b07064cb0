"""Reads safetensors without taking anything for granted that the header says.

A file is eight bytes with the header's length, the header (JSON: type, shape and place of each tensor, and texts), and
the tensors. Here the header is short, nothing in it is said twice, and the tensors lie one behind the other from its
end to the file's, so that together they are as large as the file. They are read one at a time, after the reader has
compared names and shapes with those that it wants.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np

from gan2shape_jax.regular_files import MIB, open_regular
from gan2shape_jax.weight_files.budget import LIMIT, Refused
from gan2shape_jax.weight_files.messages import short
from gan2shape_jax.weight_files.pickle_source import Binary, bytes_left

__all__ = ["TensorFile", "Unread", "open_safetensors"]

_HEADER = MIB  # bytes; ours have 40 KiB at most
_PREFIX = 8  # bytes of the header's length
_AXES = 32
_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


class Unread(NamedTuple):
    """In place of a tensor that was not wanted, and so was not read."""

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
      metadata: the header's texts.
      shapes: of the tensors by name.
    """

    def __init__(self, file: Binary) -> None:
        """Reads the header; raises `Refused` where it is not that of such a file."""
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
        """Returns a tensor; raises `Refused` where the file has been cut since."""
        place = self._places[name]
        values = np.empty(place.shape, place.dtype)
        self._file.seek(place.begin)
        if values.size and self._file.readinto(values.reshape(-1).view(np.uint8).data) != values.nbytes:
            raise Refused("tensors that are not there any more")
        return values

    def read_wanted(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray | Unread]:
        """Returns all tensors of the file by name; those that are not of the wanted name and shape stay unread."""
        return {
            name: self.read(name) if shapes.get(name) == shape else Unread(shape) for name, shape in self.shapes.items()
        }


@contextlib.contextmanager
def open_safetensors(path: str | os.PathLike[str]) -> Iterator[TensorFile]:
    """Opens a safetensors file.

    Raises:
      UserError: it is no regular file, or larger than any weights.
      OSError: it is absent or cannot be read.
      Refused: it is no safetensors file, is damaged, or has other than 16, 32 or 64 bit floating-point numbers.
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
    """Returns where a tensor lies; raises `Refused` where its entry is none, or does not fit its shape."""
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
