"""Opens files that somebody else may have written: regular files only, and only up to a reasonable size.

A FIFO blocks forever, a device may never end, and a file may be larger than any reader could need. So every reader in
the package opens its files here: the file's type is checked before the first byte is read, and its size before memory
is allocated for it.
"""

import os
import stat
from typing import BinaryIO

from gan2shape_jax.errors import UserError

__all__ = ["MIB", "open_regular", "read_bytes", "read_text"]

MIB = 2**20

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(path: str | os.PathLike[str], *, limit: int | None = None) -> BinaryIO:
    """Opens a regular file for reading bytes; symbolic links to one are followed.

    Args:
      path: the file.
      limit: the largest size accepted, bytes; None accepts any.

    Raises:
      UserError: the file is not a regular one, or is larger than the limit.
      OSError: the file is missing or cannot be opened.
    """
    # Without blocking: a named pipe would be opened only once somebody writes to it.
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # a null byte, or a character that the file system cannot encode
        raise UserError(f"{os.fspath(path)!r} can be no file's name") from None
    try:
        found = os.fstat(descriptor)
        for is_kind, kind in _KINDS:
            if is_kind(found.st_mode):
                raise UserError(f"{path} is {kind}, not a file")
        if limit is not None and found.st_size > limit:
            raise UserError(f"{path} has {found.st_size / MIB:.1f} MiB: at most {limit / MIB:g} MiB are read")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """Returns the contents of a regular file of at most `limit` bytes; raises like `open_regular`."""
    with open_regular(path, limit=limit) as file:
        content = file.read(limit + 1)  # it may have grown since
    if len(content) > limit:
        raise UserError(f"{path} grew beyond {limit / MIB:g} MiB while it was read")
    return content


def read_text(path: str | os.PathLike[str], *, limit: int, encoding: str = "utf-8") -> str:
    """Returns the text of a regular file of at most `limit` bytes.

    Raises:
      UserError: the file is not a regular one, or is larger than the limit.
      OSError: the file is missing or cannot be opened.
      UnicodeDecodeError: its bytes are not text in that encoding.
    """
    return read_bytes(path, limit=limit).decode(encoding)
