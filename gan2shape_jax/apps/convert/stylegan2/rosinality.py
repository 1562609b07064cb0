"""Converts the tensors of a rosinality-style checkpoint to the package's parameters and architecture.

Such a file holds `g_ema` (the generator's moving average), `d` (the discriminator) and, if it was converted from
NVIDIA's, `latent_avg` (the mean latent); each network is a dictionary of tensors in PyTorch's layouts: convolutions
(out, in, kh, kw), linear layers (out, in), images NCHW. The generator alone is also shared, as `g_ema` or as its bare
dictionary. Sizes are read from the shapes; every tensor must then be present with the shape that the sizes imply, and
there must be no others.
"""

import itertools
import os
import re
from typing import Any

import numpy as np

from gan2shape_jax.apps.convert import foreign
from gan2shape_jax.apps.convert.foreign import Path, Shape, State, Table, Tensor
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.weights import WRAPPERS, listed
from gan2shape_jax.method.streams import FIXED_SEED
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.architecture import BINOMIAL, discriminator_shapes, generator_shapes

_MOST_LEVELS = 9  # from 4 to 1024 pixels
# Names of what forks add for classes; the original has none.
_CLASSES = re.compile(r"(.*[._])?(embed\w*|label\w*|class\w*|cond\w*)[._]")


def _generator_tensor(path: Path, shape: Shape) -> Tensor:
    kind, i, part = (*path, "", "")[:3]
    if kind == "mapping":
        return foreign.weight(f"style.{i}.{part}", shape)
    if kind == "input":
        return foreign.constant("input.input", shape, (1,))
    if kind == "mean_w":
        return foreign.same("latent_avg", shape)
    if kind == "noise":
        return foreign.plain(f"noises.noise_{i}", (1, 1, *shape), shape)
    first, others = ("conv1", "convs") if kind == "layers" else ("to_rgb1", "to_rgbs")
    at = first if i == "0" else f"{others}.{int(i) - 1}"
    if part == "weight":
        return foreign.kernel(f"{at}.conv.weight", shape, (1,))
    if part == "noise_strength":
        return foreign.plain(f"{at}.noise.weight", (1,), shape)
    if part == "bias":
        of_colours = foreign.plain(f"{at}.bias", (1, *shape, 1, 1), shape)
        return foreign.same(f"{at}.activate.bias", shape) if kind == "layers" else of_colours
    return foreign.weight(f"{at}.conv.modulation.{part.removeprefix('style_')}", shape)


def _discriminator_tensor(path: Path, shape: Shape) -> Tensor:
    at = f"convs.{int(path[1]) + 1}" if path[0] == "blocks" else ""
    *_, layer, part = path
    weight, bias = {
        "from_rgb": ("convs.0.0", "convs.0.1"),
        "conv1": (f"{at}.conv1.0", f"{at}.conv1.1"),
        "conv2": (f"{at}.conv2.1", f"{at}.conv2.2"),
        "skip": (f"{at}.skip.1", ""),
        "final_conv": ("final_conv.0", "final_conv.1"),
        "final_linear": ("final_linear.0", "final_linear.0"),
        "output": ("final_linear.1", "final_linear.1"),
    }[layer]
    if (layer, part) == ("final_linear", "weight"):
        return foreign.flattened(f"{weight}.weight", shape)
    return foreign.weight(f"{weight if part == 'weight' else bias}.{part}", shape)


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
        raise UserError(f"{source}: its tensors' names have more than {_MOST_LEVELS} resolutions")
    channels = [_width(generator, ("input.input", 1), ("conv1.conv.weight", 1))]
    for i in range(levels - 1):
        convs = [(f"convs.{k}.conv.weight", 1) for k in (2 * i, 2 * i + 1)]
        channels.append(_width(generator, *convs, (f"to_rgbs.{i}.conv.weight", 2)))
    widths = [_width(discriminator, ("convs.0.0.weight", 0), ("convs.1.conv1.0.weight", 0))]
    for i in range(1, blocks + 1):
        widths.append(_width(discriminator, (f"convs.{i}.conv2.1.weight", 0), (f"convs.{i}.skip.1.weight", 0)))
    return Architecture(
        size=2 ** (levels + 1),
        style_dim=_width(generator, ("style.1.weight", 1), ("conv1.conv.modulation.weight", 1)),
        mapping_layers=_count(generator, r"style\.(\d{1,9})\.weight") - 1,
        channels=tuple(channels),
        discriminator_channels=tuple(widths[::-1]) if discriminator else (),
        stored_mean="latent_avg" in generator,
    )


def networks_of(content: Any) -> dict[str, Any]:
    """Returns the file's content by key, `g_ema` or `d` for a network that was saved alone; {} if there is none."""
    if not isinstance(content, dict):
        return {}
    content = content.get("state_dict", content)
    if all(isinstance(value, np.ndarray) for value in content.values()):
        return {"d" if any("final_linear" in str(name) for name in content) else "g_ema": content}
    return dict(content)


def _states(content: dict[str, Any], source: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    states = {}
    for key in ("g_ema", "d"):
        state, _ = foreign.tensors_of(content.get(key) or {}, source)
        states[key] = {".".join(p for p in n.split(".") if p not in WRAPPERS): v for n, v in state.items()}
    if not states["g_ema"]:
        raise UserError(f"{source}: no 'g_ema' (the generator) in it; rosinality has 'g_ema' and 'd'")
    if isinstance(mean := content.get("latent_avg"), np.ndarray):
        states["g_ema"]["latent_avg"] = mean.reshape(-1)
    return states


def _require_plain(generator: State, source: str | os.PathLike) -> None:
    """Raises `UserError` for a generator with classes, or of pictures that are not square."""
    of_classes = [name for name in generator if _CLASSES.match(name)]
    first = np.shape(generator.get("style.1.weight", ()))
    if not of_classes and len(first) == 2 and first[1] > first[0]:
        of_classes = [f"style.1.weight, which takes {first[1]} numbers where latents have {first[0]}"]
    if of_classes:
        advice = "those are converted from NVIDIA's PyTorch pickles (.pkl), with --class"
        raise UserError(f"{source}: it has classes ({listed(of_classes, 3)}), unlike rosinality's; {advice}")
    foreign.require_square(np.shape(generator.get("input.input", ()))[-2:], source)


def _filters(arch: Architecture) -> dict[str, dict[str, np.ndarray]]:
    """Returns the constant low-pass filters that PyTorch also stores, which are checked and then dropped."""
    plain = np.outer(BINOMIAL, BINOMIAL) / 64
    levels, blocks = range(len(arch.channels) - 1), range(1, len(arch.discriminator_channels))
    doubling = (f"convs.{2 * i}.conv.blur.kernel" for i in levels), (f"to_rgbs.{i}.upsample.kernel" for i in levels)
    halving = (f"convs.{i}.{part}.0.kernel" for i in blocks for part in ("conv2", "skip"))
    return {"g_ema": dict.fromkeys(itertools.chain(*doubling), 4 * plain), "d": dict.fromkeys(halving, plain)}


def _add_noise(state: dict[str, np.ndarray], table: Table) -> list[str]:
    """Draws the noise maps if the file has none at all (early checkpoints), and says so in a note."""
    noise = [tensor for path, tensor in table.items() if path[0] == "noise"]
    if any(tensor.name in state for tensor in noise):
        return []
    generator = np.random.default_rng(FIXED_SEED)
    for tensor in noise:
        state[tensor.name] = generator.standard_normal(tensor.shape).astype(np.float32)
    return [f"The source has no noise maps: drawn with seed {FIXED_SEED}."]


def convert(content: Any, source: str | os.PathLike) -> tuple[Architecture, Params, list[str]]:
    """Returns architecture, parameters and notes on what was made up, from what the reader returned.

    Raises a UserError that lists what does not fit.
    """
    states = _states(content, source)
    _require_plain(states["g_ema"], source)
    arch = infer(states["g_ema"], states["d"], source)
    shapes = {"g_ema": generator_shapes(arch), "d": discriminator_shapes(arch)}
    tensor = {"g_ema": _generator_tensor, "d": _discriminator_tensor}
    sources = {key: foreign.table(shapes[key], tensor[key]) for key in shapes}
    for key, filters in _filters(arch).items():
        for name, expected in filters.items():
            value = states[key].pop(name, expected)
            if value.shape != expected.shape or not np.allclose(value, expected, atol=1e-4):
                raise UserError(f"{source}: the low-pass filter {name} is not (1, 3, 3, 1), the only one supported")
    notes = _add_noise(states["g_ema"], sources["g_ema"])
    keys = {"generator": "g_ema", "discriminator": "d"}
    parts = {what: (f"{key}.", sources[key], states[key]) for what, key in keys.items()}
    return arch, foreign.params_of(parts, source), notes
