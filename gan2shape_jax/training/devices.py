"""Networks that many images share, on many devices: how arrays are laid out on these.

What is shared is replicated, and only what the replicas of an iteration see is sharded. Programs are `jax.jit`ted and
follow the shardings of their arguments.
"""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "images"


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
