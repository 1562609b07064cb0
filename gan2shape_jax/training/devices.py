"""Many images on many devices: how arrays are laid out on them, and programs of one image made programs of many.

Arrays of independent images have the images as their first axis, which is sharded over the devices of a mesh; nothing
is exchanged between images or devices. What shared networks need is replicated, and only what the replicas of an
iteration see is sharded.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan2shape_jax.errors import UserError

AXIS = "images"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How independent images are laid out on devices; hashable, so that it can be a static argument of `jit`.

    Attributes:
      mesh: a mesh with one axis, `AXIS`.
      unrolled: whether images that share a device each have their own operations, one image after another; otherwise
        they share each operation. On CPU, a convolution with a separate kernel for every image is several times
        slower, and one inside a loop is off XLA's fast path.
    """

    mesh: Mesh
    unrolled: bool

    @property
    def devices(self) -> int:
        """The number of devices that hold the images."""
        return self.mesh.size

    @property
    def platform(self) -> str:
        """The devices' platform: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform


def layout_of(images: int, devices: Sequence[jax.Device] | None = None) -> Layout:
    """Returns the layout for `images` images, on at most that many of `devices` (by default this host's)."""
    used = list(jax.local_devices() if devices is None else devices)[:images]
    return Layout(mesh=Mesh(np.array(used), (AXIS,)), unrolled=used[0].platform == "cpu")


def devices_used(replicas: int, devices: Sequence[Any]) -> int:
    """Returns how many of the devices can share the replicas evenly.

    Raises:
      UserError: the devices belong to several hosts and not all can be used, which would leave a host out.
    """
    count = max(d for d in range(1, min(replicas, len(devices)) + 1) if replicas % d == 0)
    if count < len(devices) and len({device.process_index for device in devices}) > 1:
        raise UserError(
            f"config.schedule.batches_per_iteration is {replicas}, but the hosts have {len(devices)} devices "
            f"together: give a multiple of {len(devices)}, or 0 for one a device"
        )
    return count


def mesh_of(replicas: int, devices: Sequence[jax.Device]) -> Mesh:
    """Returns a mesh over as many devices as can share the replicas evenly; see `devices_used`."""
    return Mesh(np.asarray(devices[: devices_used(replicas, devices)]), (AXIS,))


def local_replicas(replicas: int, mesh: Mesh) -> range:
    """Returns the numbers of the replicas on this host's devices."""
    each = replicas // mesh.size
    mine = [i for i, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
    return range(mine[0] * each, (mine[-1] + 1) * each)


def for_each(function: Callable[..., Any], layout: Layout | None, *, shared: int) -> Callable[..., Any]:
    """Turns a function of one image into a function of many, to be called inside `jax.jit`.

    Args:
      function: takes what is an image's own, then what is the same for all images.
      layout: how the images are laid out on devices; None leaves the function as it is.
      shared: the number of arguments, the last ones, that are the same for all images.

    Returns:
      A function of the same arguments. The leaves of its result, and of all arguments but the last `shared`, have the
      images as first axis.
    """
    if layout is None:
        return function

    def local(*given):
        own, rest = given[:-shared], given[-shared:]
        count = jax.tree.leaves(own)[0].shape[0]
        if count == 1:  # only a reshape: no copies
            alone = function(*jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), own), *rest)
            return jax.tree.map(lambda leaf: leaf.reshape(1, *leaf.shape), alone)
        if layout.unrolled:
            return stack([function(*pick(own, i), *rest) for i in range(count)])
        return jax.vmap(lambda mine: function(*mine, *rest))(own)

    def spread_out(*given):
        specs = (PartitionSpec(AXIS),) * (len(given) - shared) + (PartitionSpec(),) * shared
        mapped = jax.shard_map(local, mesh=layout.mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)
        return mapped(*given)

    return local if layout.devices == 1 else spread_out


def stack(trees: Sequence[Any]) -> Any:
    """Stacks the images' pytrees, all of the same structure, along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def pick(tree: Any, index: Any) -> Any:
    """Returns one image's pytree from that of many; with an array of indices, several images'."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _is_default(mesh: Mesh) -> bool:
    """Whether the mesh is the default device alone. Arrays that are bound to it would have programs compiled again."""
    return list(mesh.devices.flat) == jax.local_devices()[:1]


def place(tree: Any, mesh: Mesh) -> Any:
    """Spreads arrays of many images over the devices; the number of images must be a multiple of their number."""
    if _is_default(mesh):
        return jax.device_put(tree, may_alias=False)
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


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


def spread(trees: Sequence[Any], replicas: int, mesh: Mesh) -> Any:
    """Stacks the trees of this host's replicas in order and puts each replica on its device."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def put(*parts):
        stacked = np.stack(parts)
        if _is_default(mesh):
            return jnp.asarray(stacked)
        return jax.make_array_from_process_local_data(sharding, stacked, (replicas, *stacked.shape[1:]))

    return jax.tree.map(put, *trees)


def on_host(tree: Any, mesh: Mesh) -> Any:
    """Returns a replicated tree as arrays that are not bound to the mesh."""
    return tree if _is_default(mesh) else jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)


def all_say(word: bool) -> bool:
    """Returns whether `word` is true on every host; all hosts must call this."""
    if jax.process_count() == 1:
        return word
    return bool(np.all(multihost_utils.process_allgather(np.asarray(word, np.int32))))


def wait_for_all(name: str) -> None:
    """Returns once every host has reached this barrier; `name` identifies the barrier."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
