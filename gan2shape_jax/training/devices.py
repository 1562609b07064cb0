"""Networks that many images share, on many devices and hosts: how arrays are laid out on these.

What is shared is replicated, and only what the replicas of an iteration see is sharded. Programs are `jax.jit`ted and
follow the shardings of their arguments.

Hosts are processes that train together, numbered by Slurm, Open MPI or JAX_PROCESS_ID (from 0) and JAX_NUM_PROCESSES.
They meet in the run's folder (`run.lock`) before `jax.distributed` connects them, as that aborts a process which waits
in vain, and every process that loses another.
"""

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan2shape_jax.errors import UserError

AXIS = "images"
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


def host_of(environ: Mapping[str, str]) -> tuple[int, int]:
    """Returns which host this is, from 0, and of how many.

    Raises `UserError`: the environment says it only in part, or no numbers.
    """
    names = next((names for sign, names in _LAUNCHERS.items() if environ.get(sign)), None)
    if names is None:
        return 0, 1
    index, count = (environ.get(name, "") for name in names)
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(
            f"{names[0]} is {index!r}, {names[1]} is {count!r}: for a run on several hosts they are the host's own "
            "number, from 0, and that of all hosts; for one host set neither, nor JAX_COORDINATOR_ADDRESS"
        )
    return int(index), int(count)


def connect(index: int, count: int, timeout_s: int) -> None:
    """Connects hosts that compute together until `jax.distributed.shutdown`; must precede the first computation.

    Raises `UserError`: nothing says where host 0 is. Where another host is missing, JAX aborts the process.
    """
    explicit = dict[str, Any]()
    if any(os.environ.get(name) for name in _EXPLICIT):
        address = os.environ.get("JAX_COORDINATOR_ADDRESS")
        explicit = {"coordinator_address": address, "num_processes": count, "process_id": index}
    try:
        jax.distributed.initialize(**explicit, initialization_timeout=timeout_s)
    except (RuntimeError, ValueError) as error:  # JAX's own are RuntimeErrors
        raise UserError(
            f"the hosts of this run were not connected ({str(error).splitlines()[0]}): to train together they need "
            "JAX_COORDINATOR_ADDRESS (host:port of host 0) beside JAX_PROCESS_ID and JAX_NUM_PROCESSES"
        ) from error


def platform_of(mesh: Mesh) -> str:
    """Returns the devices' platform: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def devices_used(count: int, devices: Sequence[Any]) -> int:
    """Returns how many of the devices share `count` parts of a batch: as few as do it in the same time.

    All, if they belong to several hosts: none of these may be left out.
    """
    if len({device.process_index for device in devices}) > 1:
        return len(devices)
    return -(-count // -(-count // len(devices)))


def mesh_of(count: int, devices: Sequence[jax.Device]) -> Mesh:
    """Returns a mesh over the devices that share `count` parts of a batch; see `devices_used` and `padded`."""
    return Mesh(np.asarray(devices[: devices_used(count, devices)]), (AXIS,))


def padded(count: int, mesh: Mesh) -> int:
    """Returns how many parts the devices compute, all of them as many: `count`, and padding without weight."""
    return count + -count % mesh.size


def padding_note(count: int, mesh: Mesh, what: str) -> str:
    """Returns a sentence on the padding, "" where there is none; `what` are the parts in the plural."""
    more = padded(count, mesh) - count
    if not more:
        return ""
    return (
        f"{count} {what} do not divide among {mesh.size} devices: {more} more, without weight, fill up the last "
        f"ones; a multiple of {len(jax.devices())} would use all devices fully"
    )


def sharing(mesh: Mesh) -> contextlib.AbstractContextManager[Any]:
    """Returns the context in which the rasteriser divides its work among the devices; see `visibility.join_batch`."""
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh) if mesh.size > 1 else contextlib.nullcontext()


def stack(trees: Sequence[Any]) -> Any:
    """Stacks the images' pytrees, all of the same structure, along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def pick(tree: Any, index: Any) -> Any:
    """Returns one image's pytree from that of many; with an array of indices, several images'."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _is_default(mesh: Mesh) -> bool:
    """Whether the mesh is the default device alone. Arrays that are bound to it would have programs compiled again."""
    return list(mesh.devices.flat) == jax.local_devices()[:1]


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies what all images share to every device of all hosts; free if it is already there."""
    if _is_default(mesh):
        return jax.device_put(tree)
    sharding = NamedSharding(mesh, PartitionSpec())
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(functools.partial(_to_all_hosts, sharding=sharding), tree)


def _to_all_hosts(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Returns a global array from one that every host has; `device_put` refuses committed arrays and keys."""
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _to_all_hosts(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    value = np.asarray(leaf)
    return jax.make_array_from_process_local_data(sharding, value, value.shape)


def shard(trees: Sequence[Any], mesh: Mesh) -> Any:
    """Stacks the trees of all replicas in order and puts each replica on its device."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def put(*parts):
        if _is_default(mesh):
            return jnp.asarray(np.stack(parts))
        shape = (len(parts), *np.shape(parts[0]))
        return jax.make_array_from_callback(shape, sharding, lambda here: np.stack(parts)[here])

    return jax.tree.map(put, *trees)


def on_host(tree: Any, mesh: Mesh) -> Any:
    """Returns a replicated tree as arrays that are not bound to the mesh."""
    return tree if _is_default(mesh) else jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)
