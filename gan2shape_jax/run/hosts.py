"""The hosts (processes) of a run: whether there are several, which one this is, and what they agree on at the start.

JAX finds the others by itself under Slurm, Open MPI, on Cloud TPU slices and on GKE; elsewhere three environment
variables say where they are: JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

Before any device starts, every host sends host 0 one message, over the coordinator's port, and gets those of all. The
hosts of a run of independent images part then: in each of them JAX has one host, and no other takes it down.

`jax.distributed.initialize` and `multihost_utils` do not replace that message: where a host is missing they abort the
process instead of raising, and after `shutdown` JAX still counts the other hosts, for which Orbax would wait.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

# Private, so setup.cfg bounds JAX from above. `jax.distributed.initialize` finds out the same, but stays connected, and
# then a lost host would end the others.
from jax._src import clusters
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError

# Sends a message to all hosts and returns those of all, by index; to be called once, and by every host.
Ask = Callable[[dict[str, Any]], list[dict[str, Any]]]

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_PATIENCE_S = 30.0  # network file systems show other hosts' new files only after a while


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


def several(environ: Mapping[str, str]) -> bool:
    """Returns whether the environment says that this process is one of several or, on TPUs, may be.

    Raises `UserError`: only some of the three environment variables are set, or they are no numbers.
    """
    if explicit := _explicit(environ):
        return explicit["num_processes"] != 1
    # Only a step of `srun` has the latter; a batch script outside one has the number of tasks too.
    tasks = environ.get("SLURM_NTASKS", "1") if "SLURM_STEP_NODELIST" in environ else "1"
    if max(int(tasks), int(environ.get("OMPI_COMM_WORLD_SIZE", "1"))) > 1:
        return True
    if "MEGASCALE_COORDINATOR_ADDRESS" in environ or "," in environ.get("TPU_WORKER_HOSTNAMES", ""):
        return True
    alone = environ.get("TPU_PROCESS_BOUNDS") == "1,1,1"  # set by users who want each TPU machine on its own
    chips = any(pathlib.Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    return not alone and chips and importlib.util.find_spec("libtpu") is not None


@contextlib.contextmanager
def connected(config: ConfigDict, *, stay: bool) -> Iterator[tuple[Team, Ask]]:
    """Connects to the other hosts, if any; must precede the first computation.

    Yields this host, and a function that exchanges one message. With `stay`, the hosts stay connected to compute
    together, until `jax.distributed.shutdown`; otherwise only for the block. Raises `UserError`: the hosts do not find
    each other.
    """
    timeout_s, explicit = config.runtime.hosts_timeout_s, dict[str, Any]()
    address, count, index = None, None, None
    if config.runtime.hosts == "auto" and several(os.environ):
        explicit = _explicit(os.environ)
        detect = clusters.ClusterEnv.auto_detect_unset_distributed_params
        address, count, index = explicit.values() or detect(None, None, None, None, None, timeout_s)[:3]
    if address is None or count is None or index is None or count == 1:
        yield Team(), lambda message: [message]
        return
    team = Team(index, count)
    yield team, functools.partial(_exchange, address, team, timeout_s)
    if stay:
        try:
            jax.distributed.initialize(**explicit, initialization_timeout=timeout_s)
        except (RuntimeError, ValueError) as error:  # JAX's own connection errors are RuntimeErrors
            raise _unreachable(address, timeout_s, error) from error
    elif jax.process_count() > 1:  # only a TPU slice connects its hosts by itself
        raise UserError(
            "this TPU runtime ties all hosts of the slice together, so one lost host would stop the others: "
            "set TPU_PROCESS_BOUNDS=1,1,1 and TPU_CHIPS_PER_PROCESS_BOUNDS to the chips of a host (2,2,1 for four)"
        )


def _exchange(address: str, team: Team, timeout_s: int, message: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the messages of all hosts, by index: each host sends its own to host 0, which answers with all."""
    host, _, port = address.rpartition(":")
    deadline, received, lines = time.monotonic() + timeout_s, {team.index: message}, dict[int, Any]()
    while not team.leads:
        try:
            with (
                socket.create_connection((host.strip("[]"), int(port)), timeout_s) as link,
                link.makefile("rw") as line,
            ):
                print(json.dumps([team.index, message]), file=line, flush=True)
                return json.loads(line.readline())
        except (OSError, ValueError) as error:  # host 0 does not listen yet, or another program does
            if time.monotonic() > deadline:
                raise _unreachable(address, timeout_s, error) from error
            time.sleep(0.1)
    with contextlib.ExitStack() as stack:
        try:
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            server = stack.enter_context(socket.create_server(("", int(port)), family=family, dualstack_ipv6=dual))
            while len(received) < team.count:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                link = stack.enter_context(server.accept()[0])
                link.settimeout(timeout_s)
                reply = stack.enter_context(link.makefile("rw"))
                with contextlib.suppress(ValueError, TypeError):  # another program's
                    index, text = json.loads(reply.readline())
                    received[index], lines[index] = text, reply
            for reply in lines.values():
                print(json.dumps([received[index] for index in range(team.count)]), file=reply, flush=True)
        except OSError as error:
            raise _unreachable(address, timeout_s, error) from error
    return [received[index] for index in range(team.count)]


def require_same(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raises the same `UserError` on all hosts if their `config` or image list (`names`) differ."""
    first = messages[0]
    for index, other in enumerate(messages[1:], start=1):
        odd = [f"config.{key}" for key, value in sorted(first["config"].items()) if value != other["config"].get(key)]
        odd += ["image list"] if first["names"] != other["names"] else []
        if odd:
            raise UserError(f"host {index} differs from host 0 in {', '.join(odd)}: start all with the same command")


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
    address, count, index = values = [environ.get(name, "") for name in _EXPLICIT]
    if not any(values):
        return {}
    if not all(values) or not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise UserError(
            f"{', '.join(f'{name} is {value!r}' for name, value in zip(_EXPLICIT, values))}: for a run on several "
            "hosts set all three on each of them (host:port, the number of hosts, its own from 0); for one host none"
        )
    return {"coordinator_address": address, "num_processes": int(count), "process_id": int(index)}


def _unreachable(address: str, timeout_s: int, error: Exception) -> UserError:
    return UserError(
        f"the hosts of this run did not find each other within {timeout_s} s (coordinator: {address}; "
        f"{str(error).splitlines()[0]}): start all of them at the same time and make sure that all reach the "
        "coordinator's port; config.runtime.hosts_timeout_s says how long to wait, config.runtime.hosts='one' not to "
        "look for others"
    )
