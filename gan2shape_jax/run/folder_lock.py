"""One folder, one run: a second start learns which run is at work in a folder, and changes nothing.

    FOLDER/.lock         locked by the run's first host while it is at work; `.lock-N` by its N-th host
    FOLDER/.lock.json    which run this is: host, process, since when; `.lock-N.json` likewise

The system releases a lock when its process ends, however that happens; over NFS it holds between machines. Object
storage locks nothing: there the last start takes over, and an earlier one that is still at work finds that out by its
note and ends.
"""

from __future__ import annotations

import contextlib
import datetime
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


@contextlib.contextmanager
def hold(folder: pathlib.PurePath, *, index: int = 0) -> Iterator[Callable[[], None]]:
    """Locks a folder until the block is left; creates it if missing, and removes it again if nothing was put there.

    Args:
      folder: local, or in object storage as an `epath.Path`.
      index: this host's number among the hosts of the run.

    Yields:
      A function that raises `FolderGoneError` if the folder was removed, or if another run has taken it over.

    Raises:
      UserError: another run is at work in the folder, and nothing in it was changed; or it cannot be written to.
    """
    place, name = epath.Path(folder), f".lock-{index}" if index else ".lock"
    note, lock, fresh = place / f"{name}.json", None, not place.exists()
    since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    this = {"host": socket.gethostname(), "process": os.getpid(), "since": since, "token": uuid.uuid4().hex}

    def require() -> None:
        if _read(note) != this:
            raise FolderGoneError(
                f"{folder} was removed, or another run has taken it over, while the run was going on: nothing more "
                "can be written there; start the same command again"
            )

    try:
        try:
            place.mkdir(parents=True, exist_ok=True)
            if isinstance(folder, pathlib.Path):
                lock = _locked(folder / name, folder)
                # A host of an earlier start may still be at work although its first host has ended.
                for other in folder.glob(".lock-*") if not index else ():
                    if other.suffix != ".json":
                        _locked(other, folder).release()
            elif who := _read(note):
                print(
                    f"warning: object storage locks nothing, and {_named(who)} was at work in {folder}: this run takes "
                    "over, and that one ends if it still is",
                    file=sys.stderr,
                )
            note.write_text(json.dumps(this) + "\n")
        except OSError as error:
            raise refused(error, f"cannot lock {folder} for this run") from error
        yield require
    finally:
        with contextlib.suppress(OSError):
            if _read(note) == this:
                note.unlink()
            if lock:
                lock.release()
            if lock and fresh and [path.name for path in place.iterdir()] in ([name], []):
                (place / name).unlink(missing_ok=True)
                place.rmdir()


def _locked(file: pathlib.Path, folder: pathlib.Path) -> filelock.BaseFileLock:
    """Returns the lock on a file, acquired; raises `UserError` if another process has it."""
    lock = filelock.FileLock(file, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        who = _named(_read(epath.Path(f"{file}.json")))
        raise UserError(
            f"another run is at work in {folder}: {who}; wait for its end or stop it, or name another folder "
            "(config.workdir, config.checkpoint.folder)"
        ) from None
    return lock


def _named(who: dict[str, Any]) -> str:
    return f"process {who.get('process', '?')} on {who.get('host', '?')}, since {who.get('since', '?')}"


def _read(note: epath.Path) -> dict[str, Any]:
    """Returns a note's content; {} if there is none."""
    try:
        return dict(json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
