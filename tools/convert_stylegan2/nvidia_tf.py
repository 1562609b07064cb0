"""Converts a network pickle of NVIDIA's TensorFlow repositories to the package's parameters.

Such a file holds the generator, the discriminator and the generator's moving average (stylegan2:
training/networks_stylegan2.py, stylegan2-ada: training/networks.py). Variables are named by the scopes that they were
created in (`synthesis/8x8/Conv0_up/weight`) and laid out as ours are: convolutions (kh, kw, in, out), linear layers
(in, out). They differ from ours in that kernels of layers that double the side are rotated by 180 degrees, style
biases have no 1 added, and features are flattened (c, h, w).
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.tensors import listed
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.architecture import discriminator_shapes, generator_shapes

from . import tensors
from .nvidia_tf_settings import Settings, infer, is_network
from .tensors import Path, Shape, Table, Tensor

__all__ = ["convert", "networks_of"]

_COMPONENTS = ("synthesis", "mapping")


def networks_of(content: Any) -> dict[str, Any]:
    """Returns the file's networks by the keys that PyTorch's pickles use: `G_ema` and `D`.

    They are told apart by the functions that build them; the last of several generators is the moving average.
    """
    networks: dict[str, Any] = {}
    for network in [content] if is_network(content) or not isinstance(content, (tuple, list)) else content:
        if is_network(network):
            builder = network.fields.get("build_func_name")
            networks["D" if isinstance(builder, str) and builder.startswith("D") else "G_ema"] = network
    return networks


def _network(networks: Mapping[str, Any], key: str, what: str, source: str | os.PathLike) -> Settings:
    network = networks.get(key)
    if network is None or not is_network(network):
        raise UserError(f"{source}: no {what} in it; a network pickle of NVIDIA's with both is wanted")
    return Settings(network, what, source)


def _arrays(network: Settings) -> dict[str, np.ndarray]:
    """Returns the variables of a network and its components, by their full names."""
    parts = {"": network, **{f"{name}/": network.component(name) for name in _COMPONENTS if network.has(name)}}
    arrays: dict[str, np.ndarray] = {}
    odd = []
    for prefix, part in parts.items():
        for name, value in part.variables.items():
            if value is None:
                odd.append(prefix + name)
            else:
                arrays[prefix + name] = value
    if odd:
        raise UserError(f"{network.source}: the {network.what} has variables that are no numbers: {listed(odd)}")
    return arrays


def _turned(name: str, shape: Shape) -> Tensor:
    """Returns the kernel of a layer that doubles the side, which their transposed convolution rotates."""
    return Tensor(name, shape, lambda value: value[::-1, ::-1])


def _flattened(name: str, ours: Shape) -> Tensor:
    """Returns a linear layer's weight over flattened 4x4 features: theirs are (c, h, w), ours (h, w, c)."""
    channels = ours[0] // 16
    return Tensor(name, ours, lambda value: value.reshape(channels, 4, 4, ours[1]).transpose(1, 2, 0, 3).reshape(ours))


def _scope(level: int | str) -> str:
    side = 4 * 2 ** int(level)
    return f"{side}x{side}"


def _layer(index: int) -> str:
    """Returns the scope of the generator's n-th 3x3 convolution."""
    name = "Conv" if index == 0 else "Conv0_up" if index % 2 else "Conv1"
    return f"synthesis/{_scope((index + 1) // 2)}/{name}"


def _generator_table(arch: Architecture, progressive: bool) -> Table:
    def tensor(path: Path, shape: Shape) -> Tensor:
        kind, i, part = (*path, "", "")[:3]
        if kind == "mapping":
            return tensors.same(f"mapping/Dense{int(i) - 1}/{part}", shape)
        if kind == "input":
            return tensors.constant("synthesis/4x4/Const/const", shape, (1,))
        if kind == "mean_w":
            return tensors.same("dlatent_avg", shape)
        if kind == "noise":
            return tensors.plain(f"synthesis/noise{i}", (1, 1, *shape), shape)
        if kind == "skips":
            return _turned(f"synthesis/{_scope(i)}/Skip/weight", shape)
        colours = "synthesis/ToRGB_lod0" if progressive else f"synthesis/{_scope(i)}/ToRGB"
        name = f"{_layer(int(i)) if kind == 'layers' else colours}/{part.replace('style_', 'mod_')}"
        if part == "style_bias":
            return Tensor(name, shape, lambda value: value + 1)
        return (_turned if name.endswith("Conv0_up/weight") else tensors.same)(name, shape)

    return tensors.table(generator_shapes(arch), tensor)


def _discriminator_table(arch: Architecture, progressive: bool) -> Table:
    last = len(arch.discriminator_channels) - 1
    names = {"conv1": "Conv0", "conv2": "Conv1_down", "from_rgb": "FromRGB", "skip": "Skip", "final_conv": "Conv"}
    names |= {"final_linear": "Dense0", "final_rgb": "FromRGB"}

    def tensor(path: Path, shape: Shape) -> Tensor:
        *_, layer, part = path
        if layer == "output":
            return tensors.same(f"Output/{part}", shape)
        if progressive and path[0] == "from_rgb":
            return tensors.same(f"FromRGB_lod0/{part}", shape)
        level = last if path[0] == "from_rgb" else last - int(path[1]) if path[0] == "blocks" else 0
        name = f"{_scope(level)}/{names[layer]}/{part}"
        return (_flattened if name == "4x4/Dense0/weight" else tensors.same)(name, shape)

    return tensors.table(discriminator_shapes(arch), tensor)


def _drop_growth(network: Settings, arrays: dict[str, np.ndarray], scopes: Iterable[str]) -> None:
    """Drops what progressive growing left behind; raises `UserError` if the network was not fully grown.

    `lod` counts the doublings still to come before the full side; at 0 the layers of the other sides are no longer
    used.
    """
    for name in [name for name in arrays if name.rpartition("/")[2] == "lod"]:
        value = arrays.pop(name)
        if value.size != 1 or value.item() != 0:
            raise UserError(
                f"{network.source}: the {network.what} is of a training under way, which was still growing to its full "
                "side; take the network of the end of the training"
            )
    for scope in scopes:
        for name in [name for name in arrays if name.startswith(scope) and not name.startswith(f"{scope}0/")]:
            del arrays[name]


def convert(networks: Mapping[str, Any], source: str | os.PathLike) -> tuple[Architecture, Params, list[str]]:
    """Returns architecture, parameters and notes for the networks that `networks_of` returned.

    Raises a UserError that lists what does not fit.
    """
    generator = _network(networks, "G_ema", "generator", source)
    discriminator = _network(networks, "D", "discriminator", source)
    theirs = {"generator": _arrays(generator), "discriminator": _arrays(discriminator)}
    found = infer(generator, discriminator, theirs)
    arch = found.arch
    _drop_growth(generator, theirs["generator"], ["synthesis/ToRGB_lod"] if found.grown_generator else [])
    _drop_growth(discriminator, theirs["discriminator"], ["FromRGB_lod"] if found.grown_discriminator else [])
    if found.silent:
        _silence(theirs["generator"], arch)
    tables = {
        "generator": _generator_table(arch, found.grown_generator),
        "discriminator": _discriminator_table(arch, found.grown_discriminator),
    }
    parts = {what: (f"{what}: ", table, theirs[what]) for what, table in tables.items()}
    return arch, tensors.params_of(parts, source), found.notes


def _silence(arrays: dict[str, np.ndarray], arch: Architecture) -> None:
    """Gives layers that were trained without noise a zero noise strength and a zero noise map."""
    for i in range(arch.layers):
        side = 4 * 2 ** ((i + 1) // 2)
        arrays[f"synthesis/noise{i}"] = np.zeros((1, 1, side, side), np.float32)
        arrays[f"{_layer(i)}/noise_strength"] = np.zeros((), np.float32)
