"""The hosts (processes) of a run: whether there are several, which one this is, and what they agree on at the start.

JAX finds the others by itself under Slurm, Open MPI, on Cloud TPU slices and on GKE; elsewhere three environment
variables say where they are: JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

For a run of independent images a child process passes the messages between the hosts, on the CPU (`python -P -m
gan2shape_jax.run.hosts TIMEOUT_S`): in the run's own process JAX has one host, and no other takes it down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from gan2shape_jax.config import flatten, to_json
from gan2shape_jax.errors import UserError

__all__ = ["SINGLE", "Ask", "Team", "comparable", "connected", "require_alike", "several", "wait_for"]

T = TypeVar("T")
# Sends a message to all hosts and returns those of all, by index; to be called once, and by every host.
Ask = Callable[[dict[str, Any]], list[dict[str, Any]]]

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Variables that `srun` sets for the processes of a step and that JAX reads.
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_OWN = ("workdir", "runtime.compilation_cache")  # fields that may differ between hosts: paths on the machine itself
_PATIENCE_S = 30.0  # network file systems show other hosts' new files only after a while
_MARK = "hosts: "


@dataclasses.dataclass(frozen=True)
class Team:
    """This process, numbered from 0, among the `count` hosts of a start; `start` is the same text on all of them."""

    index: int = 0
    count: int = 1
    start: str = ""

    @property
    def leads(self) -> bool:
        """Whether this host writes the files that only one host must write."""
        return self.index == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Returns every `count`-th item of a list that is the same on all hosts: shares differ by at most one item."""
        return list(items[self.index :: self.count])


SINGLE = Team()


def several(environ: Mapping[str, str]) -> bool:
    """Returns whether the environment says that this process is one of several or, on TPUs, may be.

    Raises:
      UserError: only some of the three environment variables are set, or they are no numbers.
    """
    explicit = _explicit(environ)
    if explicit:
        return explicit["num_processes"] != 1
    if all(name in environ for name in _SLURM):
        return int(environ["SLURM_NTASKS"]) > 1
    if "OMPI_MCA_orte_hnp_uri" in environ:
        return int(environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    if "MEGASCALE_COORDINATOR_ADDRESS" in environ or "," in environ.get("TPU_WORKER_HOSTNAMES", ""):
        return True
    alone = environ.get("TPU_PROCESS_BOUNDS") == "1,1,1"  # set by users who want each TPU machine on its own
    chips = any(pathlib.Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    return not alone and chips and importlib.util.find_spec("libtpu") is not None


@contextlib.contextmanager
def connected(config: ConfigDict, *, stay: bool) -> Iterator[tuple[Team, Ask]]:
    """Connects to the other hosts, if any; must precede the first computation.

    Args:
      config: the run's configuration.
      stay: whether the hosts stay connected to compute together, until `jax.distributed.shutdown`; otherwise only the
        messages pass.

    Yields:
      This host, and a function that exchanges one message.

    Raises:
      UserError: the hosts do not find each other.
    """
    alone = config.runtime.hosts == "one" or (config.runtime.hosts == "auto" and not several(os.environ))
    if alone:
        yield SINGLE, lambda message: [message]
    elif stay:
        _join(config.runtime.hosts_timeout_s)
        yield Team(jax.process_index(), jax.process_count()), lambda message: _parsed(_all_say(json.dumps(message)))
    else:
        with _child(config.runtime.hosts_timeout_s) as (team, ask):
            yield team, ask
            if team.count > 1 and jax.process_count() > 1:  # only a TPU slice connects its hosts by itself
                raise UserError(
                    "this TPU runtime ties all hosts of the slice together, so that one lost host would stop the "
                    "others: set TPU_PROCESS_BOUNDS=1,1,1 and TPU_CHIPS_PER_PROCESS_BOUNDS to the chips of a host "
                    "(2,2,1 for four), or use slices of one host; see docs/how-to/running-at-scale.md"
                )


def comparable(config: ConfigDict) -> dict[str, Any]:
    """Returns the fields, by path, that must be the same on all hosts."""
    return {path: value for path, value in flatten(json.loads(to_json(config))).items() if path not in _OWN}


def require_alike(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raises the same `UserError` on all hosts if their `config` (see `comparable`) or image list (`names`) differ."""
    first = messages[0]
    for index, other in enumerate(messages[1:], start=1):
        odd = [
            f"{key} (host 0: {first['config'].get(key)!r}, host {index}: {other['config'].get(key)!r})"
            for key in sorted(first["config"].keys() | other["config"].keys())
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


def _explicit(environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns arguments for `jax.distributed.initialize` from the three variables; {} if none is set."""
    given = [name for name in _EXPLICIT if environ.get(name)]
    if not given:
        return {}
    if missing := [name for name in _EXPLICIT if name not in given]:
        raise UserError(
            f"{', '.join(given)} is set but not {', '.join(missing)}: for a run on several hosts set all "
            "three on each of them, for a run on one host none"
        )
    address, count, index = (environ[name] for name in _EXPLICIT)
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise UserError(
            f"JAX_PROCESS_ID is {index!r} of JAX_NUM_PROCESSES {count!r}: they are whole numbers, the id from 0 to one "
            "less than the number"
        )
    return {"coordinator_address": address, "num_processes": int(count), "process_id": int(index)}


def _join(timeout_s: int) -> None:
    try:
        jax.distributed.initialize(**_explicit(os.environ), initialization_timeout=timeout_s)
    except (RuntimeError, ValueError) as error:  # JAX's own connection errors are RuntimeErrors
        raise _unreachable(timeout_s, str(error).splitlines()[0]) from error


def _unreachable(timeout_s: int, reason: str) -> UserError:
    where = os.environ.get("JAX_COORDINATOR_ADDRESS", "as the cluster names it")
    return UserError(
        f"the hosts of this run did not find each other within {timeout_s} s (coordinator: {where}; {reason}): "
        "start all of them at the same time and see that all can reach the coordinator's port; "
        "config.runtime.hosts_timeout_s says how long to wait, config.runtime.hosts='one' not to look for others"
    )


def _all_say(message: str) -> list[str]:
    """Returns every host's message, by index."""
    if jax.process_count() == 1:
        return [message]
    data = np.frombuffer(message.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(data), np.int32))
    padded = np.zeros(int(np.max(sizes)), np.uint8)
    padded[: len(data)] = data
    every = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(every, sizes, strict=True)]


def _parsed(messages: Sequence[str]) -> list[dict[str, Any]]:
    return [json.loads(message) for message in messages]


@contextlib.contextmanager
def _child(timeout_s: int) -> Iterator[tuple[Team, Ask]]:
    """Starts the process that passes the messages; ends it with the block."""
    root = str(pathlib.Path(__file__).resolve().parents[2])
    environ = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
    }
    command = [sys.executable, "-P", "-m", "gan2shape_jax.run.hosts", str(timeout_s)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environ
        ) as child,
    ):

        def answer(message: str = "") -> Any:
            if message:
                print(message, file=child.stdin, flush=True)
            for line in child.stdout or ():
                if line.startswith(_MARK):
                    return json.loads(line.removeprefix(_MARK))
            child.wait()
            errors.seek(0)
            said = [line for line in errors.read().splitlines() if line.strip()] or [f"status {child.returncode}"]
            raise UserError(said[-1]) if child.returncode == 1 else _unreachable(timeout_s, said[-1])

        try:
            yield Team(*answer()), lambda message: _parsed(answer(json.dumps(message)))
        except BaseException:
            child.kill()
            raise


def _main(timeout_s: int) -> None:
    """Connects, prints which host this is, reads one line, and prints the lines of all hosts."""
    _join(timeout_s)
    print(f"{_MARK}{json.dumps([jax.process_index(), jax.process_count()])}", flush=True)
    message = sys.stdin.readline().strip()
    if message:
        print(f"{_MARK}{json.dumps(_all_say(message))}", flush=True)
        jax.distributed.shutdown()


if __name__ == "__main__":
    try:
        _main(int(sys.argv[1]))
    except UserError as error:
        sys.exit(f"{error}")
