"""Converts a network pickle of NVIDIA's PyTorch repositories to the package's parameters.

Such a file holds `G_ema` (the generator's moving average), `D` (the discriminator) and `G`, each a record of nested
modules (`_modules`), with tensors in `_parameters` and `_buffers`; every other entry of a record's state is a setting
(`conv_clamp`, `architecture`; stylegan2-ada-pytorch: training/networks.py, stylegan3: networks_stylegan2.py). Shapes
give the widths; what no shape reveals is in the settings. The architecture is read from a few of them; then every one
that changes the computation is compared with what the package computes, so that an unsupported variant is rejected.

Of a conditional network a class is chosen once, and its embedding is a constant then. In the generator it enters the
first mapping layer beside z, where it adds a constant to the bias; in the discriminator the logit is the inner product
of the last layer with the class's mapped vector, which reduces it to a single output. The resulting networks are
unconditional and behave exactly as the conditional ones do for that class.
"""

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gan2shape_jax.apps.convert import foreign
from gan2shape_jax.apps.convert.foreign import Path, Shape, Table, Tensor
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.sandbox import Record
from gan2shape_jax.io.weights import listed, short
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.architecture import BINOMIAL, discriminator_shapes, generator_shapes

MOST_TAPS = 64
HALF = "Trained with float16 layers ({}): computed in float32 here, clamped as trained."
_SIDES = tuple(2**k for k in range(2, 11))


def sides_up_to(size: int, what: str, source: str | os.PathLike) -> list[int]:
    """Returns 4, 8, ..., size; raises `UserError` for a size that no StyleGAN2 has."""
    if size not in _SIDES[1:]:
        raise UserError(f"{source}: a {what} of {size} pixels; supported are {', '.join(map(str, _SIDES[1:]))}")
    return [side for side in _SIDES if side <= size]


def require_one_width(widths: Sequence[int], style: int, source: str | os.PathLike) -> None:
    """Rejects mapping networks of several widths, where 0 is unknown: the method adds one output to all of them."""
    if any(width not in (0, style) for width in widths):
        wide = " -> ".join(map(str, widths))
        raise UserError(f"{source}: the mapping network is {wide} wide; z, hidden vectors and w must be equally wide")


@dataclasses.dataclass
class Network:
    """Tensors by name (`synthesis.b4.const`), modules by name (`synthesis.b4`, '' is the whole network).

    `key` is its name in the file (`G_ema`), `source` the file's name.
    """

    key: str
    source: str | os.PathLike
    tensors: dict[str, np.ndarray]
    modules: dict[str, Record]

    def full(self, name: str) -> str:
        """Returns a module's or tensor's name prefixed with the network's."""
        return f"{self.key}.{name}" if name else self.key

    def setting(self, module: str, name: str) -> Any:
        """Returns a module's setting; raises `KeyError` if the module or the setting is missing."""
        return self.modules[module].fields[name]

    def count(self, module: str, name: str) -> int:
        """Returns a setting that is a non-negative integer; raises `ValueError` for anything else."""
        return whole(name, self.full(module), self.setting(module, name))

    def shape(self, tensor: str, axes: int) -> tuple[int, ...]:
        """Returns a tensor's shape; zeros if it is missing or has other axes, which is reported later."""
        value = self.tensors.get(tensor)
        return value.shape if value is not None and value.ndim == axes else (0,) * axes


def flatten(record: Any, key: str, source: str | os.PathLike) -> Network:
    """Returns a network from its record; what is neither a module nor a tensor is left out, and so missing later."""
    if not isinstance(record, Record):
        raise UserError(f"{source}: {key!r} is not a network but of type {type(record).__name__}")
    network = Network(key, source, {}, dict(_modules(record, "")))
    for name, module in network.modules.items():
        for leaf, value in (module.fields.get("_parameters", {}) | module.fields.get("_buffers", {})).items():
            if isinstance(value, np.ndarray):
                network.tensors[f"{name}.{leaf}" if name else leaf] = value
    return network


def _modules(record: Record, name: str) -> Iterator[tuple[str, Record]]:
    yield name, record
    for leaf, value in record.fields.get("_modules", {}).items():
        if isinstance(value, Record):
            yield from _modules(value, f"{name}.{leaf}" if name else leaf)


def whole(name: str, what: str, value: Any) -> int:
    """Returns the setting `name` of a network; raises `ValueError` if it is not a whole number from 0 on."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} of {what} is not a whole number: {short(value)}")
    return value


def filter_taps(network: Network, module: str) -> tuple[float, ...]:
    """Returns the taps along one axis of a module's low-pass filter, which must be separable."""
    stored = np.asarray(network.tensors[f"{module}.resample_filter"], np.float64)
    if max(stored.shape, default=0) > MOST_TAPS:
        raise ValueError(f"the low-pass filter of {network.full(module)} has {stored.shape} taps")
    taps = stored.sum(axis=0) if stored.ndim == 2 and stored.shape[0] == stored.shape[1] else stored.ravel()
    if stored.ndim == 2 and not np.allclose(stored, np.outer(taps, taps) / taps.sum(), atol=1e-5):
        what = f"the low-pass filter of {network.full(module)}"
        raise UserError(f"{network.source}: {what} is not the same along rows and columns, which is not supported")
    return standard_taps(taps.tolist())


def standard_taps(taps: Sequence[float]) -> tuple[float, ...]:
    """Returns taps along one axis, the usual ones as the package writes them; their sum is not zero."""
    if len(taps) == 4 and np.allclose(np.array(taps) / sum(taps), np.array(BINOMIAL) / 8, atol=1e-5):
        return BINOMIAL
    return tuple(taps)


def choose_class(generator: Network, discriminator: Network, index: int | None) -> str:
    """Fixes the class, counted from 0, of both networks in place; returns a note, '' for unconditional ones.

    Raises `UserError` for a conditional network without a class, an unconditional one with one, or no such class.
    """
    counts = {net.key: count for net in (generator, discriminator) if (count := net.count("", "c_dim"))}
    if not counts and index is not None:
        raise UserError(f"{generator.source}: this network has no classes: leave --class {index} out")
    if not counts:
        return ""
    count = min(counts.values())
    if index is None or not 0 <= index < count:
        choice = f"choose one with --class 0 to --class {count - 1}, in the order of the labels in training"
        raise UserError(f"{generator.source}: a conditional network with {count} classes: {choice}")
    if generator.key in counts:
        _fix_generator(generator, index)
    if discriminator.key in counts:
        _fix_discriminator(discriminator, index)
    return f"Class {index} of {count}, fixed at conversion."


def _linear(network: Network, module: str, x: np.ndarray) -> np.ndarray:
    weight, bias = (network.tensors[f"{module}.{name}"].astype(np.float64) for name in ("weight", "bias"))
    gains = [network.setting(module, name) for name in ("weight_gain", "bias_gain")]
    kind = network.setting(module, "activation")
    if kind not in ("linear", "lrelu"):
        raise ValueError(f"activation of {network.full(module)} is {short(kind)}")
    out = weight @ x * gains[0] + bias * gains[1]
    return out if kind == "linear" else np.where(out >= 0, out, 0.2 * out) * math.sqrt(2)


def _embedded(network: Network, index: int) -> np.ndarray:
    """Returns a class's embedding, normalised to a mean square of one."""
    one_hot = np.zeros(network.shape("mapping.embed.weight", 2)[1])  # the number of classes is only a claim
    one_hot[index] = 1
    embedding = _linear(network, "mapping.embed", one_hot)
    return embedding / np.sqrt(np.mean(embedding**2) + 1e-8)


def _fix_generator(network: Network, index: int) -> None:
    """Makes the first mapping layer depend on z alone.

    It is W (z, y) / sqrt(n) + b with y constant: y's contribution goes into the bias, and the weight of z is rescaled,
    since a layer of z alone is divided by the square root of fewer inputs.
    """
    y, width = _embedded(network, index), network.count("", "w_dim")
    weight, bias = (network.tensors[f"mapping.fc0.{name}"].astype(np.float64) for name in ("weight", "bias"))
    kept = {name: value for name, value in network.tensors.items() if not name.startswith("mapping.embed.")}
    network.tensors = kept | {
        "mapping.fc0.weight": weight[:, :width] * math.sqrt(width / weight.shape[1]),
        "mapping.fc0.bias": bias + weight[:, width:] @ y / math.sqrt(weight.shape[1]),
    }


def _fix_discriminator(network: Network, index: int) -> None:
    """Turns the logit (W h + b) . c / sqrt(n), whose mapped class c is constant, into one row c W and one bias."""
    mapped = _embedded(network, index)
    for i in range(network.count("mapping", "num_layers")):
        mapped = _linear(network, f"mapping.fc{i}", mapped)
    weight, bias = (network.tensors[f"b4.out.{name}"].astype(np.float64) for name in ("weight", "bias"))
    scale = 1 / math.sqrt(len(mapped))
    kept = {name: value for name, value in network.tensors.items() if not name.startswith("mapping.")}
    fixed = {"b4.out.weight": scale * mapped[None] @ weight, "b4.out.bias": scale * (mapped @ bias)[None]}
    network.tensors = kept | fixed


Expected = dict[str, dict[str, Any]]


def infer(generator: Network, discriminator: Network, source: str | os.PathLike) -> Architecture:
    """Returns the architecture of both, whose classes have been fixed; raises `UserError` if they do not match."""
    foreign.require_square(generator.shape("synthesis.b4.const", 3)[1:], source)
    size, side = (net.count("", "img_resolution") for net in (generator, discriminator))
    sides, discriminator_sides = sides_up_to(size, "generator", source), sides_up_to(side, "discriminator", source)
    channels = [generator.shape(f"synthesis.b{s}.conv1.weight", 4)[0] for s in sides]
    widths = [discriminator.shape("b4.conv.weight", 4)[0]]
    widths += [discriminator.shape(f"b{s}.conv0.weight", 4)[0] for s in discriminator_sides[1:]]
    group = extra = 0  # of the minibatch's deviation: all images as one group, and no channel of it
    if "b4.mbstd" in discriminator.modules:
        extra = discriminator.count("b4.mbstd", "num_channels")
        if discriminator.setting("b4.mbstd", "group_size") is not None:
            group = discriminator.count("b4.mbstd", "group_size")
    mapped = range(min(generator.count("mapping", "num_layers"), 100))
    latents = [generator.count("", "z_dim"), *(generator.shape(f"mapping.fc{i}.weight", 2)[0] for i in mapped)]
    require_one_width(latents, generator.count("", "w_dim"), source)

    def clamp(network: Network, module: str) -> float | None:
        value = network.setting(module, "conv_clamp")
        return None if value is None else float(value)

    return Architecture(
        size=size,
        style_dim=generator.count("", "w_dim"),
        mapping_layers=generator.count("mapping", "num_layers"),
        channels=tuple(channels),
        discriminator_channels=tuple(widths),
        mapping_scale=float(generator.setting("mapping.fc0", "bias_gain")),
        stddev_group=group,
        stddev_channels=extra,
        generator_kind=generator.setting("synthesis.b8", "architecture"),
        discriminator_kind=discriminator.setting("b8", "architecture"),
        conv_clamp=clamp(generator, "synthesis.b4.conv1"),
        discriminator_clamp=clamp(discriminator, "b8.conv0"),
        taps=filter_taps(generator, "synthesis.b8"),
        discriminator_taps=filter_taps(discriminator, "b8"),
        stored_mean="mapping.w_avg" in generator.tensors,
    )


def check_settings(generator: Network, discriminator: Network, arch: Architecture) -> None:
    """Raises a UserError listing every setting that differs from what the package computes."""
    filtered = [f"synthesis.b{s}{part}" for s in _sides(arch.size) for part in ("", ".conv0", ".skip")]
    _check(generator, _generator(generator, arch), arch.taps, filtered)
    filtered = [f"b{s}{part}" for s in _sides(arch.discriminator_size) for part in ("", ".conv1", ".skip")]
    _check(discriminator, _discriminator(arch), arch.discriminator_taps, filtered)


def _check(network: Network, expected: Expected, taps: tuple[float, ...], filtered: list[str]) -> None:
    faults = [
        f"{network.full(module)} has another low-pass filter than the first"
        for module in filtered
        if module in network.modules and filter_taps(network, module) != taps
    ]
    for module, settings in expected.items():
        fields = network.modules[module].fields if module in network.modules else {}
        for name, supported in settings.items():
            if name not in fields:
                faults.append(f"{network.full(module)} has no {name!r}")
            elif not _same(fields[name], supported):
                faults.append(f"{network.full(module)}: {name} is {short(fields[name])}, supported is {supported!r}")
    if faults:
        raise UserError(f"{network.source}: settings of a StyleGAN2 that is not supported: {listed(faults, 10)}")


def _sides(size: int) -> list[int]:
    """Returns 8, 16, ..., size: the sides of the blocks that double or halve."""
    return [2**i for i in range(3, size.bit_length())]


def _dense(inputs: int, activation: str = "linear", scale: float = 1.0) -> dict[str, Any]:
    return {"activation": activation, "weight_gain": scale / math.sqrt(max(inputs, 1)), "bias_gain": scale}


def _conv(
    inputs: int, side: int, clamp: float | None, *, up: int = 1, down: int = 1, activation: str = "lrelu"
) -> dict[str, Any]:
    return {
        "activation": activation,
        "up": up,
        "down": down,
        "conv_clamp": clamp,
        "padding": side // 2,
        "weight_gain": 1 / math.sqrt(max(inputs, 1) * side**2),
        "act_gain": math.sqrt(2) if activation == "lrelu" else 1.0,
    }


def _generator(network: Network, arch: Architecture) -> Expected:
    w, clamp = arch.style_dim, arch.conv_clamp
    expected: Expected = {"": {"img_channels": 3, "z_dim": w}, "mapping": {"z_dim": w, "w_dim": w}}
    for i in range(arch.mapping_layers):
        inputs = network.shape(f"mapping.fc{i}.weight", 2)[1]  # may include a class's embedding
        expected[f"mapping.fc{i}"] = _dense(inputs, "lrelu", arch.mapping_scale)
    for level, width in enumerate(arch.channels):
        block = f"synthesis.b{4 * 2**level}"
        expected[block] = {"architecture": arch.generator_kind}
        for i in (0, 1) if level else (1,):
            expected[f"{block}.conv{i}"] = {"activation": "lrelu", "up": 2 - i, "conv_clamp": clamp, "padding": 1}
            expected[f"{block}.conv{i}"]["act_gain"] = math.sqrt(2)
            expected[f"{block}.conv{i}.affine"] = _dense(w)
        if arch.colours_at(level):
            expected[f"{block}.torgb"] = {"conv_clamp": clamp, "weight_gain": 1 / math.sqrt(max(width, 1))}
            expected[f"{block}.torgb.affine"] = _dense(w)
        if level and arch.generator_kind == "resnet":
            expected[f"{block}.skip"] = _conv(arch.channels[level - 1], 1, None, up=2, activation="linear")
    return expected


def _discriminator(arch: Architecture) -> Expected:
    kind, clamp = arch.discriminator_kind, arch.discriminator_clamp
    expected: Expected = {"": {"img_channels": 3}}
    for side, width in zip(_sides(arch.discriminator_size), arch.discriminator_channels[1:]):
        expected[f"b{side}"] = {"architecture": kind}
        if kind == "skip" or side == arch.discriminator_size:
            expected[f"b{side}.fromrgb"] = _conv(3, 1, clamp)
        expected[f"b{side}.conv0"] = _conv(width, 3, clamp)
        expected[f"b{side}.conv1"] = _conv(width, 3, clamp, down=2)
        if kind == "resnet":
            expected[f"b{side}.skip"] = _conv(width, 1, None, down=2, activation="linear")
    last = arch.discriminator_channels[0]
    if kind == "skip":
        expected["b4.fromrgb"] = _conv(3, 1, None)
    return expected | {
        "b4": {"architecture": kind},
        "b4.conv": _conv(last + arch.stddev_channels, 3, clamp),
        "b4.fc": _dense(16 * last, "lrelu"),
        "b4.out": _dense(last),
    }


def _same(value: Any, supported: Any) -> bool:
    if isinstance(supported, float):
        return isinstance(value, (int, float)) and math.isclose(value, supported, rel_tol=1e-5)
    return type(value) is type(supported) and value == supported


LICENSE = (
    "NVIDIA Source Code License where the weights are NVIDIA's own: non-commercial, for research or "
    "evaluation only (LICENSE.txt of the repository they are from); else see where they are from"
)


def networks_of(content: Any) -> dict[str, Any]:
    """Returns the file's networks by key; a generator or discriminator that was saved alone gets its key too."""
    if isinstance(content, Record):
        return {"D" if content.class_name == "Discriminator" else "G_ema": content}
    return content if isinstance(content, dict) else {}


def _network(content: dict[str, Any], key: str, kind: str, source: str | os.PathLike) -> Network:
    record = content.get(key)
    if record is None:
        raise UserError(f"{source}: no {key!r} (the {kind.lower()}) in it; NVIDIA's pickles have both 'G_ema' and 'D'")
    if isinstance(record, dict) and all(isinstance(value, np.ndarray) for value in record.values()):
        where = "clamps, filters and kinds of blocks are only in NVIDIA's own pickle: convert that"
        raise UserError(f"{source}: {key!r} is a dictionary of tensors; {where}")
    network = flatten(record, key, source)
    if (name := network.modules[""].class_name) != kind:
        raise UserError(f"{source}: {key!r} is a {name}, not the {kind} of NVIDIA's StyleGAN2, and is not supported")
    return network


def _layer(index: int | str) -> str:
    return f"synthesis.b{4 * 2 ** ((int(index) + 1) // 2)}.conv{1 - int(index) % 2}"


def _generator_tensor(path: Path, shape: Shape) -> Tensor:
    """Returns which tensor of the generator becomes a parameter.

    NVIDIA's 3x3 convolutions, which are demodulated, are not divided by the square root of their number of inputs, as
    ours are: the factor goes into the weights (and matters only because of the epsilon).
    """
    kind, i, part = (*path, "", "")[:3]
    if kind == "mapping":
        return foreign.weight(f"mapping.fc{int(i) - 1}.{part}", shape)
    if kind == "input":
        return foreign.constant("synthesis.b4.const", shape)
    if kind == "mean_w":
        return foreign.same("mapping.w_avg", shape)
    if kind == "noise":
        return foreign.same(f"{_layer(i)}.noise_const", shape)
    at = _layer(i) if kind == "layers" else f"synthesis.b{4 * 2 ** int(i)}.{'skip' if kind == 'skips' else 'torgb'}"
    if part == "weight":
        gain = float(np.sqrt(np.prod(shape[:3]))) if kind == "layers" else 1.0
        return foreign.kernel(f"{at}.weight", shape, gain=gain)
    if part == "noise_strength":
        return foreign.same(f"{at}.noise_strength", shape)
    return foreign.weight(f"{at}.{part.replace('style_', 'affine.')}", shape)


def _discriminator_table(arch: Architecture) -> Table:
    names = {"from_rgb": "fromrgb", "conv1": "conv0", "conv2": "conv1", "skip": "skip", "final_conv": "conv"}
    names |= {"final_linear": "fc", "output": "out", "final_rgb": "fromrgb"}

    def tensor(path: Path, shape: Shape) -> Tensor:
        *_, layer, part = path
        of_block = arch.discriminator_size // 2 ** int(path[1]) if path[0] == "blocks" else 4
        name = f"b{arch.discriminator_size if path[0] == 'from_rgb' else of_block}.{names[layer]}.{part}"
        return (foreign.flattened if name == "b4.fc.weight" else foreign.weight)(name, shape)

    return foreign.table(discriminator_shapes(arch), tensor)


def convert(
    content: Any, source: str | os.PathLike, class_index: int | None = None
) -> tuple[Architecture, Params, list[str]]:
    """Returns architecture, parameters and notes for what the reader returned.

    Raises a UserError that lists what does not fit, or says that a class has to be chosen.
    """
    networks = networks_of(content)
    generator = _network(networks, "G_ema", "Generator", source)
    discriminator = _network(networks, "D", "Discriminator", source)
    arch = infer(generator, discriminator, source)
    check_settings(generator, discriminator, arch)
    notes = [choose_class(generator, discriminator, class_index)]
    both = {"generator": generator.modules, "discriminator": discriminator.modules}
    half = [what for what, of in both.items() if any(each.fields.get("use_fp16") is True for each in of.values())]
    notes += [HALF.format(" and ".join(half))] * bool(half)
    for i in range(arch.layers):
        if generator.setting(_layer(i), "use_noise") is False:  # trained without: a zero strength and a zero map
            side = 4 * 2 ** ((i + 1) // 2)
            generator.tensors[f"{_layer(i)}.noise_const"] = np.zeros((side, side), np.float32)
            generator.tensors[f"{_layer(i)}.noise_strength"] = np.zeros((), np.float32)
    for network in (generator, discriminator):
        network.tensors = {n: v for n, v in network.tensors.items() if not n.endswith("resample_filter")}
    table = foreign.table(generator_shapes(arch), _generator_tensor)
    parts = {
        "generator": (f"{generator.key}.", table, generator.tensors),
        "discriminator": (f"{discriminator.key}.", _discriminator_table(arch), discriminator.tensors),
    }
    return arch, foreign.params_of(parts, source), [note for note in notes if note]
