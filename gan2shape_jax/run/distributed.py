"""The hosts (processes) of a run: whether there are several, which one this is, and messages between them.

JAX finds the others by itself under Slurm, Open MPI, on Cloud TPU slices and on GKE; elsewhere three environment
variables identify them: JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

Run as a program (`python -m gan2shape_jax.run.distributed TIMEOUT_S`), this module passes one message to all
hosts and prints theirs. A run of independent images does so in a child process, on the CPU: in the run's own process
JAX remains single-host, and no host is taken down when another dies.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from gan2shape_jax.errors import UserError

__all__ = ["ALONE", "Host", "ask_all", "ask_all_from_child", "join", "leave", "several"]

T = TypeVar("T")

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Variables that `srun` sets for the processes of a step and that JAX reads.
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_MARK = "hosts: "


@dataclasses.dataclass(frozen=True)
class Host:
    """This process among `count`, numbered from 0."""

    index: int
    count: int

    def share(self, items: Sequence[T]) -> list[T]:
        """Returns every `count`-th item of a list that is the same on all hosts: shares differ by at most one item."""
        return list(items[self.index :: self.count])


ALONE = Host(0, 1)


def _explicit(environ: Mapping[str, str]) -> dict[str, int | str]:
    """Returns arguments for `jax.distributed.initialize` from the three variables; {} if none is set."""
    given = {name: environ[name] for name in _EXPLICIT if environ.get(name)}
    if not given:
        return {}
    missing = [name for name in _EXPLICIT if name not in given]
    if missing:
        raise UserError(
            f"{', '.join(given)} is set but not {', '.join(missing)}: for a run on several hosts set all "
            "three on each of them, for a run on one host none"
        )
    try:
        count, index = int(given["JAX_NUM_PROCESSES"]), int(given["JAX_PROCESS_ID"])
    except ValueError:
        count, index = 0, 0
    if not 0 <= index < count:
        raise UserError(
            f"JAX_PROCESS_ID is {given['JAX_PROCESS_ID']!r} of JAX_NUM_PROCESSES "
            f"{given['JAX_NUM_PROCESSES']!r}: they are whole numbers, the id from 0 to one less than the "
            "number"
        )
    return {"coordinator_address": given["JAX_COORDINATOR_ADDRESS"], "num_processes": count, "process_id": index}


def _on_tpu(environ: Mapping[str, str]) -> bool:
    """Returns whether this is a TPU host; only JAX knows how many there are in its slice."""
    alone = environ.get("TPU_PROCESS_BOUNDS") == "1,1,1"  # set by users who want each host on its own
    chips = any(pathlib.Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    return not alone and chips and importlib.util.find_spec("libtpu") is not None


def several(environ: Mapping[str, str]) -> bool:
    """Returns whether the environment says that this process is one of several or, on TPUs, may be.

    Raises:
      UserError: the environment variables are incomplete or invalid.
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
    return _on_tpu(environ)


def join(timeout_s: int) -> Host:
    """Connects to the other hosts; must precede the first computation.

    Raises:
      UserError: they do not all connect in time, or the environment does not say where they are.
    """
    explicit = _explicit(os.environ)
    try:
        jax.distributed.initialize(**explicit, initialization_timeout=timeout_s)  # type: ignore[arg-type]
    except (RuntimeError, ValueError) as error:  # JAX's own connection errors are RuntimeErrors
        raise UserError(_unreachable(timeout_s, str(error).splitlines()[0])) from error
    return Host(jax.process_index(), jax.process_count())


def leave() -> None:
    """Waits for all hosts and disconnects; nothing afterwards may need them."""
    jax.distributed.shutdown()


def _unreachable(timeout_s: int, reason: str) -> str:
    where = os.environ.get("JAX_COORDINATOR_ADDRESS", "as the cluster names it")
    return (
        f"the hosts of this run did not find each other within {timeout_s} s (coordinator: {where}; {reason}): "
        "start all of them at the same time and see that all can reach the coordinator's port; "
        "config.runtime.hosts_timeout_s says how long to wait, config.runtime.hosts='one' not to look for others"
    )


def ask_all(message: str) -> list[str]:
    """Returns every host's message, by index; all hosts must call this."""
    if jax.process_count() == 1:
        return [message]
    data = np.frombuffer(message.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(data), np.int32))
    padded = np.zeros(int(np.max(sizes)), np.uint8)
    padded[: len(data)] = data
    every = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(every, sizes, strict=True)]


def ask_all_from_child(message: str, timeout_s: int) -> tuple[Host, list[str]]:
    """Does `join`, `ask_all` and `leave` in a child process, leaving JAX in this process unaffected.

    Raises:
      UserError: the hosts do not all connect in time.
    """
    root = str(pathlib.Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    child = subprocess.run(
        [sys.executable, "-m", "gan2shape_jax.run.distributed", str(timeout_s)],
        input=message,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": paths},
    )
    answers = [line for line in child.stdout.splitlines() if line.startswith(_MARK)]
    if child.returncode or not answers:
        said = [line for line in child.stderr.splitlines() if line.strip()] or [f"exit status {child.returncode}"]
        raise UserError(_unreachable(timeout_s, said[-1]))
    index, messages = json.loads(answers[-1].removeprefix(_MARK))
    return Host(index, len(messages)), messages


def _main(timeout_s: int) -> None:
    message = sys.stdin.read()
    host = join(timeout_s)
    print(f"{_MARK}{json.dumps([host.index, ask_all(message)])}", flush=True)
    leave()


if __name__ == "__main__":
    _main(int(sys.argv[1]))
