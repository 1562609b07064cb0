"""The start of a run: its hosts lock its folder, and see what earlier starts have left to do.

Each host's share is that of its number, whatever is finished, so hosts agree without asking each other; only those that
train together wait until all are there. A lost host's images are resumed at the next start, from their checkpoints, by
however many hosts there are then.

    WORKDIR/.hosts/failures-N-of-M.json   the images that failed when host N of M last ran
    FOLDER/.lock                          locked by a run's only host while it is at work; `.lock-N-of-M` by one of M
    FOLDER/.lock.json                     which run this is: host, process, since when; `.lock-N-of-M.json` likewise

The system releases a lock when its process ends, however that happens; over NFS it holds between machines. Object
storage locks nothing: there the last start takes over, and an earlier one that is still at work finds that out by its
note and ends.
"""

import collections
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import os
import pathlib
import socket
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from gan2shape_jax.config import flatten, to_json
from gan2shape_jax.errors import RunEndingError, UserError, refused
from gan2shape_jax.io.files import atomic_text, clear_leftovers, set_aside
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.io.output_folders import CHECKPOINTS, MARKER, RUN, mark, require_output_folder
from gan2shape_jax.results import examine
from gan2shape_jax.run import hosts
from gan2shape_jax.run.folder import RunFolder, config_hash, is_result, is_trained
from gan2shape_jax.training import groups

_GLANCE_S = 2.0  # how long a lock may be held only to see whether it is held
_OWN = {"workdir", "runtime.compilation_cache"}  # fields that may differ between hosts: paths on the machine itself


@dataclasses.dataclass(frozen=True)
class Start:
    """A run that has locked its folder."""

    folder: RunFolder  # the run's folder, without the temporary files of earlier starts
    # This host's share, as image names, finished ones too: groups that are trained together, and single images.
    work_items: list[list[str]]
    trained: bool  # whether joint training is done


@contextlib.contextmanager
def begin(config: ConfigDict, names: Sequence[str], *, stay: bool = False) -> Iterator[Start]:
    """Locks the run's folder until the block is left; must precede the first computation.

    `names` are those in the image list. With `stay`, several hosts wait for each other and are connected, to compute
    together. Raises `UserError`: another run has the folder, it belongs to another configuration, or a host is missing.
    """
    several, timeout_s = config.runtime.hosts == "auto", config.runtime.hosts_timeout_s
    team = hosts.team_of(os.environ) if several else hosts.ALONE
    connected = stay and several and team.count == 1
    if connected:
        team = hosts.of_slice(timeout_s)
    if team.count > 1 and config.mode == "instance" and not config.schedule.reset_weight:
        raise UserError(
            "config.schedule.reset_weight is False: each image starts from the networks of the previous "
            "one, which several hosts cannot do; set it to True, or config.runtime.hosts='one'"
        )
    with contextlib.ExitStack() as stack:
        requires = _lock(stack, config, names, team)
        found = _unfinished(config, names, team)
        if stay and team.count > 1:
            _await(pathlib.Path(config.workdir), team, timeout_s)
            if not connected:
                hosts.connect(team, timeout_s)
        folder = dataclasses.replace(RunFolder.at(config), team=team, requires=requires)
        trained = config.mode in ("joint", "lift") and is_trained(folder.root)
        try:
            yield Start(folder, found, trained)
        except Exception:
            folder.require()  # if the folder was taken away, that is the reason
            raise


def _lock(
    stack: contextlib.ExitStack, config: ConfigDict, names: Sequence[str], team: hosts.Team
) -> tuple[Callable[[], None], ...]:
    """Locks the run's folder and its checkpoint folder, which another run might also use."""
    folder, fields = RunFolder.at(config), flatten(json.loads(to_json(config)))
    command = json.dumps([sorted((path, fields[path]) for path in fields.keys() - _OWN), list(names)])
    run = hashlib.sha256(command.encode()).hexdigest()[:16]
    places = {_real(folder.root): (folder.root, RUN)}
    if config.mode != "predict":  # a folder inside the run's own is the run's
        kind = CHECKPOINTS if folder.checkpoint_folder else ""
        places.setdefault(_real(folder.checkpoint_root), (folder.checkpoint_root, kind))
    return tuple(stack.enter_context(hold(place, kind, team=team, run=run)) for place, kind in places.values())


def _await(root: pathlib.Path, team: hosts.Team, timeout_s: int) -> None:
    """Waits until all hosts of the run have locked its folder; raises `UserError` naming those that have not."""

    def missing() -> list[int]:
        return [index for index in range(team.count) if index != team.index and not is_there(index)]

    def is_there(index: int) -> bool:
        path = root / f".lock{hosts.Team(index, team.count).suffix}"
        return path.exists() and _is_locked(path)

    if not hosts.wait_for(lambda: not missing(), timeout_s):
        raise UserError(
            f"host {', '.join(map(str, missing()))} of {team.count} did not appear in {root} within {timeout_s} s: "
            "start all hosts at the same time, with the same command, in one folder that all share (NFS, Lustre, "
            "Filestore, ...); config.runtime.hosts_timeout_s says how long to wait, config.runtime.hosts='one' not to "
            "look for others"
        )


def _real(folder: pathlib.PurePath) -> str:
    return os.path.realpath(folder) if isinstance(folder, pathlib.Path) else str(folder)


def _unfinished(config: ConfigDict, names: Sequence[str], team: hosts.Team = hosts.ALONE) -> list[list[str]]:
    """Returns this host's share of the images, in the groups that earlier starts began; tidies what these left behind.

    Incomplete results are set aside. Raises `UserError`: some were made with another configuration.
    """
    folder = RunFolder.at(config)
    together = groups.unfinished(folder.root, names) if config.mode == "instance" else []
    grouped = {name for group in together for name in group}
    units = together + [[name] for name in names if name not in grouped]
    number = {name: index for index, name in enumerate(names)}
    share = [unit for unit in units if number[unit[0]] % team.count == team.index]
    stems = [stem_of(name) for unit in share for name in unit]
    own = collections.defaultdict[pathlib.Path, set[str]](set)
    for path in (place / stem for stem in stems for place in (folder.result(""), folder.latents)):
        own[path.parent].add(path.name)
    for place, of in own.items() if team.count > 1 else ():  # other hosts may be writing there
        clear_leftovers(place, of=of)
    for place in (folder.root, folder.root / ".hosts", *own) if team.count == 1 else ():
        clear_leftovers(place)
    for stem in stems:
        result = folder.result(stem)
        try:
            made_with = examine(result) if is_result(result) else {}
        except UserError as error:
            set_aside(result, f"it is incomplete: {error}; the image is reconstructed again")
            continue
        if made_with.get("configuration") not in (None, config_hash(config)):
            raise UserError(
                f"{result} was made with another configuration; choose another --config.workdir or move "
                "that folder away"
            )
    return share


@contextlib.contextmanager
def hold(
    folder: pathlib.PurePath, kind: str = RUN, *, team: hosts.Team = hosts.ALONE, run: str = ""
) -> Iterator[Callable[[], None]]:
    """Locks and marks a folder until the block is left; leaves neither, nor a new folder, if nothing was put there.

    The folder is local, or in object storage as an `epath.Path`; `kind` is one of `io.output_folders`, or "" for a part
    of a folder that is marked itself. Hosts of one team and one `run` hold a folder at the same time.
    Yields a function that raises `RunEndingError` if the folder was removed, or if another run has taken it over.
    Raises `UserError`: the folder is another's, or another run is at work in it, and nothing in it was changed; or it
    cannot be written to.
    """
    from filelock import FileLock  # here, as it comes with the extra `photo`; first, as nothing is made without it

    place, name, marked = epath.Path(folder), f".lock{team.suffix}", False
    if kind and isinstance(folder, pathlib.Path):
        require_output_folder(folder, kind, "the folder")
    note, lock, existed = place / f"{name}.json", None, place.exists()
    before = {path.name for path in place.iterdir()} if existed and isinstance(folder, pathlib.Path) else set()
    since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    this = {"host": socket.gethostname(), "process": os.getpid(), "since": since, "run": run, "token": uuid.uuid4().hex}

    def require() -> None:
        if _read(note) != this:
            raise RunEndingError(
                f"{folder} was removed, or taken over by another run, during the run: nothing more "
                "can be written there; start the same command again"
            )

    try:
        try:
            place.mkdir(parents=True, exist_ok=True)
            if isinstance(folder, pathlib.Path):
                marked = bool(kind) and mark(folder, kind)
                try:  # another host may be looking at it
                    lock = FileLock(folder / name, timeout=_GLANCE_S if team.count > 1 else 0).acquire().lock
                except TimeoutError:
                    raise _in_use(folder, _read(note)) from None
            elif who := _read(note):
                print(
                    f"warning: object storage has no locks, and {_named(who)} was using {folder}: this run takes "
                    "over, and the other one stops if it is still running",
                    file=sys.stderr,
                )
            text = json.dumps(this) + "\n"
            atomic_text(folder / note.name, text) if isinstance(folder, pathlib.Path) else note.write_text(text)
            if lock:
                _require_own(folder, name, team, run)
        except OSError as error:
            raise refused(error, f"cannot lock {folder} for this run") from error
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


def _is_locked(path: pathlib.Path) -> bool:
    """Returns whether a process has the lock on a file that exists."""
    from filelock import FileLock

    try:
        FileLock(path, timeout=0).acquire().lock.release()
    except TimeoutError:
        return True
    return False


def _require_own(folder: pathlib.Path, name: str, team: hosts.Team, run: str) -> None:
    """Raises `UserError` if a process that is no host of this run is at work in the folder.

    Each host has locked and noted before it looks, so of two that start together one at least sees the other.
    """
    of_team = [f".lock{hosts.Team(index, team.count).suffix}" for index in range(team.count)]

    def is_ours(path: pathlib.Path) -> bool:  # which may not yet have noted, or replaced the note of a killed one
        return path.name in of_team and _read(epath.Path(f"{path}.json")).get("run", run) == run

    for path in sorted(folder.glob(".lock*")):
        if path.suffix != ".json" and path.name != name and _is_locked(path):
            sibling = path.name in of_team
            if not hosts.wait_for(functools.partial(is_ours, path), _GLANCE_S if sibling else 0.0):
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
