"""Files and folders that appear whole or not at all, and stay after a power cut.

Both are written beside their final place under a hidden name and renamed into it, so that an interrupted
or failed write leaves either the former contents, the new contents or nothing, never a mixture. Before a rename counts,
what it shows is on the disk. Several hosts may write the same file: the last one to finish wins.

    .NAME.XXXXXXXX.part[.EXTENSION]   a file or folder being written
    .NAME.XXXXXXXX.former             a folder that has stepped aside for a new one
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

# What the two kinds of hidden names look like, in whole.
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-z_]{8}\.(?P<kind>part(\.[^.]+)?|former)", re.DOTALL)
# What file systems answer that cannot write a folder's entries through.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EISDIR, errno.EPERM)


def atomic_file(
    path: str | os.PathLike[str], write: Callable[[pathlib.Path], object], *, parents: bool = False
) -> None:
    """Has a file written under a temporary name and renames it to `path`, replacing a former file.

    Args:
      path: the file.
      write: writes the whole file at the path it is given, which lies beside `path` and has its extension.
      parents: makes missing folders above the file; otherwise they are an error.

    Raises:
      UserError: the file system refuses.
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
    """Writes a UTF-8 text file and the folders above it; raises `UserError` where the file system refuses.

    Lines end as they do in `text`, on every system: the file's checksum is that of the text.
    """
    atomic_file(path, lambda part: part.write_text(text, encoding="utf-8", newline=""), parents=True)


def atomic_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a binary file into an existing folder; raises `UserError` where the file system refuses."""
    atomic_file(path, lambda part: part.write_bytes(content))


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields an empty folder to fill; on success it takes the place of `folder`.

    An error inside the block, a full disk included, removes what was written and leaves the former
    `folder` untouched.

    Raises:
      UserError: the file system refuses.
    """
    folder = pathlib.Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise refused(error, f"cannot write results to {folder}") from error
    try:
        yield fresh
        fresh.chmod(0o755)  # mkdtemp makes it private
        _write_folder_through(fresh)
        _swap(fresh, folder)
        _write_entries_through(folder.parent)
    except OSError as error:
        raise refused(error, f"cannot write results to {folder} (nothing there was changed)") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def clear_leftovers(folder: pathlib.Path, names: Collection[str] | None) -> list[pathlib.Path]:
    """Clears what writes that were killed have left in a folder; to be called where nobody is writing there.

    What was being written is removed. A folder that had stepped aside for a new one goes back where the new one has not
    come, and is removed where it has.

    Args:
      folder: where to look, not below it; it need not be there.
      names: of the files and folders written there, files without their last extension; None for any. Other hidden
        names stay.

    Returns:
      The folders that were put back.

    Raises:
      UserError: the file system refuses.
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
    """Renames `fresh` to `folder`; a former `folder` steps aside first and is removed after."""
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
    """Returns when all files below a folder, and their names, are on the disk."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            _write_through(pathlib.Path(parent, name))
        _write_entries_through(pathlib.Path(parent))


def _write_through(path: pathlib.Path) -> None:
    """Returns when a file's content is on the disk; a write that the disk has no room for may be told only here."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))  # Windows syncs no file that is open to read
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_entries_through(folder: pathlib.Path) -> None:
    """Returns when a folder's names are on the disk, where the system can be asked for that."""
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
