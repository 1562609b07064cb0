"""What the hosts of a run agree on before they start: the configuration, the folder, and what is left to do.

Host 0 determines which images are unfinished, and all hosts use its list, so that they agree although each sees the
shared folder at a different moment. Nothing is reassigned later: a lost host's images are resumed at the next start,
from their checkpoints, by however many hosts there are then.

    WORKDIR/.hosts/start.json        what host 0 has found in the folder
    WORKDIR/.hosts/N.json            written by host N at the start; the others look for it to verify a shared folder
    WORKDIR/.hosts/failures-N.json   the images that have failed on host N since that start
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from gan2shape_jax.config import flatten, to_json
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.json_files import read_json, read_object
from gan2shape_jax.run import distributed
from gan2shape_jax.run.distributed import ALONE, Host

__all__ = ["SINGLE", "Team", "alone", "hear", "meet", "require_shared", "tell", "wait_for"]

# Network file systems show other hosts' new files only after a while.
_PATIENCE_S = 30.0
_LARGEST_START = 1 << 28  # bytes; one line per image
# Fields that may differ between hosts: paths on the machine itself.
_OWN = ("workdir", "runtime.compilation_cache")


@dataclasses.dataclass(frozen=True)
class Team:
    """The hosts of this start.

    Attributes:
      host: this host.
      start: identifies this start, the same on all hosts; "" if there is only one host.
      tokens: the hosts' tokens, by index; host 0's is `start`.
    """

    host: Host
    start: str
    tokens: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        """Whether this host writes the files that only one host must write."""
        return self.host.index == 0


SINGLE = Team(ALONE, "")


def alone(config: ConfigDict) -> bool:
    """Returns whether this is the run's only host, as far as the environment tells."""
    return config.runtime.hosts == "one" or (config.runtime.hosts == "auto" and not distributed.several(os.environ))


def meet(config: ConfigDict, names: list[str], *, stay: bool) -> Team:
    """Connects to the other hosts, if any; must precede the first computation.

    Args:
      config: the run's configuration.
      names: the names in the image list.
      stay: whether the hosts stay connected to compute together; otherwise they disconnect at once.

    Raises:
      UserError: the hosts do not find each other, or have different configurations or lists.
    """
    if alone(config):
        return SINGLE
    timeout_s = config.runtime.hosts_timeout_s
    mine = {"token": uuid.uuid4().hex, "config": _comparable(config), "names": names}
    if stay:
        host = distributed.join(timeout_s)
        answers = distributed.ask_all(json.dumps(mine))
    else:
        host, answers = distributed.ask_all_from_child(json.dumps(mine), timeout_s)
    messages = [json.loads(message) for message in answers]
    _require_alike(messages)
    if not stay and host.count > 1 and jax.process_count() > 1:  # only a TPU slice connects its hosts by itself
        raise UserError(
            "this TPU runtime ties all hosts of the slice together, so that one lost host would stop the "
            "others: set TPU_PROCESS_BOUNDS=1,1,1 and TPU_CHIPS_PER_PROCESS_BOUNDS to the chips of a host "
            "(2,2,1 for four), or use slices of one host; see docs/how-to/running-at-scale.md"
        )
    tokens = tuple(message["token"] for message in messages)
    return Team(host, tokens[0], tokens)


def tell(config: ConfigDict, team: Team, facts: dict[str, Any]) -> None:
    """Writes what host 0 has found in the folder, for the other hosts to read with `hear`."""
    atomic_text(_start_file(config), json.dumps({"start": team.start, "facts": facts}) + "\n")


def hear(config: ConfigDict, team: Team) -> dict[str, Any]:
    """Returns what host 0 has found in the folder; raises `UserError` if its file is not visible from here."""
    heard: dict[str, Any] = {}

    def is_there() -> bool:
        try:
            heard.update(read_object(_start_file(config), "the start of a run", limit=_LARGEST_START))
        except (OSError, UserError):  # not there yet, or left by an earlier start
            return False
        return heard.get("start") == team.start

    if not wait_for(is_there):
        raise UserError(f"{_start_file(config)}, which host 0 has written, is not to be seen by host {team.host.index}")
    return heard["facts"]


def _start_file(config: ConfigDict) -> pathlib.Path:
    return pathlib.Path(config.workdir) / ".hosts" / "start.json"


def require_shared(config: ConfigDict, team: Team) -> None:
    """Raises `UserError` if the hosts do not share one folder; writes this host's file there."""
    if team.host.count > 1:
        folder = pathlib.Path(config.workdir) / ".hosts"
        atomic_text(folder / f"{team.host.index}.json", json.dumps(team.tokens[team.host.index]) + "\n")
        _require_shared(folder, list(team.tokens))


def _comparable(config: ConfigDict) -> dict[str, Any]:
    fields = flatten(json.loads(to_json(config)))
    return {path: value for path, value in fields.items() if path not in _OWN}


def _require_alike(messages: list[dict[str, Any]]) -> None:
    """Raises `UserError` naming what differs between host 0 and another; all hosts raise the same error."""
    first = messages[0]
    for index, other in enumerate(messages[1:], start=1):
        fields = first["config"].keys() | other["config"].keys()
        odd = [
            f"{key} (host 0: {first['config'].get(key)!r}, host {index}: {other['config'].get(key)!r})"
            for key in sorted(fields)
            if first["config"].get(key) != other["config"].get(key)
        ]
        if odd:
            raise UserError(
                f"the hosts have different configurations: {', '.join(odd)}; start all with the same command"
            )
        if first["names"] != other["names"]:
            raise UserError(
                f"the image lists of host 0 ({len(first['names'])} names) and host {index} "
                f"({len(other['names'])} names) differ: give all hosts the same config.data.image_list"
            )


def wait_for(is_there: Callable[[], bool]) -> bool:
    """Waits until another host's file is visible; returns False if it does not appear within half a minute."""
    deadline = time.monotonic() + _PATIENCE_S
    while not is_there():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _require_shared(folder: pathlib.Path, tokens: list[str]) -> None:
    """Waits for every host's file in the folder; raises `UserError` if one does not appear."""
    for index, token in enumerate(tokens):
        if not wait_for(functools.partial(_holds, folder / f"{index}.json", token)):
            raise UserError(
                f"host {index} does not write to {folder.parent} as it is seen here: config.workdir has to "
                "be one folder that all hosts share (NFS, Lustre, Filestore, ...)"
            )


def _holds(path: pathlib.Path, token: str) -> bool:
    try:
        return read_json(path, "a host's token") == token
    except (OSError, UserError):  # not there yet, or left by an earlier start
        return False
