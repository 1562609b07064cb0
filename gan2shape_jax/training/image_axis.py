"""The axis of images: lifts functions of one image to a group of images spread over devices.

All arrays of a group have the images as their first axis, which is sharded over the devices of a mesh. Nothing is
exchanged between images or devices: the lifted functions contain no collectives.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = ["AXIS", "FORMS", "Form", "Layout", "layout_of", "lift", "padded", "pick", "place", "replicate", "stack"]

AXIS = "images"
Form = Literal["vmapped", "scanned", "written out"]
FORMS: tuple[Form, ...] = ("vmapped", "scanned", "written out")
_FORM: dict[str, Form] = {"cpu": "written out"}  # by platform; "vmapped" elsewhere


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a group is laid out on devices; hashable, so that it can be a static argument of `jit`.

    Attributes:
      mesh: a mesh with one axis, `AXIS`.
      form: how several images share one device. "vmapped": they share each operation. "scanned": one after another,
        in a loop whose body is compiled once. "written out": one after another, each with its own operations
        (unrolled). On CPU, a convolution with a separate kernel for every image is several times slower, and one
        inside a loop is off XLA's fast path.
    """

    mesh: Mesh
    form: Form

    @property
    def devices(self) -> int:
        """The number of devices that hold the group."""
        return self.mesh.size

    @property
    def platform(self) -> str:
        """The devices' platform: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform


def layout_of(images: int, devices: Sequence[jax.Device] | None = None) -> Layout:
    """Returns the layout for `images` images, on at most that many of `devices` (by default this host's)."""
    used = list(jax.local_devices() if devices is None else devices)[:images]
    return Layout(mesh=Mesh(np.array(used), (AXIS,)), form=_FORM.get(used[0].platform, "vmapped"))


def padded(images: int, devices: int) -> int:
    """Returns `images` rounded up to a multiple of `devices`."""
    return -(-images // devices) * devices


def lift(function: Callable[..., Any], layout: Layout) -> Callable[[Any, Any], Any]:
    """Turns `function(*own, *shared)` of one image into a function of a group.

    Returns:
      A function of `own`, a tuple of pytrees whose leaves have the images as first axis, and `shared`, a tuple of
      pytrees that are the same for all images; every leaf of its result has the images as first axis. To be called
      inside `jax.jit`.
    """

    def local(own, shared):
        count = jax.tree.leaves(own)[0].shape[0]
        if count == 1:  # only a reshape: no copies
            alone = function(*jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), own), *shared)
            return jax.tree.map(lambda leaf: leaf.reshape(1, *leaf.shape), alone)
        if layout.form == "vmapped":
            return jax.vmap(lambda mine: function(*mine, *shared))(own)
        if layout.form == "scanned":
            return jax.lax.map(lambda mine: function(*mine, *shared), own)
        return stack([function(*pick(own, i), *shared) for i in range(count)])

    if layout.devices == 1:
        return local
    images, everywhere = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(local, mesh=layout.mesh, in_specs=(images, everywhere), out_specs=images, check_vma=False)


def stack(trees: Sequence[Any]) -> Any:
    """Stacks the images' pytrees, all of the same structure, along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def pick(tree: Any, index: int) -> Any:
    """Returns one image's pytree from a group's."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def place(tree: Any, mesh: Mesh) -> Any:
    """Spreads a group's arrays over the devices; the number of images must be a multiple of their number.

    On the default device alone they are not bound to it: programs would be compiled again for arrays that are.
    """
    if list(mesh.devices.flat) == jax.local_devices()[:1]:
        return jax.device_put(tree, may_alias=False)
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies what all images share to every device of all hosts; free if it is already there."""
    if mesh.size == 1 and list(mesh.devices.flat) == jax.local_devices()[:1]:
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
