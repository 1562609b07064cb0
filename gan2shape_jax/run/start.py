"""The start of a run: its hosts meet, hold its folder, and examine what earlier starts have left there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.set_aside import to_stderr
from gan2shape_jax.run import cluster, joint_files, same_config, survey, tidy, units
from gan2shape_jax.run.cluster import Team
from gan2shape_jax.run.each_image import stem_of
from gan2shape_jax.run.joint_files import JointFiles
from gan2shape_jax.run.occupation import Held, hold
from gan2shape_jax.run.run_folder import RunFolder

__all__ = ["Start", "begin"]

_LONG_S = 3.0  # a scan that takes longer is reported


@dataclasses.dataclass(frozen=True)
class Start:
    """A run that holds its folder.

    Attributes:
      folder: the run's folder, tidied; what remains in it is intact.
      units: this host's share, as image names: groups that are trained together, and single images. With only one host
        this includes the finished ones.
      trained: whether joint training is done.
    """

    folder: RunFolder
    units: list[list[str]]
    trained: bool

    @property
    def team(self) -> Team:
        """The hosts of this start."""
        return self.folder.team


@contextlib.contextmanager
def begin(config: ConfigDict, names: Sequence[str], *, stay: bool = False) -> Iterator[Start]:
    """Holds the run's folder until the block is left; must precede the first computation.

    Args:
      config: the run's configuration.
      names: the names in the image list.
      stay: whether several hosts stay connected to compute together; otherwise they disconnect at once.

    Raises:
      UserError: another run holds the folder, it belongs to another configuration, or the hosts do not find each other.
    """
    team = cluster.meet(config, list(names), stay=stay)
    with _holding(config, team) as held:
        folder = RunFolder.at(config, team, held)
        if team.leads:
            facts = _found(config, names, folder, held)
        else:
            facts = cluster.hear(config, team)
        cluster.require_shared(config, team)
        units = facts["units"] if team.host.count == 1 else _share(config, team, facts)
        with _gone_in_words(folder):
            yield Start(folder, units, facts["trained"])


@contextlib.contextmanager
def _holding(config: ConfigDict, team: Team) -> Iterator[tuple[Held, ...]]:
    """Holds the run's folder and its checkpoint folder, which another run might also use."""
    folder = RunFolder.at(config)
    places = [folder.root] if config.mode == "predict" else [folder.root, folder.checkpoint_root]
    with contextlib.ExitStack() as stack:
        held: dict[str, Held] = {}
        for place in places:
            real = os.path.realpath(place) if isinstance(place, pathlib.Path) else str(place)
            if real not in held:
                held[real] = stack.enter_context(hold(place, host=team.host, start=team.start))
        yield tuple(held.values())


@contextlib.contextmanager
def _gone_in_words(folder: RunFolder) -> Iterator[None]:
    """If the folder was taken away, reports that instead of the error it caused."""
    try:
        yield
    except Exception:
        folder.require()
        raise


def _found(config: ConfigDict, names: Sequence[str], folder: RunFolder, held: tuple[Held, ...]) -> dict[str, Any]:
    """On host 0, tidies the folder and lets the other hosts in; returns what was found there."""
    try:
        tidy.clear(folder, map(stem_of, names))
        facts = _look(config, names, folder)
        _put_in_order(config, folder, facts)
        if folder.team.host.count > 1:
            cluster.tell(config, folder.team, facts)
    except UserError as error:
        for one in held:
            one.let_in(problem=str(error))  # which ends the run on all hosts
        raise
    for one in held:
        one.let_in()
    return facts


def _look(config: ConfigDict, names: Sequence[str], folder: RunFolder) -> dict[str, Any]:
    """Returns what the folder contains, as JSON data for the other hosts; changes nothing."""
    began = time.monotonic()
    told = same_config.require_same_config(config)
    stems = [stem_of(name) for name in names]
    found = survey.look_through(stems, folder.result, made_by=same_config.config_hash(config), told=told)
    seconds = time.monotonic() - began
    if seconds > _LONG_S:
        to_stderr(f"looked through the files of {len(found.finished)} finished images in {seconds:.0f} s")
    shared = joint_files.look(folder.root) if config.mode in ("joint", "lift") else JointFiles()
    return {
        "units": units.of_run(config, folder, names, found),
        "finished": sorted(found.finished),
        "damaged": found.damaged,
        "unrecorded": list(found.unrecorded),
        "shared": dataclasses.asdict(shared),
        "trained": shared.trained,
    }


def _put_in_order(config: ConfigDict, folder: RunFolder, facts: dict[str, Any]) -> None:
    tidy.set_aside(folder, config, facts["damaged"], facts["unrecorded"])
    if config.mode in ("joint", "lift"):
        joint_files.mend(folder.root, JointFiles(**facts["shared"]), folder.aside)


def _share(config: ConfigDict, team: Team, facts: dict[str, Any]) -> list[list[str]]:
    """Returns this host's share of the unfinished units; raises `UserError` if the work cannot be divided."""
    finished = set(facts["finished"])
    unfinished = [unit for unit in facts["units"] if not {stem_of(name) for name in unit} <= finished]
    if config.mode == "instance" and not config.schedule.reset_weight:
        raise UserError(
            "config.schedule.reset_weight is False: each image starts from the networks of the one before "
            "it, which several hosts cannot do; set it True, or config.runtime.hosts='one'"
        )
    return team.host.share(unfinished)
