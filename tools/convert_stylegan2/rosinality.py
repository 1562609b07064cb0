"""Converts the tensors of a rosinality-style checkpoint to the package's parameters and architecture.

Such a file holds `g_ema` (the generator's moving average) and `d` (the discriminator), each a
dictionary of tensors in PyTorch's layouts: convolutions (out, in, kh, kw), linear layers (out, in),
images NCHW. Sizes are read from the shapes; every tensor must then be present with the shape that
the sizes imply, and there must be no others.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights.tensors import listed
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.architecture import discriminator_shapes, generator_shapes

from . import tensors
from .tensors import State

__all__ = ["convert", "infer", "tables"]

_NOISE_SEED = 0
_MOST_LEVELS = 9  # from 4 to 1024 pixels
_TAPS = np.array([1.0, 3.0, 3.0, 1.0])


def _styled(prefix: str, shapes: Params) -> Params:
    parts = {
        "weight": tensors.kernel(f"{prefix}.conv.weight", shapes["weight"], (1,)),
        "style_weight": tensors.matrix(f"{prefix}.conv.modulation.weight", shapes["style_weight"]),
        "style_bias": tensors.plain(f"{prefix}.conv.modulation.bias", shapes["style_bias"], shapes["style_bias"]),
    }
    (width,) = shapes["bias"]
    if "noise_strength" in shapes:
        parts["noise_strength"] = tensors.plain(f"{prefix}.noise.weight", (1,), ())
        parts["bias"] = tensors.plain(f"{prefix}.activate.bias", (width,), (width,))
    else:
        parts["bias"] = tensors.plain(f"{prefix}.bias", (1, width, 1, 1), (width,))
    return parts


def _generator_tensors(arch: Architecture) -> Params:
    shapes = generator_shapes(arch)
    mapping = {
        i: {
            "weight": tensors.matrix(f"style.{i}.weight", s["weight"]),
            "bias": tensors.plain(f"style.{i}.bias", s["bias"], s["bias"]),
        }
        for i, s in shapes["mapping"].items()
    }
    layers = {i: _styled("conv1" if i == "0" else f"convs.{int(i) - 1}", s) for i, s in shapes["layers"].items()}
    rgb = {i: _styled("to_rgb1" if i == "0" else f"to_rgbs.{int(i) - 1}", s) for i, s in shapes["to_rgb"].items()}
    noise = {i: tensors.plain(f"noises.noise_{i}", (1, 1, *s), s) for i, s in shapes["noise"].items()}
    return {
        "mapping": mapping,
        "input": tensors.constant("input.input", shapes["input"], (1,)),
        "layers": layers,
        "to_rgb": rgb,
        "noise": noise,
    }


def _discriminator_tensors(arch: Architecture) -> Params:
    shapes = discriminator_shapes(arch)

    def biased(weight: Callable, weight_name: str, bias_name: str, s: Params) -> Params:
        return {"weight": weight(weight_name, s["weight"]), "bias": tensors.plain(bias_name, s["bias"], s["bias"])}

    blocks = {}
    for i, s in shapes["blocks"].items():
        at = f"convs.{int(i) + 1}"
        blocks[i] = {
            "conv1": biased(tensors.kernel, f"{at}.conv1.0.weight", f"{at}.conv1.1.bias", s["conv1"]),
            "conv2": biased(tensors.kernel, f"{at}.conv2.1.weight", f"{at}.conv2.2.bias", s["conv2"]),
            "skip": {"weight": tensors.kernel(f"{at}.skip.1.weight", s["skip"]["weight"])},
        }
    return {
        "from_rgb": biased(tensors.kernel, "convs.0.0.weight", "convs.0.1.bias", shapes["from_rgb"]),
        "blocks": blocks,
        "final_conv": biased(tensors.kernel, "final_conv.0.weight", "final_conv.1.bias", shapes["final_conv"]),
        "final_linear": biased(
            tensors.flattened, "final_linear.0.weight", "final_linear.0.bias", shapes["final_linear"]
        ),
        "output": biased(tensors.matrix, "final_linear.1.weight", "final_linear.1.bias", shapes["output"]),
    }


def _count(state: State, pattern: str) -> int:
    """Returns one more than the largest number that `pattern` matches in a name; numbers have few digits."""
    matches = [re.match(pattern, name) for name in state]
    return max((int(m.group(1)) + 1 for m in matches if m), default=0)


def _width(state: State, *candidates: tuple[str, int]) -> int:
    """Returns the size of the first of the named axes that the file has; the others are checked later."""
    for name, axis in candidates:
        if name in state and axis < state[name].ndim:
            return state[name].shape[axis]
    return 0


def infer(generator: State, discriminator: State, source: str | os.PathLike) -> Architecture:
    """Returns the architecture that names and shapes imply; raises `UserError` if they imply none."""
    levels = 1 + max(_count(generator, r"to_rgbs\.(\d{1,9})\."), (_count(generator, r"convs\.(\d{1,9})\.") + 1) // 2)
    blocks = _count(discriminator, r"convs\.(\d{1,9})\.") - 1
    if max(levels, blocks) > _MOST_LEVELS:
        raise UserError(
            f"{source}: its tensors' names are those of {levels} sides of pictures, of which a StyleGAN2 has at most "
            f"{_MOST_LEVELS}"
        )
    channels = [_width(generator, ("input.input", 1), ("conv1.conv.weight", 1))]
    channels += [
        _width(
            generator,
            (f"convs.{2 * i}.conv.weight", 1),
            (f"convs.{2 * i + 1}.conv.weight", 1),
            (f"to_rgbs.{i}.conv.weight", 2),
        )
        for i in range(levels - 1)
    ]
    widths = [_width(discriminator, ("convs.0.0.weight", 0), ("convs.1.conv1.0.weight", 0))]
    widths += [
        _width(discriminator, (f"convs.{i}.conv2.1.weight", 0), (f"convs.{i}.skip.1.weight", 0))
        for i in range(1, blocks + 1)
    ]
    try:
        return Architecture(
            size=2 ** (levels + 1),
            style_dim=_width(generator, ("style.1.weight", 1), ("conv1.conv.modulation.weight", 1)),
            mapping_layers=_count(generator, r"style\.(\d{1,9})\.weight") - 1,
            channels=tuple(channels),
            discriminator_channels=tuple(widths[::-1]),
        )
    except ValueError as error:
        raise UserError(
            f"{source}: its tensors' names are not those of a rosinality-style StyleGAN2 ({error})"
        ) from error


def _states(content: Any, source: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """Returns the two dictionaries of tensors, without the prefix that data parallelism adds."""
    states = {}
    for key, what in (("g_ema", "generator"), ("d", "discriminator")):
        state = content.get(key) if isinstance(content, dict) else None
        if not isinstance(state, dict) or not all(isinstance(n, str) for n in state):
            raise UserError(
                f"{source}: no '{key}' (the {what}) in it; a training checkpoint of "
                "rosinality/stylegan2-pytorch with both 'g_ema' and 'd' is wanted"
            )
        strange = [n for n, v in state.items() if not isinstance(v, np.ndarray)]
        if strange:
            raise UserError(f"{source}: '{key}' holds what is no tensor: {listed(strange)}")
        states[key] = {n.removeprefix("module."): v for n, v in state.items()}
    return states


def _filters(arch: Architecture) -> dict[str, dict[str, np.ndarray]]:
    """Returns the constant low-pass filters that PyTorch also stores, which are checked and then dropped."""
    plain = np.outer(_TAPS, _TAPS) / 64
    levels = range(len(arch.channels) - 1)
    generator = {f"convs.{2 * i}.conv.blur.kernel": 4 * plain for i in levels}
    generator |= {f"to_rgbs.{i}.upsample.kernel": 4 * plain for i in levels}
    blocks = range(1, len(arch.discriminator_channels))
    return {
        "g_ema": generator,
        "d": {f"convs.{i}.{part}.0.kernel": plain for i in blocks for part in ("conv2", "skip")},
    }


def _drop_filters(state: dict[str, np.ndarray], filters: Mapping[str, np.ndarray], source: str | os.PathLike) -> None:
    for name, expected in filters.items():
        value = state.pop(name, expected)
        if value.shape != expected.shape or not np.allclose(value, expected, atol=1e-4):
            raise UserError(f"{source}: the low-pass filter {name} is not (1, 3, 3, 1), the only one that is supported")


def _add_noise(state: dict[str, np.ndarray], noise: Mapping[str, tensors.Tensor]) -> str:
    """Draws the noise maps if the file has none at all (early checkpoints), and says so."""
    if any(t.name in state for t in noise.values()):
        return ""
    generator = np.random.default_rng(_NOISE_SEED)
    for tensor in noise.values():
        state[tensor.name] = generator.standard_normal(tensor.shape).astype(np.float32)
    return f"The source has no noise maps: drawn with seed {_NOISE_SEED}."


def tables(arch: Architecture) -> dict[str, Params]:
    """Returns which tensor of `g_ema` and `d` becomes which parameter."""
    return {"g_ema": _generator_tensors(arch), "d": _discriminator_tensors(arch)}


def convert(content: Any, source: str | os.PathLike) -> tuple[Architecture, Params, list[str]]:
    """Returns architecture, parameters and notes on what was made up, from what the reader returned.

    Raises a UserError that lists what does not fit.
    """
    states = _states(content, source)
    arch = infer(states["g_ema"], states["d"], source)
    sources = tables(arch)
    for key, filters in _filters(arch).items():
        _drop_filters(states[key], filters, source)
    notes = _add_noise(states["g_ema"], sources["g_ema"]["noise"])
    parts = {
        what: (f"{key}.", sources[key], states[key]) for what, key in (("generator", "g_ema"), ("discriminator", "d"))
    }
    return arch, tensors.params_of(parts, source), [notes] if notes else []
