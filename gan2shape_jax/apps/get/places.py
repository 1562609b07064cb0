"""Where published checkpoints are kept: in the user's cache folder, beside the compiled programs.

CACHE/gan2shape_jax/weights/
  NAME/               the files made from a checkpoint; record.json, which is written last, lists them
  downloads/          what is being downloaded, or is kept
  unpacked/ARCHIVE/   files of an archive that serves several names
  .lock               held by the process that modifies any of this
"""

import contextlib
import json
import pathlib
from collections.abc import Iterator

import platformdirs

from gan2shape_jax.apps.get.records import Entry
from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.io import json_files
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.writable import folder_fault
from gan2shape_jax.run.kernel_lock import KernelLock, NotSupported

__all__ = ["default_folder", "found", "held", "record"]

_RECORD = "record.json"


def default_folder() -> pathlib.Path:
    """Returns the folder of this user's published checkpoints."""
    return platformdirs.user_cache_path("gan2shape_jax", appauthor=False) / "weights"


def found(entry: Entry, folder: pathlib.Path) -> dict[str, pathlib.Path] | None:
    """Returns the files of a checkpoint by the fields that they are for; None unless all of them exist."""
    place = folder / entry.name
    try:
        sizes = json_files.read_object(place / _RECORD, "the record of a checkpoint").get("sizes")
    except (FileNotFoundError, UserError):
        return None
    files = {given.field: place / given.file for given in entry.gives}
    whole = isinstance(sizes, dict) and all(
        path.is_file() and path.stat().st_size == sizes.get(path.name) for path in files.values()
    )
    return files if whole else None


def record(entry: Entry, folder: pathlib.Path, hashes: dict[str, str]) -> None:
    """Records that a checkpoint is complete.

    Args:
      entry: the checkpoint, whose files exist.
      folder: of all checkpoints.
      hashes: SHA-256 of what the files were made from, by name.

    Raises:
      UserError: the file system refuses.
    """
    place = folder / entry.name
    sizes = {given.file: (place / given.file).stat().st_size for given in entry.gives}
    licence = {"title": entry.licence.title, "url": entry.licence.url}
    content = {"name": entry.name, "licence": licence, "made_of": hashes, "sizes": sizes}
    atomic_text(place / _RECORD, json.dumps(content, indent=1, ensure_ascii=True) + "\n")


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Creates a folder if it is missing, and keeps other processes from changing it.

    Raises:
      UserError: another process holds it, or it is not writable.
    """
    if fault := folder_fault(folder):
        raise UserError(f"{folder} {fault}, or name a folder with --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock_of(folder)
        with lock if lock is not None else contextlib.nullcontext():
            yield
    except OSError as error:
        raise refused(error, f"cannot write below {folder} (--folder names another)") from error


def _lock_of(folder: pathlib.Path) -> contextlib.AbstractContextManager[object] | None:
    """Returns a folder's lock, acquired; None if the file system has no locks (files are still written atomically)."""
    try:
        lock = KernelLock.take(folder / ".lock")
    except NotSupported:
        return None
    if lock is None:
        raise UserError(f"another process is getting a checkpoint in {folder}: wait for it, or name another --folder")
    stack = contextlib.ExitStack()
    stack.callback(lock.release)
    return stack
