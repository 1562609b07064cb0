"""Frames on disk between being made and being needed again: their memory is that of one, however many there are."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, overload

import numpy as np

__all__ = ["Spool", "spooled"]

_LEVEL = 1  # of compression: rendered pictures on white shrink to a tenth of their size at little cost


class Spool(Sequence[np.ndarray]):
    """Frames, uint8 and all of one shape, that a file keeps; read like a list of them."""

    def __init__(self, file: BinaryIO):
        """Takes the file that keeps the frames, empty and open for reading and writing."""
        self._file = file
        self._ends = [0]
        self._shape: tuple[int, ...] = ()

    def add(self, frame: np.ndarray) -> None:
        """Writes one more frame; raises `OSError` where the disk is full."""
        self._shape = frame.shape
        self._file.seek(self._ends[-1])
        packed = zlib.compress(frame.tobytes(), _LEVEL)
        self._file.write(packed)
        self._ends.append(self._ends[-1] + len(packed))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        number = index % len(self)
        start, end = self._ends[number], self._ends[number + 1]
        self._file.seek(start)
        return np.frombuffer(zlib.decompress(self._file.read(end - start)), np.uint8).reshape(self._shape)


@contextlib.contextmanager
def spooled(frames: Iterable[np.ndarray], folder: pathlib.Path) -> Iterator[Spool]:
    """Yields frames, made in turn, as a sequence; the file that keeps them has no name and vanishes in any case.

    Args:
      frames: uint8, all of one shape.
      folder: whose disk keeps them.

    Raises:
      OSError: the disk is full, or the folder cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder, prefix=".frames.") as file:
        kept = Spool(file)
        for frame in frames:
            kept.add(frame)
        yield kept
