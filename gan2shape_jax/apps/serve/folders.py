"""The folder of a running server: private, held by a lock, and removed at its end or, after a crash, by the next start.

CACHE/gan2shape_jax/apps/serve/
  NAME.lock        held by the server that owns the folder
  NAME/uploads/    photos as they come in
  NAME/visits/     a folder for each visitor
"""

import contextlib
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator

from filelock import BaseFileLock

from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.run.folder_lock import locked

__all__ = ["default_root", "held_folder", "stored_bytes"]


def default_root() -> pathlib.Path:
    """Returns where this user's servers keep their folders."""
    return cache("serving")


@contextlib.contextmanager
def held_folder(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder, which is removed with its contents at the end of the block; cleans up after crashed servers.

    Args:
      root: of all servers' folders.

    Raises:
      UserError: the file system refuses, or does not support locks.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_left(root)
        name, lock = _named(root)
    except NotImplementedError:
        raise UserError(
            f"the file system of {root} locks no files: name another folder for caches (XDG_CACHE_HOME)"
        ) from None
    except OSError as error:
        raise refused(error, f"{root} cannot hold the server's files") from error
    folder = root / name
    try:
        folder.mkdir(mode=0o700)
        for inside in ("uploads", "visits"):
            (folder / inside).mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        (root / f"{name}.lock").unlink(missing_ok=True)


def stored_bytes(folder: pathlib.Path) -> int:
    """Returns the total size of all files below a folder; files that vanish meanwhile are not counted."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _named(root: pathlib.Path) -> tuple[str, BaseFileLock]:
    while True:
        name = secrets.token_hex(8)
        lock = locked(root / f"{name}.lock")
        if lock is not None:  # otherwise another server's cleanup took it first
            return name, lock


def _remove_left(root: pathlib.Path) -> None:
    """Removes folders whose servers have ended; the system released their locks, however they ended."""
    for file in root.glob("*.lock"):
        lock = locked(file)
        if lock is None:
            continue
        shutil.rmtree(file.with_suffix(""), ignore_errors=True)
        file.unlink(missing_ok=True)
        lock.release()
