"""The start of a run: its hosts meet, hold its folder, and look through what earlier starts have left there."""

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
from gan2shape_jax.run import cluster, joint_files, same_config, survey, tidy, units
from gan2shape_jax.run.cluster import SINGLE, Team
from gan2shape_jax.run.each_image import stem_of
from gan2shape_jax.run.joint_files import JointFiles
from gan2shape_jax.run.occupation import Held, hold
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.set_aside import to_stderr

__all__ = ["Start", "begin"]

_LONG_S = 3.0  # a look that takes longer is told


@dataclasses.dataclass(frozen=True)
class Start:
    """A run that holds its folder.

    Attributes:
      folder: in order; what is there is whole.
      units: this host's share, images by name: groups that are trained together, and single images. On one host also
        the finished ones.
      trained: whether a joint training is done.
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
    """Holds the run's folder until the block is left; has to come before the first computation.

    Args:
      config: of the run.
      names: of the image list.
      stay: whether several hosts go on to compute together; otherwise they part again at once.

    Raises:
      UserError: another run holds the folder, it is of another configuration, or the hosts do not come together.
    """
    if cluster.alone(config):
        with _holding(config, SINGLE) as held:
            folder = RunFolder.at(config, SINGLE, held)
            tidy.clear(folder, map(stem_of, names))
            facts = _look(config, names, folder)
            _put_in_order(config, folder, facts)
            with _gone_in_words(folder):
                yield Start(folder, facts["units"], facts["trained"])
        return
    facts = _look_for_all(config, names) if cluster.may_lead() else {}
    team = cluster.meet(config, list(names), facts, stay=stay)
    if problem := team.facts.get("problem"):
        raise UserError(problem)
    with _holding(config, team) as held:
        folder = RunFolder.at(config, team, held)
        if team.leads:
            tidy.clear(folder, map(stem_of, names))
            _put_in_order(config, folder, team.facts)
            for one in held:
                one.let_in()
        cluster.require_shared(config, team)
        share = _share(config, team)
        with _gone_in_words(folder):
            yield Start(folder, share, team.facts["trained"])


@contextlib.contextmanager
def _holding(config: ConfigDict, team: Team) -> Iterator[tuple[Held, ...]]:
    """Holds the run's folder, and that of its checkpoints, which another run may name too."""
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
    """Whatever goes wrong where the folder was taken away is told as just that."""
    try:
        yield
    except Exception:
        folder.require()
        raise


def _look_for_all(config: ConfigDict, names: Sequence[str]) -> dict[str, Any]:
    """Returns what host 0 has to say to all; a problem that ends the run has to be heard by all hosts."""
    try:
        return _look(config, names, RunFolder.at(config))
    except UserError as error:
        return {"problem": str(error)}


def _look(config: ConfigDict, names: Sequence[str], folder: RunFolder) -> dict[str, Any]:
    """Returns what lies in the folder, as JSON has it; changes nothing."""
    began = time.monotonic()
    told = same_config.require_same_config(config)
    stems = [stem_of(name) for name in names]
    found = survey.look_through(stems, folder.result, made_by=same_config.config_hash(config), told=told)
    seconds = time.monotonic() - began
    if seconds > _LONG_S:
        to_stderr(f"looked through the files of {len(found.finished)} finished images in {seconds:.0f} s")
    shared = joint_files.look(folder.root) if config.mode == "joint" else JointFiles()
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
    if config.mode == "joint":
        joint_files.mend(folder.root, JointFiles(**facts["shared"]), folder.aside)


def _share(config: ConfigDict, team: Team) -> list[list[str]]:
    """Returns this host's part of what is unfinished; raises `UserError` where several hosts cannot divide the work."""
    finished = set(team.facts["finished"])
    unfinished = [unit for unit in team.facts["units"] if not {stem_of(name) for name in unit} <= finished]
    if team.host.count > 1 and config.mode == "instance" and not config.schedule.reset_weight:
        raise UserError(
            "config.schedule.reset_weight is False: each image starts from the networks of the one before "
            "it, which several hosts cannot do; set it True, or config.runtime.hosts='one'"
        )
    return team.host.share(unfinished)
