"""The hosts (processes) of a run: how many there are, and which one this is.

Slurm and Open MPI say so in each process's environment; elsewhere JAX_PROCESS_ID (from 0) and JAX_NUM_PROCESSES do.
Hosts whose images are independent need nothing else of each other than the folder that they share: each takes its part
of the list by its number, whenever it starts, and a lost one takes nothing with it. Hosts that train one set of
networks meet in that folder (`folder.opened`) and are then connected by `jax.distributed`, which aborts a process that
waits in vain and every process that loses another: so it is asked last, and only where they compute together.
"""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from gan2shape_jax.errors import UserError

_EXPLICIT = ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES")
# By what is only set where there are processes to number (Slurm's batch scripts have the other two of it): where the
# own number is, and how many there are.
_LAUNCHERS = {
    "JAX_COORDINATOR_ADDRESS": _EXPLICIT,
    "JAX_PROCESS_ID": _EXPLICIT,
    "JAX_NUM_PROCESSES": _EXPLICIT,
    "SLURM_STEP_NODELIST": ("SLURM_PROCID", "SLURM_NTASKS"),
    "OMPI_COMM_WORLD_SIZE": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
}
_PATIENCE_S = 30.0  # network file systems show other hosts' new files only after a while


@dataclasses.dataclass(frozen=True)
class Team:
    """This process, numbered from 0, among the `count` hosts of a run."""

    index: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this host writes the files that only one host must write."""
        return self.index == 0

    @property
    def suffix(self) -> str:
        """The end of the name of what each host has for itself; '' on one host."""
        return f"-{self.index}-of-{self.count}" if self.count > 1 else ""


ALONE = Team()


def team_of(environ: Mapping[str, str]) -> Team:
    """Returns which host this is; raises `UserError` if the environment says it only in part, or no numbers."""
    names = next((names for sign, names in _LAUNCHERS.items() if environ.get(sign)), None)
    if names is None:
        return ALONE
    index, count = (environ.get(name, "") for name in names)
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(
            f"{names[0]} is {index!r}, {names[1]} is {count!r}: for a run on several hosts they are the host's own "
            "number, from 0, and that of all hosts; for one host set neither, nor JAX_COORDINATOR_ADDRESS"
        )
    return Team(int(index), int(count))


def of_slice(timeout_s: int) -> Team:
    """Returns which machine of a TPU slice this is, connected to the others; a team of one anywhere else."""
    alone = os.environ.get("TPU_PROCESS_BOUNDS") == "1,1,1"  # set by users who want each machine on its own
    chips = any(pathlib.Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    if chips and not alone and importlib.util.find_spec("libtpu") is not None:
        with contextlib.suppress(ValueError):  # there is no slice
            jax.distributed.initialize(initialization_timeout=timeout_s)
            return Team(jax.process_index(), jax.process_count())
    return ALONE


def connect(team: Team, timeout_s: int) -> None:
    """Connects hosts that compute together until `jax.distributed.shutdown`; must precede the first computation.

    Raises `UserError`: nothing says where host 0 is. Where another host is missing, JAX aborts the process.
    """
    explicit = dict[str, Any]()
    if any(os.environ.get(name) for name in _EXPLICIT):
        address = os.environ.get("JAX_COORDINATOR_ADDRESS")
        explicit = {"coordinator_address": address, "num_processes": team.count, "process_id": team.index}
    try:
        jax.distributed.initialize(**explicit, initialization_timeout=timeout_s)
    except (RuntimeError, ValueError) as error:  # JAX's own are RuntimeErrors
        raise UserError(
            f"the hosts of this run were not connected ({str(error).splitlines()[0]}): to train together they need "
            "JAX_COORDINATOR_ADDRESS (host:port of host 0) beside JAX_PROCESS_ID and JAX_NUM_PROCESSES"
        ) from error


def wait_for(is_there: Callable[[], bool], patience_s: float = _PATIENCE_S) -> bool:
    """Waits until another host's file is visible; returns False if it does not appear in that time."""
    deadline = time.monotonic() + patience_s
    while not is_there():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
