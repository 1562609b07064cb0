"""Locks of folders: one process is at work in one, or all hosts of a run.

FOLDER/.lock        locked by a run's only host while it is at work; `.lock-N-of-M` by one of M
FOLDER/.lock.json   who that is: host, process, since when; `.lock-N-of-M.json` likewise

The system releases a lock when its process ends, however that happens; over NFS it holds between machines. Object
storage locks nothing: there the last start takes over, and an earlier one that is still at work finds that out by its
note and ends.
"""

import contextlib
import datetime
import functools
import json
import os
import pathlib
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from gan2shape_jax.errors import FatalRunError, UserError, io_error
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.io.output_folders import MARKER, RUN, mark, require_output_folder
from gan2shape_jax.run.hosts import ALONE, Team, wait_for

_GLANCE_S = 2.0  # how long a lock may be held only to see whether it is held


@contextlib.contextmanager
def hold(
    folder: pathlib.PurePath, kind: str = RUN, *, option: str = "the folder", team: Team = ALONE, run: str = ""
) -> Iterator[Callable[[], None]]:
    """Locks and marks a folder until the block is left; leaves neither, nor a new folder, if nothing was put there.

    The folder is local, or in object storage as an `epath.Path`; `kind` is one of `io.output_folders`, or "" for a part
    of a folder that is marked itself; `option` names it in messages. Hosts of one team and one `run` hold a folder at
    the same time.
    Yields a function that raises `FatalRunError` if the folder was removed, or if another run has taken it over.
    Raises `UserError`: the folder is another's, or another run is at work in it, and nothing in it was changed; or it
    cannot be written to.
    """
    from filelock import FileLock  # here, as it comes with the extra `photo`; first, as nothing is made without it

    local = folder if isinstance(folder, pathlib.Path) else None
    if kind and local:
        require_output_folder(local, kind, option)
    place, name, lock, marked = epath.Path(folder), f".lock{team.suffix}", None, False
    note, existed = place / f"{name}.json", place.exists()
    before = {path.name for path in place.iterdir()} if existed and local else set()
    since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    this = {"host": socket.gethostname(), "process": os.getpid(), "since": since, "run": run, "token": uuid.uuid4().hex}

    def require() -> None:
        if _read(note) != this:
            raise FatalRunError(
                f"{folder} was removed, or taken over by another run, during the run: nothing more "
                "can be written there; start the same command again"
            )

    try:
        try:
            place.mkdir(parents=True, exist_ok=True)
            if local:
                marked = bool(kind) and mark(local, kind)
                try:  # another host may be looking at it
                    lock = FileLock(local / name, timeout=_GLANCE_S if team.count > 1 else 0).acquire().lock
                except TimeoutError:
                    raise _in_use(local, _read(note)) from None
                atomic_text(local / note.name, json.dumps(this) + "\n")
                _require_own(local, name, team, run)
            else:
                if who := _read(note):
                    print(
                        f"warning: object storage has no locks, and {_named(who)} was using {folder}: this run takes "
                        "over, and the other one stops if it is still running",
                        file=sys.stderr,
                    )
                note.write_text(json.dumps(this) + "\n")
        except OSError as error:
            raise io_error(error, f"cannot lock {folder} for this run") from error
        yield require
    finally:
        with contextlib.suppress(OSError):
            if _read(note) == this:
                note.unlink()
            if lock:
                lock.release()
            own = {name for name, is_own in ((name, lock), (MARKER, marked)) if is_own}
            if own and {path.name for path in place.iterdir()} - own == before:
                for left in own:
                    (place / left).unlink(missing_ok=True)
                if not existed:
                    place.rmdir()


def wait_for_hosts(folder: pathlib.Path, team: Team, timeout_s: int) -> None:
    """Waits until all hosts of a run have locked its folder; raises `UserError` naming those that have not."""

    def missing() -> list[int]:
        others = {index: folder / f".lock{Team(index, team.count).suffix}" for index in range(team.count)}
        del others[team.index]
        return [index for index, path in others.items() if not (path.exists() and _is_locked(path))]

    if not wait_for(lambda: not missing(), timeout_s):
        raise UserError(
            f"host {', '.join(map(str, missing()))} of {team.count} did not appear in {folder} within {timeout_s} s: "
            "start all hosts at the same time, with the same command, in one folder that all share (NFS, Lustre, "
            "Filestore, ...); config.runtime.hosts_timeout_s says how long to wait, config.runtime.hosts='one' not to "
            "look for others"
        )


def _is_locked(path: pathlib.Path) -> bool:
    """Returns whether a process has the lock on a file that exists."""
    from filelock import FileLock

    try:
        FileLock(path, timeout=0).acquire().lock.release()
    except TimeoutError:
        return True
    return False


def _require_own(folder: pathlib.Path, name: str, team: Team, run: str) -> None:
    """Raises `UserError` if a process that is no host of this run is at work in the folder.

    Each host has locked and noted before it looks, so of two that start together one at least sees the other.
    """
    of_team = [f".lock{Team(index, team.count).suffix}" for index in range(team.count)]

    def is_ours(path: pathlib.Path) -> bool:  # which may not yet have noted, or replaced the note of a killed one
        return path.name in of_team and _read(epath.Path(f"{path}.json")).get("run", run) == run

    for path in sorted(folder.glob(".lock*")):
        if path.suffix != ".json" and path.name != name and _is_locked(path):
            sibling = path.name in of_team
            if not wait_for(functools.partial(is_ours, path), _GLANCE_S if sibling else 0.0):
                raise _in_use(folder, _read(epath.Path(f"{path}.json")), sibling)


def _in_use(folder: pathlib.Path, who: dict[str, Any], of_team: bool = False) -> UserError:
    same = "start all hosts of a run with the same command and image list, or " if of_team else ""
    return UserError(
        f"another run uses {folder}: {_named(who)}; {same}wait for its end or stop it, or name another folder "
        "(config.workdir, config.checkpoint.folder)"
    )


def _named(who: dict[str, Any]) -> str:
    return f"process {who.get('process', '?')} on {who.get('host', '?')}, since {who.get('since', '?')}"


def _read(note: epath.Path) -> dict[str, Any]:
    """Returns a note's content; {} if there is none."""
    try:
        return dict(json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
