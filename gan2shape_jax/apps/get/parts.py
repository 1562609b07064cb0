"""Partially downloaded files.

FILE.part        the bytes received so far
FILE.part.json   which file they belong to, and its address
"""

import contextlib
import dataclasses
import json
import pathlib

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import json_files
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.regular_files import MIB

__all__ = ["Known", "begin", "discard", "length_of", "part_of", "read_known"]


@dataclasses.dataclass(frozen=True)
class Known:
    """Which file the bytes in a part belong to: its address and what the server said about it.

    Attributes:
      url: that was requested.
      etag: the server's identifier of the file's version, or "".
      modified: when the file was last modified, according to the server, or "".
      total: size of the whole file in bytes, or None.
    """

    url: str
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def condition(self) -> str:
        """The value for `If-Range`: an exact identifier of the file's version, or "" if there is none."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def part_of(file: pathlib.Path) -> pathlib.Path:
    """Returns where the bytes of a file are collected."""
    return file.with_name(f"{file.name}.part")


def length_of(part: pathlib.Path) -> int:
    """Returns how many bytes of a file have been received."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def begin(part: pathlib.Path, known: Known) -> None:
    """Removes any part of a file, and records which file will follow; raises `UserError` if the disk refuses."""
    discard(part)
    atomic_text(_record_of(part), json.dumps(dataclasses.asdict(known)))


def discard(part: pathlib.Path) -> None:
    """Removes any part of a file, and its record."""
    for path in (part, _record_of(part)):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def read_known(part: pathlib.Path, url: str) -> Known | None:
    """Returns which file the bytes in a part belong to; None if there are none, or not from this address."""
    if not length_of(part):
        return None
    try:
        known = Known(**json_files.read_object(_record_of(part), "the record of a download", limit=MIB))
    except (FileNotFoundError, TypeError, UserError):
        return None
    texts = (known.url, known.etag, known.modified)
    plain = all(type(text) is str and text.isprintable() and text.isascii() for text in texts)
    if not plain or known.url != url or not (known.total is None or type(known.total) is int):
        return None
    return known


def _record_of(part: pathlib.Path) -> pathlib.Path:
    return part.with_name(f"{part.name}.json")
