"""Converts a network pickle of NVIDIA's PyTorch repositories to the package's parameters.

Such a file holds `G_ema` (the generator's moving average), `D` (the discriminator) and `G`, each a
record of modules (stylegan2-ada-pytorch: training/networks.py, stylegan3: networks_stylegan2.py).
"""

import os
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.child import Record
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.architecture import discriminator_shapes, generator_shapes

from . import tensors
from .nvidia_network import Network, choose_class, flatten
from .nvidia_settings import check_settings, float16_note, infer

__all__ = ["LICENSE", "convert", "networks_of"]

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
        raise UserError(
            f"{source}: no {key!r} (the {kind.lower()}) in it; a network pickle of NVIDIA's with both "
            "'G_ema' and 'D' is wanted"
        )
    if isinstance(record, dict) and all(isinstance(value, np.ndarray) for value in record.values()):
        raise UserError(
            f"{source}: {key!r} is a dictionary of tensors. Clamps, filters and kinds of blocks "
            "stand in NVIDIA's own pickle alone: convert that"
        )
    network = flatten(record, key, source)
    if network.modules[""].class_name != kind:
        raise UserError(
            f"{source}: {key!r} is a {network.modules[''].class_name}, not the {kind} of NVIDIA's "
            "StyleGAN2: it is another architecture, which is not supported"
        )
    return network


def _styled(module: str, shapes: Params) -> Params:
    """Returns the parameters of a modulated convolution.

    NVIDIA's 3x3 ones, which are demodulated, are not divided by the square root of their number of inputs, as ours
    are: the factor goes into the weights (and matters only because of the epsilon).
    """
    height, width, inputs, _ = shapes["weight"]
    gain = float(np.sqrt(height * width * inputs)) if "noise_strength" in shapes else 1.0
    parts = {
        "weight": tensors.kernel(f"{module}.weight", shapes["weight"], gain=gain),
        "style_weight": tensors.matrix(f"{module}.affine.weight", shapes["style_weight"]),
        "style_bias": tensors.plain(f"{module}.affine.bias", shapes["style_bias"], shapes["style_bias"]),
        "bias": tensors.plain(f"{module}.bias", shapes["bias"], shapes["bias"]),
    }
    if "noise_strength" in shapes:
        parts["noise_strength"] = tensors.plain(f"{module}.noise_strength", (), ())
    return parts


def _layer(index: int | str) -> str:
    """Returns the name of the generator's n-th 3x3 convolution."""
    return f"synthesis.b{4 * 2 ** ((int(index) + 1) // 2)}.conv{1 - int(index) % 2}"


def _generator_table(arch: Architecture) -> Params:
    shapes = generator_shapes(arch)
    table: Params = {
        "mapping": {
            i: tensors.biased(tensors.matrix, f"mapping.fc{int(i) - 1}", s) for i, s in shapes["mapping"].items()
        },
        "input": tensors.constant("synthesis.b4.const", shapes["input"]),
        "layers": {i: _styled(_layer(i), s) for i, s in shapes["layers"].items()},
        "to_rgb": {i: _styled(f"synthesis.b{4 * 2 ** int(i)}.torgb", s) for i, s in shapes["to_rgb"].items()},
        "noise": {i: tensors.plain(f"{_layer(i)}.noise_const", s, s) for i, s in shapes["noise"].items()},
    }
    if "skips" in shapes:
        table["skips"] = {
            i: {"weight": tensors.kernel(f"synthesis.b{4 * 2 ** int(i)}.skip.weight", s["weight"])}
            for i, s in shapes["skips"].items()
        }
    if "mean_w" in shapes:
        table["mean_w"] = tensors.plain("mapping.w_avg", shapes["mean_w"], shapes["mean_w"])
    return table


def _discriminator_table(arch: Architecture) -> Params:
    shapes, blocks = discriminator_shapes(arch), {}
    for i, parts in shapes["blocks"].items():
        at = f"b{arch.discriminator_size // 2 ** int(i)}"
        blocks[i] = {
            name: tensors.biased(tensors.kernel, f"{at}.{theirs}", parts[name])
            for name, theirs in (("conv1", "conv0"), ("conv2", "conv1"), ("from_rgb", "fromrgb"))
            if name in parts
        }
        if "skip" in parts:
            blocks[i]["skip"] = {"weight": tensors.kernel(f"{at}.skip.weight", parts["skip"]["weight"])}
    table = {
        "from_rgb": tensors.biased(tensors.kernel, f"b{arch.discriminator_size}.fromrgb", shapes["from_rgb"]),
        "blocks": blocks,
        "final_conv": tensors.biased(tensors.kernel, "b4.conv", shapes["final_conv"]),
        "final_linear": tensors.biased(tensors.flattened, "b4.fc", shapes["final_linear"]),
        "output": tensors.biased(tensors.matrix, "b4.out", shapes["output"]),
    }
    if "final_rgb" in shapes:
        table["final_rgb"] = tensors.biased(tensors.kernel, "b4.fromrgb", shapes["final_rgb"])
    return table


def _silence(generator: Network, arch: Architecture) -> None:
    """Gives layers that were trained without noise a zero noise strength and a zero noise map."""
    for i in range(arch.layers):
        if generator.setting(_layer(i), "use_noise") is False:
            side = 4 * 2 ** ((i + 1) // 2)
            generator.tensors[f"{_layer(i)}.noise_const"] = np.zeros((side, side), np.float32)
            generator.tensors[f"{_layer(i)}.noise_strength"] = np.zeros((), np.float32)


def convert(
    content: Any,
    source: str | os.PathLike,
    class_index: int | None = None,
) -> tuple[Architecture, Params, list[str]]:
    """Returns architecture, parameters and notes for what the reader returned.

    Raises a UserError that lists what does not fit, or says that a class has to be chosen.
    """
    networks = networks_of(content)
    generator = _network(networks, "G_ema", "Generator", source)
    discriminator = _network(networks, "D", "Discriminator", source)
    arch = infer(generator, discriminator, source)
    check_settings(generator, discriminator, arch)
    notes = [
        choose_class(generator, discriminator, class_index),
        float16_note({"generator": generator, "discriminator": discriminator}),
    ]
    _silence(generator, arch)
    parts = {
        what: (f"{net.key}.", table, {n: v for n, v in net.tensors.items() if not n.endswith("resample_filter")})
        for what, net, table in (
            ("generator", generator, _generator_table(arch)),
            ("discriminator", discriminator, _discriminator_table(arch)),
        )
    }
    return arch, tensors.params_of(parts, source), [note for note in notes if note]
