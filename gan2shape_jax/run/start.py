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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from gan2shape_jax.config import flatten, to_json
from gan2shape_jax.errors import FatalRunError, UserError, io_error
from gan2shape_jax.io.data import inputs_of
from gan2shape_jax.io.files import atomic_text, clear_leftovers, set_aside
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.io.output_folders import CHECKPOINTS, MARKER, RUN, mark, require_output_folder
from gan2shape_jax.run import hosts
from gan2shape_jax.run.folder import RunFolder, require_apart, require_no_pattern
from gan2shape_jax.run.identity import Identity, adopted, identity_of, left_open, settled
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.training import groups
from gan2shape_jax.training.decision import Decision, Redraw, There, Wanted, decide, require
from gan2shape_jax.training.decision import Start as Fresh

_GLANCE_S = 2.0  # how long a lock may be held only to see whether it is held
DETAIL = "detail"  # the folder, in a lift's, of the training with which it ends
_OWN = {"workdir", "runtime.compilation_cache"}  # fields that may differ between hosts: paths on the machine itself


@dataclasses.dataclass(frozen=True)
class Start:
    """A run that has locked its folder."""

    plan: Plan  # with nothing left open
    identity: Identity
    folder: RunFolder  # the run's folder, without the temporary files of earlier starts
    # This host's share, as image names, finished ones too: groups that are trained together, and single images.
    work_items: list[list[str]]
    redraw: tuple[str, ...]  # images of this host's share that are there, and are drawn anew

    def networks_wanted(self, names: Sequence[str] | None = None) -> Wanted:
        """Returns what is asked for of networks that the run trains together, on these images if they are a user's."""
        facts: dict[str, Any] = {"configuration": self.identity.fingerprint}
        facts |= {} if names is None else {"images": list(names)}
        return networks_wanted(self.folder, facts)

    def wanted(self, name: str) -> Wanted:
        """Returns what is asked for of an image's result."""
        return wanted_of(self.plan, self.identity, self.folder, name)


def wanted_of(plan: Plan, identity: Identity, folder: RunFolder, name: str) -> Wanted:
    """Returns what is asked for of the result of an image in the list."""
    facts = {"configuration": identity.fingerprint, **inputs_of(plan.config, name)}
    place = f"{folder.result(stem_of(name))} holds a result"
    return Wanted(facts, identity.drawing, place=place)


def require_startable(plan: Plan, names: Sequence[str]) -> None:
    """Raises `UserError` if what the run's folder holds, or its name, does not go with this run; nothing is written."""
    config, folder = plan.config, RunFolder.at(plan.config)
    require_output_folder(folder.root, RUN, "config.workdir")
    if plan.ends_with_detail:  # hours before it is needed
        require_output_folder(folder.root / DETAIL, RUN, "a part of config.workdir")
    _decided(plan, folder)
    if plan.recipe.name == "joint":
        require(decide(folder.networks_there, networks_wanted(folder, {"images": list(names)})))
    if plan.recipe.trains:
        if (kept := config.checkpoint.folder) and "://" not in kept:
            require_output_folder(pathlib.Path(kept), CHECKPOINTS, "config.checkpoint.folder")
        require_no_pattern(folder.checkpoint_root)
    require_apart(folder.root, map(stem_of, names))


def networks_wanted(folder: RunFolder, facts: Mapping[str, Any]) -> Wanted:
    """Returns what is asked for of networks that are trained together."""
    file = folder.root / "networks.safetensors"
    advice = (
        "choose another --config.workdir; for new images and these networks use --config.recipe=predict "
        f"--config.networks.pretrained={file}"
    )
    return Wanted(facts, place=f"{folder.root} holds networks", advice=advice)


def _decided(plan: Plan, folder: RunFolder) -> tuple[Decision, Plan, Identity]:
    """Returns what happens to the run, its plan with what it leaves open as in the run that is there, and its identity.

    Raises `UserError`: the folder holds another run.
    """
    config, kept, there = plan.config, None, There()
    try:
        if kept := folder.kept():
            there = There("begun", kept[1].computed)
    except UserError as error:  # results tell themselves what they were made with
        there = There(fault=str(error))
    if kept:
        config = adopted(config, left_open(kept[0]))
    identity = identity_of(config)
    decision = require(decide(there, Wanted(identity.computed, place=f"{config.workdir} holds a run")))
    return decision, dataclasses.replace(plan, config=config), identity


@contextlib.contextmanager
def begin(plan: Plan, names: Sequence[str], *, stay: bool = False) -> Iterator[Start]:
    """Locks the run's folder until the block is left; must precede the first computation.

    `names` are those in the image list. With `stay`, several hosts wait for each other and are connected, to compute
    together. Raises `UserError`: another run has the folder, it holds another one, or a host is missing.
    """
    config = plan.config
    several, timeout_s = config.runtime.hosts == "auto", config.runtime.hosts_timeout_s
    team = hosts.team_of(os.environ) if several else hosts.ALONE
    connected = stay and several and team.count == 1
    if connected:
        team = hosts.of_slice(timeout_s)
    if team.count > 1 and plan.recipe.trains_each and not config.schedule.reset_weight:
        raise UserError(
            "config.schedule.reset_weight is False: each image starts from the networks of the previous "
            "one, which several hosts cannot do; set it to True, or config.runtime.hosts='one'"
        )
    with contextlib.ExitStack() as stack:
        requires = _lock(stack, plan, names, team)
        folder = dataclasses.replace(RunFolder.at(config), team=team, requires=requires)
        decision, plan, _ = _decided(plan, folder)
        if isinstance(decision, Fresh) and decision.fault and team.leads:
            set_aside(folder.root / "config.json", decision.fault)
        share = _share(plan, folder, names)
        if stay and team.count > 1:
            _await(pathlib.Path(config.workdir), team, timeout_s)
            if not connected:
                hosts.connect(team, timeout_s)
        plan = dataclasses.replace(plan, config=settled(plan.config, plan.recipe))
        identity = identity_of(plan.config)
        redraw = _redrawn(plan, identity, folder, [name for unit in share for name in unit])
        try:
            yield Start(plan, identity, folder, share, redraw)
        except Exception:
            folder.require()  # if the folder was taken away, that is the reason
            raise


def _lock(
    stack: contextlib.ExitStack, plan: Plan, names: Sequence[str], team: hosts.Team
) -> tuple[Callable[[], None], ...]:
    """Locks the run's folder and its checkpoint folder, which another run might also use."""
    folder, fields = RunFolder.at(plan.config), flatten(json.loads(to_json(plan.config)))
    command = json.dumps([sorted((path, fields[path]) for path in fields.keys() - _OWN), list(names)])
    run = hashlib.sha256(command.encode()).hexdigest()[:16]
    places = {_real(folder.root): (folder.root, RUN)}
    if plan.recipe.trains:  # a folder inside the run's own is the run's
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


def _share(plan: Plan, folder: RunFolder, names: Sequence[str]) -> list[list[str]]:
    """Returns this host's share of the images, in the groups that earlier starts began; tidies what these left."""
    team = folder.team
    together = groups.unfinished(folder.root, names) if plan.recipe.trains_each else []
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
    return share


def _redrawn(plan: Plan, identity: Identity, folder: RunFolder, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the images whose results are there and are to be drawn anew; sets incomplete results aside.

    Raises `UserError`: a result is another's.
    """
    redraw = []
    for name in names:
        there = folder.there(stem_of(name))
        if there.state == "nothing" and not there.fault:
            continue
        decision = require(decide(there, wanted_of(plan, identity, folder, name)))
        if isinstance(decision, Fresh):
            why = f"it is incomplete: {decision.fault}; the image is reconstructed again"
            set_aside(folder.result(stem_of(name)), why)
        elif isinstance(decision, Redraw):
            redraw.append(name)
    return tuple(redraw)


@contextlib.contextmanager
def hold(
    folder: pathlib.PurePath, kind: str = RUN, *, team: hosts.Team = hosts.ALONE, run: str = ""
) -> Iterator[Callable[[], None]]:
    """Locks and marks a folder until the block is left; leaves neither, nor a new folder, if nothing was put there.

    The folder is local, or in object storage as an `epath.Path`; `kind` is one of `io.output_folders`, or "" for a part
    of a folder that is marked itself. Hosts of one team and one `run` hold a folder at the same time.
    Yields a function that raises `FatalRunError` if the folder was removed, or if another run has taken it over.
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
            raise FatalRunError(
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
                _require_own(pathlib.Path(folder), name, team, run)
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
