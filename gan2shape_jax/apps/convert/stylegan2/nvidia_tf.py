"""Converts a network pickle of NVIDIA's TensorFlow repositories to the package's parameters.

Such a file holds the generator, the discriminator and the generator's moving average (stylegan2:
training/networks_stylegan2.py, stylegan2-ada: training/networks.py). Variables are named by the scopes that they were
created in (`synthesis/8x8/Conv0_up/weight`) and laid out as ours are: convolutions (kh, kw, in, out), linear layers
(in, out). They differ from ours in that kernels of layers that double the side are rotated by 180 degrees, style
biases have no 1 added, and features are flattened (c, h, w).

Settings that change the computation are read or compared with what the package computes, those that only matter in
training are ignored, and a file with any other is rejected. A missing setting takes the default of the function that
builds the network, and the two repositories differ in these: stylegan2 measures deviations over groups of four images
(`D_stylegan2`), stylegan2-ada over the whole batch (`D_main`). `legacy.py` of stylegan2-ada-pytorch uses the latter for
both, so that its discriminator of a stylegan2 pickle differs from TensorFlow's for more than four images; here each is
what it was trained as.
"""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gan2shape_jax.apps.convert import foreign
from gan2shape_jax.apps.convert.foreign import Path, Shape, Table, Tensor
from gan2shape_jax.apps.convert.stylegan2.nvidia import (
    HALF,
    MOST_TAPS,
    require_one_width,
    sides_up_to,
    standard_taps,
    whole,
)
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.checkpoints import TENSORFLOW
from gan2shape_jax.io.sandbox import Record
from gan2shape_jax.io.weights import listed, short
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.architecture import BINOMIAL, discriminator_shapes, generator_shapes

_VERSIONS = (4, 5)  # of the saved state: stylegan2, stylegan2-ada

# Settings that are read, and others that do not affect what a trained network computes; widths are those of the shapes.
_KNOWN = {
    "generator": (
        "resolution latent_size dlatent_size mapping_layers mapping_fmaps mapping_lrmul architecture conv_clamp "
        "resample_kernel use_noise truncation_psi truncation_cutoff truncation_psi_val truncation_cutoff_val "
        "dlatent_avg_beta w_avg_beta style_mixing_prob randomize_noise fused_modconv structure fmap_base fmap_decay "
        "fmap_min fmap_max fmap_const num_fp16_res mapping_func synthesis_func label_fmaps dlatent_broadcast label_size"
    ).split(),
    "discriminator": (
        "label_size resolution architecture conv_clamp resample_kernel mbstd_group_size mbstd_num_features fmap_base "
        "fmap_decay fmap_min fmap_max num_fp16_res structure freeze_layers mapping_layers mapping_fmaps mapping_lrmul "
        "augment_strength pagan_num pagan_fade"
    ).split(),
}
_COMMON: dict[str, Any] = {"num_channels": 3, "nonlinearity": "lrelu", "dtype": "float32"}
_PLAIN = {"use_pagan": False, "use_spectral_norm": False, "adaptive_dropout": 0, "score_size": 1, "score_max": 1}
# Settings with a single supported value.
_FIXED = {
    "generator": _COMMON | {"mapping_nonlinearity": "lrelu", "normalize_latents": True},
    "discriminator": _COMMON | _PLAIN,
}


def is_network(value: Any) -> bool:
    """Whether a value of a pickle is a network of NVIDIA's TensorFlow code."""
    return isinstance(value, Record) and value.class_name == TENSORFLOW


class Settings:
    """A network, what it is (`generator`), the file's name, and its settings, which `check` checks."""

    def __init__(self, network: Record, what: str, source: str | os.PathLike) -> None:
        """Takes a network as it is in the file."""
        self.network, self.what, self.source = network, what, source
        self.builder = str(network.fields.get("build_func_name"))  # the function that builds it
        self._kwargs: dict[str, Any] = network.fields.get("static_kwargs", {})

    def component(self, name: str) -> "Settings":
        """Returns a component; raises `UserError` if there is none."""
        part = self.network.fields.get("components", {}).get(name)
        if not is_network(part):
            raise UserError(f"{self.source}: the {self.what} has no component {name!r}")
        return Settings(part, f"{self.what}'s {name}", self.source)

    @property
    def variables(self) -> dict[str, np.ndarray]:
        """Its own variables by name; raises `UserError` if some are not numbers."""
        arrays = {str(name): np.asarray(value) for name, value in self.network.fields.get("variables", [])}
        if odd := [name for name, value in arrays.items() if value.dtype.kind not in "fiub"]:
            raise UserError(f"{self.source}: the {self.what} has variables that are not numbers: {listed(odd)}")
        return arrays

    def get(self, name: str, default: Any) -> Any:
        """Returns a setting, or the default if it is missing."""
        return self._kwargs.get(name, default)

    def count(self, name: str, default: int | None, *, none: int | None = None) -> int:
        """Returns a non-negative integer, or `none` for None; raises `ValueError` for anything else."""
        value = self.get(name, default)
        return whole(name, f"the {self.what}", none if value is None and none is not None else value)

    def check(self) -> None:
        """Raises `UserError` for another version, for classes, or for unsupported settings, all of which it lists."""
        this, version = f"{self.source}: the {self.what}", self.network.fields.get("version")
        if version not in _VERSIONS or type(version) is not int:
            raise UserError(f"{this} is of version {short(version)}; StyleGAN2's are of version 4 or 5")
        if self.get("label_size", 0) != 0:
            raise UserError(f"{this} is conditional; take the PyTorch pickle of the same network, and --class")
        faults = [
            f"{name} is {short(actual)}, supported is {value!r}"
            for name, value in _FIXED[self.what].items()
            for actual in [self.get(name, value)]
            if not isinstance(actual, (str, bool, int, float))
            or (isinstance(actual, bool), actual) != (isinstance(value, bool), value)
        ]
        unknown = [name for name in self._kwargs if name not in (*_KNOWN[self.what], *_FIXED[self.what])]
        faults += [f"{listed(unknown, 10)}: unknown"] if unknown else []
        if faults:
            raise UserError(f"{self.source}: settings of a {self.what} that is not supported: {listed(faults)}")


_SYNTHESES = {"G_synthesis_stylegan2": False, "G_synthesis": False, "G_synthesis_stylegan_revised": True}  # grown?
_DISCRIMINATORS = {"D_stylegan2": False, "D_main": False, "D_stylegan": True}
_ADA = "D_main"
_BIAS = "synthesis/{0}x{0}/Conv{1}/bias"


def infer(
    generator: Settings, discriminator: Settings, arrays: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[Architecture, list[str], bool, list[str]]:
    """Returns what two networks are, after checking their settings; widths come from `arrays`, by network.

    That is their architecture; which of them were grown progressively, and have layers for each side; whether the
    generator was trained without noise; and notes on what is computed differently from training. Raises `UserError` if
    they are not StyleGAN2 networks, or have unsupported settings.
    """
    _grown(generator, {"G_main": False})
    _grown(generator.component("mapping"), {"G_mapping": False})
    grown_generator = _grown(generator.component("synthesis"), _SYNTHESES)
    grown_discriminator = _grown(discriminator, _DISCRIMINATORS)
    generator.check()
    discriminator.check()
    source = generator.source
    sides = {
        net.what: sides_up_to(net.count("resolution", 1024), net.what, source) for net in (generator, discriminator)
    }
    channels = [_width(arrays["generator"], _BIAS.format(side, "1" * (side > 4)), 0) for side in sides["generator"]]
    widths = [_width(arrays["discriminator"], "4x4/Conv/bias", 0)]
    widths += [_width(arrays["discriminator"], f"{s}x{s}/Conv0/bias", 0) for s in sides["discriminator"][1:]]
    style, layers = generator.count("dlatent_size", 512), generator.count("mapping_layers", 8)
    mapped = (_width(arrays["generator"], f"mapping/Dense{i}/weight", 1) for i in range(min(layers, 100)))
    require_one_width([generator.count("latent_size", 512), *mapped], style, source)
    ada = discriminator.builder == _ADA
    # Groups of one image have no deviation: stylegan2's TensorFlow code leaves the layer out then.
    group = discriminator.count("mbstd_group_size", None if ada else 4, none=0 if ada else None)
    measured = ada or group > 1
    kind = "orig" if grown_discriminator else discriminator.get("architecture", "resnet")
    clamps = [net.get("conv_clamp", None) for net in (generator, discriminator)]
    if kind == "skip" and clamps[1] is not None:
        raise UserError(f"{source}: a discriminator of kind 'skip' with conv_clamp is not supported")
    conv_clamp, discriminator_clamp = (None if clamp is None else _number(clamp) for clamp in clamps)
    arch = Architecture(
        size=sides["generator"][-1],
        style_dim=style,
        mapping_layers=layers,
        channels=tuple(channels),
        discriminator_channels=tuple(widths),
        mapping_scale=_number(generator.get("mapping_lrmul", 0.01)),
        stddev_group=group,
        stddev_channels=discriminator.count("mbstd_num_features", 1) if measured else 0,
        generator_kind="orig" if grown_generator else generator.get("architecture", "skip"),
        discriminator_kind=kind,
        conv_clamp=conv_clamp,
        discriminator_clamp=discriminator_clamp,
        taps=_taps(generator),
        discriminator_taps=_taps(discriminator),
        stored_mean=True,
    )
    grown = [net.what for net, yes in ((generator, grown_generator), (discriminator, grown_discriminator)) if yes]
    half = [net.what for net in (generator, discriminator) if net.get("num_fp16_res", 0) not in (0, None)]
    notes = [f"Grown step by step ({' and '.join(grown)}): the layers of the full side are kept."] * bool(grown)
    notes += [HALF.format(" and ".join(half))] * bool(half)
    return arch, grown, not generator.get("use_noise", True), notes


def _grown(network: Settings, builders: Mapping[str, bool]) -> bool:
    """Returns whether a network was grown, by the function that builds it; `UserError` if that is not StyleGAN2's."""
    if network.builder not in builders:
        built = f"{network.what} is built by {short(network.builder)}; StyleGAN2's is by {' or '.join(builders)}"
        raise UserError(f"{network.source}: the {built}")
    return builders[network.builder]


def _width(arrays: Mapping[str, np.ndarray], name: str, axis: int) -> int:
    """Returns the length of an axis; 0 if it does not exist, which is reported later."""
    return arrays[name].shape[axis] if name in arrays and axis < arrays[name].ndim else 0


def _taps(network: Settings) -> tuple[float, ...]:
    """Returns the low-pass filter along one axis; raises `ValueError` if it is not a filter, or has two axes."""
    taps = network.get("resample_kernel", list(BINOMIAL))
    if not isinstance(taps, (list, tuple)) or not 0 < len(taps) <= MOST_TAPS:
        raise ValueError(f"a resample_kernel that is {short(taps)}")
    numbers = [_number(tap) for tap in taps]
    if not sum(numbers):
        raise ValueError("a resample_kernel whose sum is zero")
    return standard_taps([number / sum(numbers) for number in numbers])


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{short(value)} in place of a number")
    return float(value)


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
        raise UserError(f"{source}: no {what} in it; a network pickle of NVIDIA's with both is needed")
    return Settings(network, what, source)


def _arrays(network: Settings) -> dict[str, np.ndarray]:
    arrays = network.variables
    for component in ("mapping", "synthesis") if network.what == "generator" else ():
        variables = network.component(component).variables
        arrays |= {f"{component}/{name}": value for name, value in variables.items()}
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
    name = "Conv" if index == 0 else "Conv0_up" if index % 2 else "Conv1"
    return f"synthesis/{_scope((index + 1) // 2)}/{name}"


def _generator_table(arch: Architecture, progressive: bool) -> Table:
    def tensor(path: Path, shape: Shape) -> Tensor:
        kind, i, part = (*path, "", "")[:3]
        if kind == "mapping":
            return foreign.same(f"mapping/Dense{int(i) - 1}/{part}", shape)
        if kind == "input":
            return foreign.constant("synthesis/4x4/Const/const", shape, (1,))
        if kind == "mean_w":
            return foreign.same("dlatent_avg", shape)
        if kind == "noise":
            return foreign.plain(f"synthesis/noise{i}", (1, 1, *shape), shape)
        if kind == "skips":
            return _turned(f"synthesis/{_scope(i)}/Skip/weight", shape)
        colours = "synthesis/ToRGB_lod0" if progressive else f"synthesis/{_scope(i)}/ToRGB"
        name = f"{_layer(int(i)) if kind == 'layers' else colours}/{part.replace('style_', 'mod_')}"
        if part == "style_bias":
            return Tensor(name, shape, lambda value: value + 1)
        return (_turned if name.endswith("Conv0_up/weight") else foreign.same)(name, shape)

    return foreign.table(generator_shapes(arch), tensor)


def _discriminator_table(arch: Architecture, progressive: bool) -> Table:
    last = len(arch.discriminator_channels) - 1
    names = {"conv1": "Conv0", "conv2": "Conv1_down", "from_rgb": "FromRGB", "skip": "Skip", "final_conv": "Conv"}
    names |= {"final_linear": "Dense0", "final_rgb": "FromRGB"}

    def tensor(path: Path, shape: Shape) -> Tensor:
        *_, layer, part = path
        if layer == "output":
            return foreign.same(f"Output/{part}", shape)
        if progressive and path[0] == "from_rgb":
            return foreign.same(f"FromRGB_lod0/{part}", shape)
        level = last if path[0] == "from_rgb" else last - int(path[1]) if path[0] == "blocks" else 0
        name = f"{_scope(level)}/{names[layer]}/{part}"
        return (_flattened if name == "4x4/Dense0/weight" else foreign.same)(name, shape)

    return foreign.table(discriminator_shapes(arch), tensor)


def _drop_growth(network: Settings, arrays: dict[str, np.ndarray], scopes: Iterable[str]) -> None:
    """Drops what progressive growing left behind; raises `UserError` if the network was not fully grown.

    `lod` counts the doublings still to come before the full side; at 0 the layers of the other sides are no longer
    used.
    """
    for name in [name for name in arrays if name.rpartition("/")[2] == "lod"]:
        value = arrays.pop(name)
        if value.size != 1 or value.item() != 0:
            raise UserError(f"{network.source}: the {network.what} is from an unfinished training; take its last one")
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
    arch, grown, silent, notes = infer(generator, discriminator, theirs)
    for network, scope in ((generator, "synthesis/ToRGB_lod"), (discriminator, "FromRGB_lod")):
        _drop_growth(network, theirs[network.what], [scope] if network.what in grown else [])
    if silent:  # layers that were trained without noise get a zero strength and a zero map
        for i in range(arch.layers):
            side = 4 * 2 ** ((i + 1) // 2)
            theirs["generator"][f"synthesis/noise{i}"] = np.zeros((1, 1, side, side), np.float32)
            theirs["generator"][f"{_layer(i)}/noise_strength"] = np.zeros((), np.float32)
    tables = {"generator": _generator_table, "discriminator": _discriminator_table}
    parts = {what: (f"{what}: ", table(arch, what in grown), theirs[what]) for what, table in tables.items()}
    return arch, foreign.params_of(parts, source), notes
