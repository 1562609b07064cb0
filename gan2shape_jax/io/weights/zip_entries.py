"""The entries of a zip archive as PyTorch writes them: uncompressed, unique and not overlapping.

An archive can list the same bytes under many names, claim false sizes, or list millions of entries. Here the directory
must be small, no two entries may overlap, and reads are charged to the file's budget.
"""

import io
import zipfile
from types import TracebackType
from typing import Any

from gan2shape_jax.io.weights.budget import Budget, Refused
from gan2shape_jax.io.weights.pickle_source import Binary, bytes_left

__all__ = ["ZipEntries"]

_DIRECTORY = 2 * 2**20  # maximum bytes of the directory; a thousand storages take 0.1 MiB
_ENTRIES = 10_000
_HEADER = 30  # bytes before the name of an entry


class _Limited:
    """A file that refuses to read more than `most` bytes at a time."""

    def __init__(self, file: Binary, most: int) -> None:
        self._file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        if (bytes_left(self._file) if count < 0 else count) > self.most:
            raise Refused("an archive whose directory is of unreasonable length")
        return self._file.read(count)


class ZipEntries:
    """A zip archive with entries as PyTorch writes them; a context manager.

    Attributes:
      sizes: the entries' sizes in bytes, by name.
    """

    def __init__(self, file: Binary, budget: Budget) -> None:
        """Reads the directory.

        Raises:
          Refused: entries are compressed, overlap or share a name, or there are too many.
          zipfile.BadZipFile: the directory is damaged.
        """
        self._budget = budget
        limited, end = _Limited(file, _DIRECTORY), bytes_left(file) + file.tell()
        self._archive = zipfile.ZipFile(limited)  # type: ignore[call-overload]  # it only needs these methods
        limited.most = end
        entries = self._archive.infolist()
        if len(entries) > _ENTRIES:
            raise Refused(f"an archive of more than {_ENTRIES} entries")
        if any(e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size for e in entries):
            raise Refused("compressed or overlapping entries")
        self.sizes = {entry.filename: entry.file_size for entry in entries}
        if len(self.sizes) != len(entries):
            raise Refused("entries of one name")
        _check_places(entries, end)

    def __enter__(self) -> "ZipEntries":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self._archive.close()

    def read(self, name: str) -> bytes:
        """Returns an entry's bytes, charging the budget; raises `zipfile.BadZipFile` if it is damaged."""
        self._budget.take(self.sizes[name])
        return self._archive.read(name)

    def open(self, name: str) -> io.BytesIO:
        """Returns an entry as an in-memory file."""
        return io.BytesIO(self.read(name))


def _check_places(entries: list[zipfile.ZipInfo], end: int) -> None:
    """Raises `Refused` if an entry begins before the previous one ends, or extends beyond the file."""
    entries = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset + _HEADER + len(entry.filename) + entry.file_size for entry in entries]
    begins = [entry.header_offset for entry in entries[1:]] + [end]
    if any(e > begin for e, begin in zip(ends, begins)) or any(entry.header_offset < 0 for entry in entries):
        raise Refused("compressed or overlapping entries")
