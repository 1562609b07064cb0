"""What an NVIDIA network computes, according to its modules' settings: the architecture, verified.

Shapes give the widths; what no shape reveals (kinds of blocks, clamps, filters, multipliers) is in
the records. The architecture is read from a few of them; then every setting that changes the
computation is compared with what the package computes for that architecture, so that an
unsupported variant is rejected rather than computed incorrectly.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.weights.tensors import short
from gan2shape_jax.stylegan2 import Architecture

from .nvidia_network import Network, filter_taps, require_one_width, sides_up_to

__all__ = ["check_settings", "float16_note", "infer"]

Expected = dict[str, dict[str, Any]]


def infer(generator: Network, discriminator: Network, source: str | os.PathLike) -> Architecture:
    """Returns the architecture of both, whose classes have been fixed; raises `UserError` if they do not match."""
    size, side = (net.count("", "img_resolution") for net in (generator, discriminator))
    sides, judged = sides_up_to(size, "generator", source), sides_up_to(side, "discriminator", source)
    channels = [generator.shape(f"synthesis.b{s}.conv1.weight", 4)[0] for s in sides]
    widths = [discriminator.shape("b4.conv.weight", 4)[0]]
    widths += [discriminator.shape(f"b{s}.conv0.weight", 4)[0] for s in judged[1:]]
    group, extra = _deviation(discriminator)
    mapped = range(min(generator.count("mapping", "num_layers"), 100))
    latents = [generator.count("", "z_dim"), *(generator.shape(f"mapping.fc{i}.weight", 2)[0] for i in mapped)]
    require_one_width(latents, generator.count("", "w_dim"), source)
    try:
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
            conv_clamp=_clamp(generator.setting("synthesis.b4.conv1", "conv_clamp")),
            discriminator_clamp=_clamp(discriminator.setting("b8.conv0", "conv_clamp")),
            taps=filter_taps(generator, "synthesis.b8"),
            discriminator_taps=filter_taps(discriminator, "b8"),
            stored_mean="mapping.w_avg" in generator.tensors,
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: no StyleGAN2 that is supported ({one_line(str(error)[:300])})") from error


def _deviation(discriminator: Network) -> tuple[int, int]:
    """Returns the group size (0: all images) and channels (0: none) of the minibatch standard deviation."""
    if "b4.mbstd" not in discriminator.modules:
        return 0, 0
    whole = discriminator.setting("b4.mbstd", "group_size") is None
    return (
        0 if whole else discriminator.count("b4.mbstd", "group_size"),
        discriminator.count("b4.mbstd", "num_channels"),
    )


def _clamp(value: Any) -> float | None:
    return None if value is None else float(value)


def check_settings(generator: Network, discriminator: Network, arch: Architecture) -> None:
    """Raises a UserError listing every setting that differs from what the package computes."""
    for network, expected, taps, filtered in (
        (
            generator,
            _generator(generator, arch),
            arch.taps,
            [f"synthesis.b{s}{part}" for s in _sides(arch.size) for part in ("", ".conv0", ".skip")],
        ),
        (
            discriminator,
            _discriminator(discriminator, arch),
            arch.discriminator_taps,
            [f"b{s}{part}" for s in _sides(arch.discriminator_size) for part in ("", ".conv1", ".skip")],
        ),
    ):
        faults = _faults(network, expected)
        faults += [
            f"{network.full(module)} has another low-pass filter than the first"
            for module in filtered
            if module in network.modules and filter_taps(network, module) != taps
        ]
        if faults:
            more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
            raise UserError(
                f"{network.source}: settings of a StyleGAN2 that is not supported:\n  "
                + "\n  ".join(faults[:10])
                + more
            )


def _faults(network: Network, expected: Expected) -> list[str]:
    faults = []
    for module, settings in expected.items():
        fields = network.modules[module].fields if module in network.modules else {}
        for name, supported in settings.items():
            if name not in fields:
                faults.append(f"{network.full(module)} has no {name!r}")
            elif not _same(fields[name], supported):
                faults.append(f"{network.full(module)}: {name} is {_told(fields[name])}, supported is {supported!r}")
    return faults


def _sides(size: int) -> list[int]:
    """Returns 8, 16, ..., size: the sides of the blocks that double or halve."""
    return [2**i for i in range(3, size.bit_length())]


def _linear(inputs: int, activation: str = "linear", scale: float = 1.0) -> dict[str, Any]:
    return {"activation": activation, "weight_gain": scale / math.sqrt(max(inputs, 1)), "bias_gain": scale}


def _convolution(
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
    """Returns what the package computes, as settings of NVIDIA's generator."""
    w, clamp = arch.style_dim, arch.conv_clamp
    expected: Expected = {"": {"img_channels": 3, "z_dim": w}, "mapping": {"z_dim": w, "w_dim": w}}
    for i in range(arch.mapping_layers):
        inputs = network.shape(f"mapping.fc{i}.weight", 2)[1]  # may include a class's embedding
        expected[f"mapping.fc{i}"] = _linear(inputs, "lrelu", arch.mapping_scale)
    for level, width in enumerate(arch.channels):
        block = f"synthesis.b{4 * 2**level}"
        expected[block] = {"architecture": arch.generator_kind}
        for i in (0, 1) if level else (1,):
            expected[f"{block}.conv{i}"] = {
                "activation": "lrelu",
                "up": 2 - i,
                "conv_clamp": clamp,
                "padding": 1,
                "act_gain": math.sqrt(2),
            }
            expected[f"{block}.conv{i}.affine"] = _linear(w)
        if arch.colours_at(level):
            expected[f"{block}.torgb"] = {"conv_clamp": clamp, "weight_gain": 1 / math.sqrt(max(width, 1))}
            expected[f"{block}.torgb.affine"] = _linear(w)
        if level and arch.generator_kind == "resnet":
            expected[f"{block}.skip"] = _convolution(arch.channels[level - 1], 1, None, up=2, activation="linear")
    return expected


def _discriminator(network: Network, arch: Architecture) -> Expected:
    """Returns what the package computes, as settings of NVIDIA's discriminator."""
    kind, clamp = arch.discriminator_kind, arch.discriminator_clamp
    expected: Expected = {"": {"img_channels": 3}}
    for side, width in zip(_sides(arch.discriminator_size), arch.discriminator_channels[1:]):
        expected[f"b{side}"] = {"architecture": kind}
        if kind == "skip" or side == arch.discriminator_size:
            expected[f"b{side}.fromrgb"] = _convolution(3, 1, clamp)
        expected[f"b{side}.conv0"] = _convolution(width, 3, clamp)
        expected[f"b{side}.conv1"] = _convolution(width, 3, clamp, down=2)
        if kind == "resnet":
            expected[f"b{side}.skip"] = _convolution(width, 1, None, down=2, activation="linear")
    last = arch.discriminator_channels[0]
    if kind == "skip":
        expected["b4.fromrgb"] = _convolution(3, 1, None)
    return expected | {
        "b4": {"architecture": kind},
        "b4.conv": _convolution(last + arch.stddev_channels, 3, clamp),
        "b4.fc": _linear(16 * last, "lrelu"),
        "b4.out": _linear(last),
    }


def _told(value: Any) -> str:
    return short(str(value)) if value is None or isinstance(value, (bool, int, float)) else short(value)


def _same(value: Any, supported: Any) -> bool:
    if isinstance(supported, float):
        return isinstance(value, (int, float)) and math.isclose(value, supported, rel_tol=1e-5)
    return type(value) is type(supported) and value == supported


def float16_note(networks: Mapping[str, Network]) -> str:
    """Returns a note if some layers were trained in half precision; '' if none were."""
    parts = []
    for what, network in networks.items():
        sides = sorted(
            int(name.rpartition(".b")[2].removeprefix("b"))
            for name, module in network.modules.items()
            if module.fields.get("use_fp16") is True
        )
        if sides:
            parts.append(f"{what} at {', '.join(map(str, sides))} pixels")
    return (
        f"Trained with float16 layers ({'; '.join(parts)}): computed in float32 here, clamped as trained."
        if parts
        else ""
    )
