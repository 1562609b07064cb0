"""The trained networks as a file: our own safetensors, or a checkpoint of the published implementation.

In safetensors, names are paths such as `depth/down_0/kernel`; if the header lists `networks`, the file holds only
those; `depth_network` is the name of the depth network, if it is not the method's. Tensors under `statistics/` do not
belong to a network (`model_file`). A `.pth` has one state dictionary per network: `netD`, `netA`, `netV`, `netL` and
`netEnc`. There, the networks are sequences in which activations and upsampling are counted too (`network.17.weight`);
kernels are (out, in, rows, columns), those of transposed convolutions (in, out, rows, columns).
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gan2shape_jax import extensions
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.checkpoints import read_checkpoint
from gan2shape_jax.io.weights import (
    explain,
    listed,
    misfits,
    open_safetensors,
    recognise,
    safetensors_bytes,
    short,
    tensor_names,
)
from gan2shape_jax.method.models import DETAIL, NAMES, Params, detail_module, modules, published
from gan2shape_jax.method.settings import NetworkSizes, Settings
from gan2shape_jax.networks.layers import placed
from gan2shape_jax.networks.modules import Network, channels_of, param_shapes

FORMAT = "gan2shape_jax networks"
TORCH_NAMES = {"depth": "netD", "albedo": "netA", "view": "netV", "light": "netL", "encoder": "netEnc"}
# The networks that a finished image keeps if `config.outputs.networks` is 'small'.
SMALL = ("view", "encoder")
_BESIDE = "statistics/"
_DEPTH = "depth_network"


def depth_metadata(depth: str) -> dict[str, str]:
    """Returns what the header of a file with networks says of the depth network of this name."""
    return {} if depth == NetworkSizes.depth else {_DEPTH: depth}


def networks_bytes(params: Params, *, small: bool = False, depth: str = NetworkSizes.depth) -> bytes:
    """Returns a file's content with the parameters of the five networks, and `DETAIL`; `small` is a sixth of that.

    `depth` is the name of the depth network.

    It has only view network and encoder, in float16, which the GAN's images of a finished result need; depth, albedo
    and light are arrays by then.
    """
    listed = SMALL if small else tuple(params) if DETAIL in params else ()
    metadata = {"format": FORMAT} | ({"networks": " ".join(listed)} if listed else {}) | depth_metadata(depth)
    kept = flatten_dict({name: params[name] for name in SMALL} if small else params, sep="/")
    flat = {name: np.ascontiguousarray(value, np.float16 if small else None) for name, value in kept.items()}
    return safetensors_bytes(flat, metadata)


def load_networks(path: pathlib.Path, like: Params, settings: Settings, *, needed: tuple[str, ...] = ()) -> Params:
    """Reads the networks of `like`, of the same shapes; those that the file lacks stay as in `like`.

    The file is safetensors, with all networks unless its header lists some, or a torch file (`.pth`, `.pt`) of the
    published implementation. `needed` names the networks that the file must hold; others of the method that are not in
    `like` are left alone. `DETAIL` is read where the header lists it.
    Raises `UserError`: the file is missing or damaged, lacks a needed network, or has other tensors; the message lists
    them.
    """
    if not path.exists():
        raise UserError(f"network weights {path} do not exist (config.networks.pretrained)")
    if path.suffix in (".pth", ".pt"):
        networks = _from_torch(path, settings)
    else:
        networks = _from_safetensors(path, like, settings)
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
        family = recognise(tensor_names(content))
        advice = f"; {explain(family, path)}" if family else ""
        raise UserError(
            f"{path} holds none of {', '.join(TORCH_NAMES.values())}: it is not a checkpoint of the "
            f"published implementation's networks{advice}"
        )
    networks: dict[str, Any] = {}
    for theirs, ours in names.items():
        try:
            networks[ours] = params_from_torch(nets[ours], content[theirs])
        except (UserError, ValueError) as error:
            raise UserError(f"{theirs} in {path} does not fit this configuration's networks: {error}") from error
    return networks


def _from_safetensors(path: pathlib.Path, like: Params, settings: Settings) -> Params:
    with open_safetensors(path) as file:
        listed = file.metadata["networks"].split() if "networks" in file.metadata else list(published(like))
        depth, ours = file.metadata.get(_DEPTH, NetworkSizes.depth), settings.networks.depth
        if "depth" in listed and "depth" in like and depth != ours:
            there = depth in (NetworkSizes.depth, *extensions.names("depth_network"))
            advice = f"set config.networks.depth={depth}" if there else "install the package that adds it"
            raise UserError(
                f"the depth network of {path} is {depth[:80]!r}, this configuration's {ours!r}: {advice}, or name "
                "another file"
            )
        if DETAIL in listed:
            like = {**like, DETAIL: param_shapes(detail_module(settings))}
        expected = flatten_dict({name: like[name] for name in listed if name in like}, sep="/")
        aside = (_BESIDE, *(f"{name}/" for name in NAMES if name not in like))
        stored = {name: shape for name, shape in file.shapes.items() if not name.startswith(aside)}
        if differing := misfits(stored, {name: tuple(leaf.shape) for name, leaf in expected.items()}):
            fits = file.metadata.get("fits", "")
            sizes = f" (its networks fit {fits[:500]})" if fits else ""
            raise UserError(f"{path} does not fit this configuration's networks{sizes}: {differing}")
        tensors = {name: file.read(name) for name in expected}
    return unflatten_dict({name: np.asarray(value, np.float32) for name, value in tensors.items()}, sep="/")


_Path = tuple[str, ...]

# Axes of torch's kernels in the order of ours.
_CONVOLUTION, _TRANSPOSED, _EXPAND = (2, 3, 1, 0), (2, 3, 0, 1), (0, 2, 3, 1)
_LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def params_from_torch(module: Network, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the parameters of a network from the original's tensors by their names, as float32.

    Raises:
        UserError: any tensor is missing, unknown, misshapen or not finite, or is not a tensor; the message lists them.
    """
    if not isinstance(state, Mapping):
        raise UserError(f"a {type(state).__name__} where a dictionary of tensors is needed")
    if strange := [n for n, value in state.items() if not (isinstance(value, np.ndarray) and isinstance(n, str))]:
        raise UserError(f"values that are not tensors: {listed(map(short, strange))}")
    tensors = torch_tensors(module)
    if differing := misfits(state, {tensor.name: tensor.shape for tensor in tensors.values()}):
        raise UserError(f"the tensors do not fit a {type(module).__name__} of side {module.size}: {differing}")
    shapes = flatten_dict(param_shapes(module))
    ours = {path: np.asarray(state[name], np.float32).transpose(axes) for path, (name, _, axes) in tensors.items()}
    return dict(unflatten_dict({path: jnp.asarray(ours[path].reshape(shapes[path].shape)) for path in ours}))


class TorchTensor(NamedTuple):
    """A parameter as the original has it."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]  # of this tensor, in the order of ours


def torch_tensors(module: Network) -> dict[_Path, TorchTensor]:
    """Returns the original's tensor for each of our parameters, by its path."""
    layers, places, place = module.layers(), dict[str, int](), 0
    for layer in layers:
        place += layer.kind == "upsample"  # the original counts the doubling too
        places[layer.name] = place
        place += 1
    tensors = {}
    for path, layer, inputs in placed(layers, channels_of(module)):
        inner = ["conv_sc" if part == "shortcut" else part for part in path[1:]]
        for leaf, shape in layer.shapes(inputs).items():
            axes: tuple[int, ...] = (0,)
            if leaf == "kernel":
                axes = {"expand": _EXPAND, "twice": _TRANSPOSED}.get(layer.kind, _CONVOLUTION)
                shape = (1, 1, *shape) if layer.kind == "pointwise" else shape  # ours has no spatial axes
            name = ".".join(["network", str(places[path[0]]), *inner, _LEAF[leaf]])
            tensors[(*path, leaf)] = TorchTensor(name, tuple(shape[axes.index(k)] for k in range(len(axes))), axes)
    return tensors
