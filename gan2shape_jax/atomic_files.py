"""Folders that appear whole or not at all.

A results folder is written beside its final place under a hidden name and renamed into it, so that
an interrupted run leaves either the old contents, the new contents or nothing, never a mixture.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator

from gan2shape_jax.errors import refused

__all__ = ["atomic_folder", "atomic_text"]


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields an empty folder to fill; on success it takes the place of `folder`.

    An error inside the block, a full disk included, removes what was written and leaves the former
    `folder` untouched. Raises `UserError` when the file system refuses.
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


def atomic_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file by renaming a finished one; raises `UserError` where it cannot."""
    path = pathlib.Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")  # other hosts may be writing the same file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise refused(error, f"cannot write {path}") from error
