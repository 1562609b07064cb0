"""A lock on a file that the system itself gives back when its process ends, however it ends.

On Linux and macOS `flock`, which over NFS is a lock of the server for all its clients (Linux 2.6.12 and newer); on
Windows a lock of one byte beyond the file's content, so that the content can be read. Processes that this one starts
do not hold it: Python closes its files for them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from typing import Any

__all__ = ["KernelLock", "NotSupported"]

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_BEYOND = 1 << 30  # where Windows' lock lies


class NotSupported(Exception):
    """The file system locks no files."""


class KernelLock:
    """A file that this process holds alone; see `take`."""

    def __init__(self, path: pathlib.Path, descriptor: int):
        """Holds what `take` has locked."""
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: pathlib.Path) -> KernelLock | None:
        """Returns the lock of a file, which is made where it is missing; None where another process has it.

        The file's content and dates stay as they are.

        Raises:
          NotSupported: the file system locks no files.
          OSError: the file cannot be opened.
        """
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                _lock(descriptor)
            except OSError as error:
                os.close(descriptor)
                if error.errno in _BUSY:
                    return None
                if error.errno in _NO_LOCKS:
                    raise NotSupported(error.strerror) from error
                raise
            held = cls(path, descriptor)
            if held.in_place():
                return held
            os.close(descriptor)  # somebody who was leaving has removed the file meanwhile

    def in_place(self) -> bool:
        """Returns whether the file that is held is still the one that its path shows."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False

    def write(self, content: bytes) -> None:
        """Replaces the file's content; raises `OSError` where there is no room."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, content)

    def release(self, *, remove: bool = False) -> None:
        """Gives the lock back; with `remove` the file goes too, and whoever has opened it looks again."""
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)


def _lock(descriptor: int) -> None:
    """Locks an open file at once; raises `OSError` where that is not to be had."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    os.lseek(descriptor, _BEYOND, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
