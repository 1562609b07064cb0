"""Files and folders that appear whole or not at all.

Both are written beside their final place under a hidden name and renamed into it, so that an interrupted
or failed write leaves either the former contents, the new contents or nothing, never a mixture. Several
hosts may write the same file: the last one to finish wins.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator

from gan2shape_jax.errors import refused

__all__ = ["atomic_bytes", "atomic_file", "atomic_folder", "atomic_text"]


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
        part.replace(path)
    except OSError as error:
        raise refused(error, f"cannot write {path}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def atomic_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 text file and the folders above it; raises `UserError` where the file system refuses."""
    atomic_file(path, lambda part: part.write_text(text, encoding="utf-8"), parents=True)


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
        _swap(fresh, folder)
    except OSError as error:
        raise refused(error, f"cannot write results to {folder} (nothing there was changed)") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
