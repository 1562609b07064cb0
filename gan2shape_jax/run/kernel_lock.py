"""A file lock that the system itself releases when its process ends, however it ends.

On Linux and macOS this is `flock`, which over NFS is a lock on the server for all its clients (Linux 2.6.12 and newer);
on Windows, a lock on one byte beyond the file's content, so that the content can be read. Child processes do not
inherit it: Python closes its file descriptors in them.
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
_BEYOND = 1 << 30  # position of the locked byte on Windows


class NotSupported(Exception):
    """The file system does not support file locks."""


class KernelLock:
    """A file that this process holds exclusively; see `take`."""

    def __init__(self, path: pathlib.Path, descriptor: int):
        """Holds the file that `take` has locked."""
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: pathlib.Path) -> KernelLock | None:
        """Returns the lock on a file, which is created if missing; None if another process holds it.

        The file's content and timestamps are left unchanged.

        Raises:
          NotSupported: the file system does not support file locks.
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
            os.close(descriptor)  # the previous holder has meanwhile removed the file

    def in_place(self) -> bool:
        """Returns whether the file that is held is still the one at its path."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False

    def write(self, content: bytes) -> None:
        """Replaces the file's content; raises `OSError` if there is no space."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, content)

    def release(self, *, remove: bool = False) -> None:
        """Releases the lock; with `remove` also deletes the file, and a process that has it open tries again."""
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._descriptor)


def _lock(descriptor: int) -> None:
    """Locks an open file without waiting; raises `OSError` if it cannot be locked."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    os.lseek(descriptor, _BEYOND, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
