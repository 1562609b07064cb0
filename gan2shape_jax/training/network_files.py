"""The trained networks as a file: our own safetensors, or a checkpoint of the published implementation.

In safetensors, names are paths such as `depth/down_0/kernel`; if the header lists `networks`, the file holds only
those. Tensors under `statistics/` do not belong to a network (`model_file`). A `.pth` has one state dictionary per
network: `netD`, `netA`, `netV`, `netL` and `netEnc`.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights import families
from gan2shape_jax.io.weights.checkpoints import read_checkpoint
from gan2shape_jax.io.weights.tensors import misfits, open_safetensors
from gan2shape_jax.method.models import Params, modules
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.networks.torch_weights import params_from_torch

FORMAT = "gan2shape_jax networks"
TORCH_NAMES = {"depth": "netD", "albedo": "netA", "view": "netV", "light": "netL", "encoder": "netEnc"}
# The networks that a finished image keeps if `config.outputs.networks` is 'small'.
SMALL = ("view", "encoder")
_BESIDE = "statistics/"


def networks_bytes(params: Params, *, small: bool = False) -> bytes:
    """Returns a file's content with the parameters of the five networks; `small` is a sixth of that.

    It has only view network and encoder, in float16, which the GAN's images of a finished result need; depth, albedo
    and light are arrays by then.
    """
    metadata = {"format": FORMAT} | ({"networks": " ".join(SMALL)} if small else {})
    kept = flatten_dict({name: params[name] for name in SMALL} if small else params, sep="/")
    flat = {name: np.ascontiguousarray(value, np.float16 if small else None) for name, value in kept.items()}
    return in_order(safetensors.numpy.save(flat, metadata=metadata))


def in_order(content: bytes) -> bytes:
    """Returns a safetensors file with its metadata sorted: the library writes them in arbitrary order."""
    start = 8  # the header's length comes first
    end = start + int.from_bytes(content[:start], "little")
    header = json.loads(content[start:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:start] + text.ljust(end - start) + content[end:]


def load_networks(path: pathlib.Path, like: Params, settings: Settings, *, needed: tuple[str, ...] = ()) -> Params:
    """Reads networks of the same shapes as `like`; networks that the file lacks stay as in `like`.

    Args:
      path: a safetensors file, which holds all networks unless its header lists some, or a torch file (`.pth`, `.pt`)
        of the published implementation.
      like: parameters of all five networks.
      settings: the networks' settings.
      needed: networks that the file must hold.

    Raises:
      UserError: the file is missing or damaged, lacks a needed network, or has other tensors; the message lists them.
    """
    if not path.exists():
        raise UserError(f"network weights {path} do not exist (config.networks.pretrained)")
    networks = _from_torch(path, settings) if path.suffix in (".pth", ".pt") else _from_safetensors(path, like)
    if any(not np.isfinite(value).all() for value in flatten_dict(networks).values()):
        raise UserError(f"{path} holds numbers that are not finite (NaN or infinity)")
    absent = [TORCH_NAMES[name] for name in needed if name not in networks]
    if absent:
        raise UserError(
            f"{path} lacks {', '.join(absent)}, without which this run cannot start: pretrained networks "
            "replace the prior's fit, and all training in prediction (config.networks.pretrained); an image of a run "
            "keeps all of its networks where the run has config.outputs.networks='full'"
        )
    return {**like, **networks}


def _from_torch(path: pathlib.Path, settings: Settings) -> Params:
    content = read_checkpoint(path)
    nets = modules(settings)
    names = {theirs: ours for ours, theirs in TORCH_NAMES.items() if isinstance(content, dict) and theirs in content}
    if not names:
        family = families.recognise(families.names_of(content))
        known = f"; {families.explain(family, path)}" if family else ""
        raise UserError(
            f"{path} holds none of {', '.join(TORCH_NAMES.values())}: it is no checkpoint of the "
            f"published implementation's networks{known}"
        )
    networks: dict[str, Any] = {}
    for theirs, ours in names.items():
        try:
            networks[ours] = params_from_torch(nets[ours], content[theirs])
        except (UserError, ValueError) as error:
            raise UserError(f"{theirs} in {path} does not fit this configuration's networks: {error}") from error
    return networks


def _from_safetensors(path: pathlib.Path, like: Params) -> Params:
    with open_safetensors(path) as file:
        listed = file.metadata["networks"].split() if "networks" in file.metadata else list(like)
        expected = flatten_dict({name: like[name] for name in listed if name in like}, sep="/")
        found = {name: shape for name, shape in file.shapes.items() if not name.startswith(_BESIDE)}
        if differing := misfits(found, {name: tuple(leaf.shape) for name, leaf in expected.items()}):
            fits = file.metadata.get("fits", "")
            sizes = f" (its networks fit {fits[:500]})" if fits else ""
            raise UserError(f"{path} does not fit this configuration's networks{sizes}: {differing}")
        tensors = {name: file.read(name) for name in expected}
    return unflatten_dict({name: np.asarray(value, np.float32) for name, value in tensors.items()}, sep="/")
