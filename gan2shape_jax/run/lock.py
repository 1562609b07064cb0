"""Locks of folders: one process is at work in one, or the first of hosts that train together.

FOLDER/.lock        locked by a process while it is at work
FOLDER/.lock.json   who that is: host, process, since when
FOLDER/.host-N      host N of a run has found the folder

The system releases a lock when its process ends, however that happens; over NFS it holds between machines.
"""

import contextlib
import datetime
import functools
import json
import os
import pathlib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from gan2shape_jax.errors import FatalRunError, UserError, io_error
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.io.output_folders import MARKER, RUN, mark, require_output_folder


@contextlib.contextmanager
def hold(
    folder: pathlib.Path, kind: str = RUN, *, option: str = "the folder", run: str = ""
) -> Iterator[Callable[[], None]]:
    """Locks and marks a folder until the block is left; leaves neither, nor a new folder, if nothing was put there.

    `kind` is one of `io.output_folders`, or "" for a part of a folder that is marked itself; `option` names it in
    messages, `run` is for `meet`.
    Yields a function that raises `FatalRunError` if the folder was removed, or if another run has taken it over.
    Raises `UserError`: the folder is another's, or another run is at work in it, and nothing in it was changed; or it
    cannot be written to.
    """
    from filelock import FileLock  # here, as it comes with the extra `photo`; first, as nothing is made without it

    if kind:
        require_output_folder(folder, kind, option)
    note, existed, lock, marked = folder / ".lock.json", folder.exists(), None, False
    before = {path.name for path in folder.iterdir()} if existed else set()
    since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    this = {"host": socket.gethostname(), "process": os.getpid(), "since": since, "run": run, "token": uuid.uuid4().hex}
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marked = bool(kind) and mark(folder, kind)
            try:
                lock = FileLock(folder / ".lock", timeout=0).acquire().lock
            except TimeoutError:
                who = {"process": "?", "host": "?", "since": "?"} | _read(note)
                raise UserError(
                    "another run uses {}: process {process} on {host}, since {since}; wait for its end or stop it, or "
                    "name another folder (config.workdir, config.checkpoint.folder)".format(folder, **who)
                ) from None
            atomic_text(note, json.dumps(this) + "\n")
        except OSError as error:
            raise io_error(error, f"cannot lock {folder} for this run") from error
        yield functools.partial(_require, folder, note, this)
    finally:
        with contextlib.suppress(OSError):
            if _read(note) == this:
                note.unlink()
            if lock:
                lock.release()
            own = {name for name, is_own in ((".lock", lock), (MARKER, marked)) if is_own}
            if own and {path.name for path in folder.iterdir()} - own == before:
                for left in own:
                    (folder / left).unlink(missing_ok=True)
                if not existed:
                    folder.rmdir()


def meet(folder: pathlib.Path, run: str, index: int, count: int, timeout_s: int) -> Callable[[], None]:
    """Waits until all hosts of a run are there, of which host 0 has locked its folder; returns what `hold` yields.

    `run` is what hosts of one run have in common. Each answers the note of host 0, which takes the answers away once
    all are there. Raises `UserError`: others have not come, or have another run.
    """
    note, deadline = folder / ".lock.json", time.monotonic() + timeout_s
    answers = {other: folder / f".host-{other}" for other in range(1, count)}
    answered = ""

    def missing() -> list[int]:
        nonlocal answered
        who = _read(note)
        if not index:
            return [n for n, path in answers.items() if not path.is_file() or path.read_text() != who["token"]]
        if who.get("run") != run:
            return [0]
        if answered != who["token"]:  # again where that was the note of a start that was killed
            answered = who["token"]
            atomic_text(answers[index], answered)
        return [0] if answers[index].exists() else []

    while absent := missing():
        if time.monotonic() > deadline:
            raise UserError(
                f"host {', '.join(map(str, absent))} of {count} did not appear in {folder} within {timeout_s} s: start "
                "all hosts at the same time, with the same command and image list, in one folder that all share (NFS, "
                "Lustre, Filestore, ...); config.runtime.hosts_timeout_s says how long to wait"
            )
        time.sleep(0.05)
    for path in answers.values() if not index else ():
        path.unlink()
    return functools.partial(_require, folder, note, _read(note))


def _require(folder: pathlib.Path, note: pathlib.Path, held: dict[str, Any]) -> None:
    if _read(note) != held:
        raise FatalRunError(
            f"{folder} was removed, or taken over by another run, during the run: nothing more "
            "can be written there; start the same command again"
        )


def _read(note: pathlib.Path) -> dict[str, Any]:
    """Returns a note's content; {} if there is none."""
    try:
        return dict(json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
