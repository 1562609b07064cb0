"""Writes files and folders completely or not at all, so that they survive a power cut.

Both are written next to their final place under a hidden name and then renamed, so that an interrupted or failed
write leaves the old contents, the new contents or nothing, never a mixture. Contents are flushed to disk before the
rename. Several hosts may write the same file: the last one to finish wins.

    .NAME.XXXXXXXX.part[.EXTENSION]   a file or folder being written
    .NAME.XXXXXXXX.former             a folder moved aside for a new one
"""

import contextlib
import errno
import os
import pathlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator

from gan2shape_jax.errors import refused

__all__ = ["atomic_bytes", "atomic_file", "atomic_folder", "atomic_text", "clear_leftovers"]

# Full pattern of the two kinds of hidden names.
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-z_]{8}\.(?P<kind>part(\.[^.]+)?|former)", re.DOTALL)
# Errors from file systems that cannot sync a folder's entries.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EISDIR, errno.EPERM)


def atomic_file(
    path: str | os.PathLike[str], write: Callable[[pathlib.Path], object], *, parents: bool = False
) -> None:
    """Writes a file under a temporary name and renames it to `path`, replacing any existing file.

    Args:
      path: the file.
      write: writes the whole file to the path it is given, which is next to `path` and has its extension.
      parents: creates missing parent folders; otherwise they are an error.

    Raises:
      UserError: the file cannot be written.
    """
    path = pathlib.Path(path)
    part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix.lower()}")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        _write_through(part)
        part.replace(path)
        _write_entries_through(path.parent)
    except OSError as error:
        raise refused(error, f"cannot write {path}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def atomic_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 text file, creating its parent folders; raises `UserError` if it cannot be written.

    Line endings are kept as in `text` on every system: the file's checksum is that of the text.
    """
    atomic_file(path, lambda part: part.write_text(text, encoding="utf-8", newline=""), parents=True)


def atomic_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a binary file into an existing folder; raises `UserError` if it cannot be written."""
    atomic_file(path, lambda part: part.write_bytes(content))


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields an empty folder to fill; on success it replaces `folder`.

    An error inside the block, such as a full disk, removes what was written and leaves the old
    `folder` untouched.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise refused(error, f"cannot write results to {folder}") from error
    try:
        yield fresh
        fresh.chmod(0o755)  # mkdtemp creates it private
        _write_folder_through(fresh)
        _swap(fresh, folder)
        _write_entries_through(folder.parent)
    except OSError as error:
        raise refused(error, f"cannot write results to {folder} (nothing there was changed)") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def clear_leftovers(folder: pathlib.Path, names: Collection[str] | None) -> list[pathlib.Path]:
    """Cleans up what killed writes have left in a folder; only to be called while nobody is writing there.

    Partial files and folders are removed. A folder that was moved aside for a new one is put back if the new one is
    missing, and removed otherwise.

    Args:
      folder: where to look, without subfolders; it need not exist.
      names: names of the files and folders written there, files without their last extension; None for any. Other
        hidden names stay.

    Returns:
      The folders that were put back.

    Raises:
      UserError: something cannot be removed or put back.
    """
    back = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        hidden = _HIDDEN.fullmatch(path.name)
        if hidden is None or (names is not None and hidden["name"] not in names):
            continue
        real = folder / hidden["name"]
        try:
            if hidden["kind"] == "former" and not os.path.lexists(real):
                path.rename(real)
                back.append(real)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise refused(error, f"cannot clear {path}, which an earlier start has left") from error
    return back


def _swap(fresh: pathlib.Path, folder: pathlib.Path) -> None:
    """Renames `fresh` to `folder`; an existing `folder` is moved aside first and removed afterwards."""
    if not folder.exists():
        fresh.rename(folder)
        return
    former = fresh.with_suffix(".former")
    folder.rename(former)
    try:
        fresh.rename(folder)
    except OSError:
        former.rename(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _write_folder_through(folder: pathlib.Path) -> None:
    """Returns once all files below a folder, and their names, are on disk."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            _write_through(pathlib.Path(parent, name))
        _write_entries_through(pathlib.Path(parent))


def _write_through(path: pathlib.Path) -> None:
    """Returns once a file's content is on disk; lack of disk space may be reported only here."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))  # Windows cannot sync a file opened for reading
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_entries_through(folder: pathlib.Path) -> None:
    """Returns once a folder's entries are on disk, where the system supports it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError as error:
        if error.errno in _NO_SYNC:  # as on Windows
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
