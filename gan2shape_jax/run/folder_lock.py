"""One folder, one run: a second start learns which run is at work in a folder, and changes nothing.

    FOLDER/.lock         locked by the run's first host while it is at work; `.lock-N` by its N-th host
    FOLDER/.lock.json    which run this is: host, process, since when; `.lock-N.json` likewise

The system releases a lock when its process ends, however that happens; over NFS it holds between machines. Object
storage and some file systems lock nothing: there the last start takes over, and an earlier one that is still at work
finds that out by its note and ends.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import pathlib
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import filelock
from etils import epath

from gan2shape_jax.errors import FolderGoneError, UserError, refused

__all__ = ["hold", "locked"]

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def locked(file: pathlib.Path) -> filelock.BaseFileLock | None:
    """Returns the lock on a file, to be released by `.release()`; None if another process has it.

    Raises:
      NotImplementedError: the file system locks no files.
      OSError: the file cannot be created.
    """
    lock = filelock.FileLock(file, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NotImplementedError(error.strerror) from error
        raise
    return lock


@contextlib.contextmanager
def hold(folder: pathlib.PurePath, *, index: int = 0) -> Iterator[Callable[[], None]]:
    """Holds a folder until the block is left; creates it if missing, and removes it again if nothing was put there.

    Args:
      folder: local, or in object storage as an `epath.Path`.
      index: this host's number among the hosts of the run.

    Yields:
      A function that raises `FolderGoneError` if the folder was removed, or if another run has taken it over.

    Raises:
      UserError: another run is at work in the folder, and nothing in it was changed; or it cannot be written to.
    """
    place, name = epath.Path(folder), f".lock-{index}" if index else ".lock"
    note = place / f"{name}.json"
    this = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "token": uuid.uuid4().hex,
    }

    def require() -> None:
        if _read(note) != this:
            raise FolderGoneError(
                f"{folder} was removed, or another run has taken it over, while the run was going on: nothing more "
                "can be written there; start the same command again"
            )

    fresh, lock = not place.exists(), None
    try:
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = _taken(folder, name, note)
            if lock and not index:
                _require_no_other_host(pathlib.Path(folder))
            note.write_text(json.dumps(this) + "\n")
        except OSError as error:
            raise refused(error, f"cannot hold {folder} for this run") from error
        yield require
    finally:
        with contextlib.suppress(OSError):
            if _read(note) == this:
                note.unlink()
            if lock:
                lock.release()
            if lock and fresh and [path.name for path in place.iterdir()] == [name]:
                (place / name).unlink()
                place.rmdir()


def _taken(folder: pathlib.PurePath, name: str, note: epath.Path) -> filelock.BaseFileLock | None:
    """Returns the lock on a folder; None where nothing can be locked, after saying whose note is replaced."""
    try:
        if not isinstance(folder, pathlib.Path):
            raise NotImplementedError("object storage")
        lock = locked(folder / name)
    except NotImplementedError as reason:
        if who := _read(note):
            print(
                f"warning: {folder} locks no files ({reason}), and {_named(who)} was at work there: this run takes "
                "over, and that one ends if it still is",
                file=sys.stderr,
            )
        return None
    if lock is None:
        raise _busy(folder, note)
    return lock


def _require_no_other_host(folder: pathlib.Path) -> None:
    """Raises `UserError` if a host of an earlier start is still at work, although its first host has ended."""
    for file in folder.glob(".lock-*"):
        if file.suffix == ".json":
            continue
        lock = locked(file)
        if lock is None:
            raise _busy(folder, epath.Path(f"{file}.json"))
        lock.release()


def _busy(folder: pathlib.PurePath, note: epath.Path) -> UserError:
    return UserError(
        f"another run is at work in {folder}: {_named(_read(note))}; wait for its end or stop it, or name another "
        "folder (config.workdir, config.checkpoint.folder)"
    )


def _named(who: dict[str, Any]) -> str:
    if not who:
        return "a process that does not say which"
    return f"process {who.get('process')} on {who.get('host')}, since {who.get('since')}"


def _read(note: epath.Path) -> dict[str, Any]:
    """Returns a note's content; {} if there is none."""
    try:
        content = json.loads(note.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
