"""The trained networks as one safetensors file: names are paths such as `depth/down_0/kernel`."""

from __future__ import annotations

import pathlib

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError

from gan2shape_jax.errors import UserError
from gan2shape_jax.models import Params

__all__ = ["load_networks", "networks_bytes"]


def networks_bytes(params: Params) -> bytes:
    """The parameters of the five networks, serialised."""
    flat = {name: np.ascontiguousarray(value) for name, value in flatten_dict(params, sep="/").items()}
    return safetensors.numpy.save(flat, metadata={"format": "gan2shape_jax networks"})


def load_networks(path: pathlib.Path, like: Params) -> Params:
    """Reads networks of the same shapes as `like`.

    Raises:
      UserError: the file is missing or damaged, or has other tensors; the message lists them.
    """
    try:
        found = safetensors.numpy.load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"network weights {path} do not exist (config.networks.pretrained)") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no usable safetensors file of network weights: {error}") from error
    wanted = flatten_dict(like, sep="/")
    wrong = {"missing": sorted(wanted.keys() - found.keys()), "extra": sorted(found.keys() - wanted.keys()),
             "of another shape": sorted(
                 f"{k} {found[k].shape} instead of {wanted[k].shape}"
                 for k in wanted.keys() & found.keys() if found[k].shape != wanted[k].shape)}
    if any(wrong.values()):
        told = "; ".join(f"{what}: {', '.join(names[:8])}" for what, names in wrong.items() if names)
        raise UserError(f"{path} does not fit this configuration's networks: {told}")
    if any(not np.isfinite(value).all() for value in found.values()):
        raise UserError(f"{path} holds numbers that are not finite (NaN or infinity)")
    return unflatten_dict({name: np.asarray(value) for name, value in found.items()}, sep="/")
