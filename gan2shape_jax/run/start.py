"""The start of a run: its hosts meet, lock its folder, and see what earlier starts have left to do.

Host 0 determines which images are unfinished, and all hosts use its list, so that they agree although each sees the
shared folder at a different moment. Nothing is reassigned later: a lost host's images are resumed at the next start,
from their checkpoints, by however many hosts there are then.

    WORKDIR/.hosts/failures-N.json   the images that have failed on host N since this start
    FOLDER/.lock                     locked by the run's first host while it is at work; `.lock-N` by its N-th host
    FOLDER/.lock.json                which run this is: host, process, since when; `.lock-N.json` likewise

The system releases a lock when its process ends, however that happens; over NFS it holds between machines. Object
storage locks nothing: there the last start takes over, and an earlier one that is still at work finds that out by its
note and ends.
"""

import contextlib
import dataclasses
import datetime
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
from gan2shape_jax.io.files import atomic_text, clear_leftovers
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.io.output_folders import CHECKPOINTS, MARKER, RUN, mark, require_output_folder
from gan2shape_jax.results import discard, examine
from gan2shape_jax.run import hosts
from gan2shape_jax.run.folder import RunFolder, config_hash, is_result, is_trained
from gan2shape_jax.training import groups

_OWN = {"workdir", "runtime.compilation_cache"}  # fields that may differ between hosts: paths on the machine itself


@dataclasses.dataclass(frozen=True)
class Start:
    """A run that has locked its folder."""

    folder: RunFolder  # the run's folder, without the temporary files of earlier starts
    # This host's share, as image names: groups that are trained together, and single images. With only one host this
    # includes the finished ones.
    work_items: list[list[str]]
    trained: bool  # whether joint training is done


@contextlib.contextmanager
def begin(config: ConfigDict, names: Sequence[str], *, stay: bool = False) -> Iterator[Start]:
    """Locks the run's folder until the block is left; must precede the first computation.

    `names` are those in the image list. With `stay`, several hosts stay connected to compute together; otherwise they
    disconnect at once. Raises `UserError`: another run has the folder, it belongs to another configuration, or the
    hosts do not find each other.
    """
    with contextlib.ExitStack() as stack:
        with hosts.connected(config, stay=stay) as (team, ask):
            fields = flatten(json.loads(to_json(config)))
            message: dict[str, Any] = {"config": {path: fields[path] for path in fields.keys() - _OWN}, "names": names}
            if team.leads:
                try:
                    requires = _lock(stack, config, team)
                    message["found"] = _unfinished(config, names)
                    message["start"] = _token(config)
                except UserError as error:
                    if team.count == 1:
                        raise
                    message["problem"] = str(error)
            answers = ask(message)
        hosts.require_same(answers)
        if problem := answers[0].get("problem"):
            raise UserError(problem)
        answer, team = answers[0]["found"], dataclasses.replace(team, start=answers[0]["start"])
        if not team.leads:
            ended = ".hosts/failures-0.json", "start"  # where host 0 has nothing to do and is gone already
            if not hosts.wait_for(lambda: team.start in (_token(config), _token(config, *ended))):
                raise UserError(
                    f"host {team.index} does not see the files of host 0 in {config.workdir}: it must be one "
                    "folder that all hosts share (NFS, Lustre, Filestore, ...)"
                )
            requires = _lock(stack, config, team)
        folder = dataclasses.replace(RunFolder.at(config), team=team, requires=requires)
        if team.count > 1 and config.mode == "instance" and not config.schedule.reset_weight:
            raise UserError(
                "config.schedule.reset_weight is False: each image starts from the networks of the previous "
                "one, which several hosts cannot do; set it to True, or config.runtime.hosts='one'"
            )
        # Shares are disjoint and differ by at most one unit.
        work_items = answer["units"] if team.count == 1 else answer["unfinished"][team.index :: team.count]
        try:
            yield Start(folder, work_items, answer["trained"])
        except Exception:
            folder.require()  # if the folder was taken away, that is the reason
            raise


def _lock(stack: contextlib.ExitStack, config: ConfigDict, team: hosts.Team) -> tuple[Callable[[], None], ...]:
    """Locks the run's folder and its checkpoint folder, which another run might also use."""
    folder = RunFolder.at(config)
    places = {_real(folder.root): (folder.root, RUN)}
    if config.mode != "predict":  # a folder inside the run's own is the run's
        kind = CHECKPOINTS if folder.checkpoint_folder else ""
        places.setdefault(_real(folder.checkpoint_root), (folder.checkpoint_root, kind))
    return tuple(stack.enter_context(hold(place, kind, index=team.index)) for place, kind in places.values())


def _real(folder: pathlib.PurePath) -> str:
    return os.path.realpath(folder) if isinstance(folder, pathlib.Path) else str(folder)


def _unfinished(config: ConfigDict, names: Sequence[str]) -> dict[str, Any]:
    """Returns what earlier starts have left to do, as JSON data; removes what they have left behind.

    Incomplete results no longer count as finished. Raises `UserError`: some were made with another configuration.
    """
    folder = RunFolder.at(config)
    stems = [stem_of(name) for name in names]
    inside = [path.parent for stem in stems for path in (folder.result(stem), folder.latents / stem)]
    for place in dict.fromkeys([folder.root, folder.root / ".hosts", *inside]):
        clear_leftovers(place)
    finished = set[str]()
    for name, stem in zip(names, stems):
        result = folder.result(stem)
        try:
            made_with = examine(result) if is_result(result) else None
        except UserError as error:
            print(f"warning: {result} is incomplete ({error}): the image is reconstructed again", file=sys.stderr)
            discard(result)
            continue
        if made_with is None:
            continue
        if made_with.get("configuration") not in (None, config_hash(config)):
            raise UserError(
                f"{result} was made with another configuration; choose another --config.workdir or move "
                "that folder away"
            )
        if folder.is_finished(stem):
            finished.add(name)
    together = groups.unfinished(folder.root, names) if config.mode == "instance" else []
    grouped = {name for group in together for name in group}
    work_items = together + [[name] for name in names if name not in grouped]
    return {
        "units": work_items,
        "unfinished": [unit for unit in work_items if not finished.issuperset(unit)],
        "trained": config.mode in ("joint", "lift") and is_trained(folder.root),
    }


def _token(config: ConfigDict, file: str = ".lock.json", key: str = "token") -> str:
    """Returns what identifies the run that has locked the folder; '' if it left no note."""
    return str(_read(epath.Path(config.workdir) / file).get(key, ""))


@contextlib.contextmanager
def hold(folder: pathlib.PurePath, kind: str = RUN, *, index: int = 0) -> Iterator[Callable[[], None]]:
    """Locks and marks a folder until the block is left; leaves neither, nor a new folder, if nothing was put there.

    The folder is local, or in object storage as an `epath.Path`; `kind` is one of `io.output_folders`, or "" for a part
    of a folder that is marked itself; `index` is this host's number among those of the run.
    Yields a function that raises `RunEndingError` if the folder was removed, or if another run has taken it over.
    Raises `UserError`: the folder is another's, or another run is at work in it, and nothing in it was changed; or it
    cannot be written to.
    """
    from filelock import FileLock  # here, as it comes with the extra `photo`; first, as nothing is made without it

    place, name, marked = epath.Path(folder), f".lock-{index}" if index else ".lock", False
    if kind and isinstance(folder, pathlib.Path):
        require_output_folder(folder, kind, "the folder")
    note, lock, existed = place / f"{name}.json", None, place.exists()
    before = {path.name for path in place.iterdir()} if existed and isinstance(folder, pathlib.Path) else set()
    since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    this = {"host": socket.gethostname(), "process": os.getpid(), "since": since, "token": uuid.uuid4().hex}

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
                lock = _locked(FileLock(folder / name, timeout=0), folder)
                # A host of an earlier start may still be at work although its first host has ended.
                for other in folder.glob(".lock-*") if not index else ():
                    if other.suffix != ".json":
                        _locked(FileLock(other, timeout=0), folder).release()
            elif who := _read(note):
                print(
                    f"warning: object storage has no locks, and {_named(who)} was using {folder}: this run takes "
                    "over, and the other one stops if it is still running",
                    file=sys.stderr,
                )
            text = json.dumps(this) + "\n"
            atomic_text(folder / note.name, text) if isinstance(folder, pathlib.Path) else note.write_text(text)
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


def _locked(lock: Any, folder: pathlib.Path) -> Any:
    """Returns the lock on a file, acquired; raises `UserError` if another process has it."""
    try:
        lock.acquire()
    except TimeoutError:
        who = _named(_read(epath.Path(f"{lock.lock_file}.json")))
        raise UserError(
            f"another run uses {folder}: {who}; wait for its end or stop it, or name another folder "
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
