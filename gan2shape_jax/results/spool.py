"""Frames kept on disk until they are needed again: they take the memory of one, however many there are."""

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
    """Frames, uint8 and all of the same shape, kept in a file and read like a list."""

    def __init__(self, file: BinaryIO):
        """Takes the file that will hold the frames, empty and open for reading and writing."""
        self._file = file
        self._ends = [0]
        self._shape: tuple[int, ...] = ()

    def add(self, frame: np.ndarray) -> None:
        """Appends a frame; raises `OSError` if the disk is full."""
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
    """Yields frames, generated one by one, as a sequence; the file that holds them has no name and always vanishes.

    Args:
      frames: uint8, all of the same shape.
      folder: a folder on the disk that holds them.

    Raises:
      OSError: the disk is full, or the folder cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder, prefix=".frames.") as file:
        kept = Spool(file)
        for frame in frames:
            kept.add(frame)
        yield kept
