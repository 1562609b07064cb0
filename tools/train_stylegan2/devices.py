"""The devices that share a batch, on one host or several."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, UInt8

from gan2shape_jax.errors import UserError

from .updates import AXIS

__all__ = ["everywhere", "mesh_for", "on_devices"]


def mesh_for(batch: int) -> Mesh:
    """Returns a mesh of as many devices as can share a batch evenly.

    Raises:
      UserError: there are several hosts, and not all of their devices can be used.
    """
    devices = jax.devices()
    count = max(n for n in range(1, min(batch, len(devices)) + 1) if batch % n == 0)
    if count < len(devices) and jax.process_count() > 1:
        raise UserError(f"--batch {batch} is no multiple of the {len(devices)} devices of all hosts")
    return Mesh(np.asarray(devices[:count]), (AXIS,))


def on_devices(pixels: UInt8[np.ndarray, "n s s 3"], rows: np.ndarray, mesh: Mesh) -> Array:
    """Returns a batch in which each device's part is read by its own host."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    shape = (len(rows), *pixels.shape[1:])
    return jax.make_array_from_callback(
        shape, sharding, lambda index: np.asarray(pixels[rows[(index or (slice(None),))[0]]])
    )


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """Returns arrays replicated on every device of the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def put(leaf: Any) -> Array:
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

    return jax.tree.map(put, tree)
