"""One folder, one run: a run holds its folders while it lasts, and a second start is told which run holds them.

    FOLDER/.lock     locked by the run's first host; says who holds the folder
    FOLDER/.lock-N   locked by its N-th host, which may outlive the first

Where the file system does not support file locks, a file that is renewed every few seconds serves as a lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from gan2shape_jax.errors import FolderGoneError, UserError, refused
from gan2shape_jax.io.regular_files import read_text
from gan2shape_jax.io.set_aside import to_stderr
from gan2shape_jax.run.distributed import ALONE, Host
from gan2shape_jax.run.heartbeat import INTERVAL_S, Heartbeat
from gan2shape_jax.run.kernel_lock import KernelLock, NotSupported

__all__ = ["Held", "hold", "holder"]

_FILE = ".lock"
_LARGEST = 1 << 16
# Network file systems show other hosts' writes only after a while.
_PATIENCE_S = 30.0
# Time for the first host to examine what earlier starts have left, before it lets the others in.
_TIDYING_S = 3600.0


@dataclasses.dataclass
class Held:
    """A folder that this process holds.

    Attributes:
      folder: local, or in object storage.
      lock: the lock on this host's file in it.
      who: the content of that file.
    """

    folder: pathlib.PurePath
    lock: KernelLock | Heartbeat
    who: dict[str, Any]

    def require(self) -> None:
        """Raises `FolderGoneError` if the folder was removed, or another process has taken it over."""
        if self.lock.in_place():
            return
        raise FolderGoneError(
            f"{self.folder} was removed, or another folder put in its place, while the run was going on: nothing more "
            "can be written there; start the same command again"
        )

    def let_in(self, *, problem: str = "") -> None:
        """Lets the other hosts of this start into the folder, or tells them why the run cannot continue."""
        self.who |= {"ready": True, "problem": problem}
        _say_who(self.lock, self.who)


@contextlib.contextmanager
def hold(
    folder: pathlib.PurePath, *, host: Host = ALONE, start: str = "", say: Callable[[str], None] = to_stderr
) -> Iterator[Held]:
    """Holds a folder until the block is left; creates it if missing.

    Args:
      folder: local, or in object storage as an `epath.Path`.
      host: this host of the run. All but the first wait until it lets them in (`Held.let_in`).
      start: identifies this start of several hosts.
      say: prints a line.

    Raises:
      UserError: another run holds the folder, and nothing in it was changed; or the folder cannot be written to.
    """
    made = not epath.Path(folder).exists()
    try:
        epath.Path(folder).mkdir(parents=True, exist_ok=True)
        if host.index:
            _wait_for_first(folder, start)
        held = _take(folder, _FILE if host.index == 0 else f"{_FILE}-{host.index}", start, say)
    except OSError as error:
        raise refused(error, f"cannot hold {folder} for this run") from error
    try:
        if host.index == 0:
            _require_no_other_host(folder, held)
        elif holder(folder).get("start") != start:  # the first host has died, and another run has taken over
            raise UserError(_busy(folder))
        yield held
    finally:
        _let_go(held, made)


def holder(folder: pathlib.PurePath) -> dict[str, Any]:
    """Returns what the folder says about who holds it, or last did; {} if it says nothing."""
    return _read(folder, _FILE)


def _take(folder: pathlib.PurePath, name: str, start: str, say: Callable[[str], None]) -> Held:
    who = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "start": start,
        "ready": False,
        "token": uuid.uuid4().hex,
    }
    lock: KernelLock | Heartbeat | None
    try:
        if not isinstance(folder, pathlib.Path):
            raise NotSupported("object storage")
        lock = KernelLock.take(folder / name)
    except NotSupported as reason:
        say(
            f"{folder} locks no files ({reason}): a file there that is renewed every {INTERVAL_S:g} s keeps other runs "
            "away; after a kill the next start watches it for half a minute"
        )
        lock = Heartbeat.take(epath.Path(folder) / f"{name}.beat", who, interval_s=INTERVAL_S)
    if lock is None:
        raise UserError(_busy(folder, name))
    _say_who(lock, who)
    return Held(folder, lock, who)


def _say_who(lock: KernelLock | Heartbeat, who: dict[str, Any]) -> None:
    try:
        lock.write((json.dumps(who) + "\n").encode()) if isinstance(lock, KernelLock) else lock.write(who)
    except OSError as error:
        raise refused(error, "cannot write who holds the run's folder") from error


def _let_go(held: Held, made: bool) -> None:
    """Releases a folder; removes it if it was created for the run and contains nothing else."""
    if isinstance(held.lock, Heartbeat):
        held.lock.release()
        return
    local = pathlib.Path(held.folder)
    with contextlib.suppress(OSError):
        made = made and held.lock.in_place() and [path.name for path in local.iterdir()] == [_FILE]
    held.lock.release(remove=made)
    if made:
        with contextlib.suppress(OSError):
            local.rmdir()


def _require_no_other_host(folder: pathlib.PurePath, held: Held) -> None:
    """Raises `UserError` if a host of an earlier start still holds its file, although its first host is gone."""
    if not isinstance(held.lock, KernelLock):
        return
    for path in pathlib.Path(folder).glob(f"{_FILE}-*"):
        if not _is_free(path):
            raise UserError(_busy(folder, path.name))


def _wait_for_first(folder: pathlib.PurePath, start: str) -> None:
    """Waits until the first host of this start has let the others in."""
    begin = time.monotonic()
    while not ((who := holder(folder)).get("start") == start and who.get("ready")):
        ours = who.get("start") == start
        if ours and isinstance(folder, pathlib.Path) and _is_free(folder / _FILE):
            raise UserError(f"the first host of this run has ended before it let the others into {folder}")
        if time.monotonic() - begin > (_TIDYING_S if ours else _PATIENCE_S):
            raise UserError(f"{_busy(folder)}; or the first host sees another folder, which all have to share")
        time.sleep(0.5 if ours else 0.05)
    if who.get("problem"):
        raise UserError(str(who["problem"]))


def _is_free(path: pathlib.Path) -> bool:
    """Returns whether no process holds a lock."""
    try:
        lock = KernelLock.take(path)
    except NotSupported:
        return False
    if lock is not None:
        lock.release()
    return lock is not None


def _busy(folder: pathlib.PurePath, name: str = _FILE) -> str:
    who = _read(folder, name)
    told = (
        f"process {who.get('process')} on {who.get('host')}, since {who.get('since')}"
        if who
        else "a process that does not say which"
    )
    return (
        f"another run is at work in {folder}: {told}; wait for its end or stop it, or name another folder "
        "(config.workdir, config.checkpoint.folder)"
    )


def _read(folder: pathlib.PurePath, name: str) -> dict[str, Any]:
    """Returns the content of a lock file, or of its substitute; {} if neither is readable."""
    for file in (name, f"{name}.beat"):
        try:
            if isinstance(folder, pathlib.Path):
                text = read_text(folder / file, limit=_LARGEST)
            else:
                text = (epath.Path(folder) / file).read_text()
            content = json.loads(text)
        except (OSError, ValueError, RecursionError, UserError):
            continue
        if isinstance(content, dict):
            return content
    return {}
