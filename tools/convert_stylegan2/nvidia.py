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
from .tensors import Path, Shape, Table, Tensor

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


def _layer(index: int | str) -> str:
    """Returns the name of the generator's n-th 3x3 convolution."""
    return f"synthesis.b{4 * 2 ** ((int(index) + 1) // 2)}.conv{1 - int(index) % 2}"


def _generator_tensor(path: Path, shape: Shape) -> Tensor:
    """Returns which tensor of the generator becomes a parameter.

    NVIDIA's 3x3 convolutions, which are demodulated, are not divided by the square root of their number of inputs, as
    ours are: the factor goes into the weights (and matters only because of the epsilon).
    """
    kind, i, part = (*path, "", "")[:3]
    if kind == "mapping":
        return tensors.weight(f"mapping.fc{int(i) - 1}.{part}", shape)
    if kind == "input":
        return tensors.constant("synthesis.b4.const", shape)
    if kind == "mean_w":
        return tensors.same("mapping.w_avg", shape)
    if kind == "noise":
        return tensors.same(f"{_layer(i)}.noise_const", shape)
    at = _layer(i) if kind == "layers" else f"synthesis.b{4 * 2 ** int(i)}.{'skip' if kind == 'skips' else 'torgb'}"
    if part == "weight":
        gain = float(np.sqrt(np.prod(shape[:3]))) if kind == "layers" else 1.0
        return tensors.kernel(f"{at}.weight", shape, gain=gain)
    if part == "noise_strength":
        return tensors.same(f"{at}.noise_strength", shape)
    return tensors.weight(f"{at}.{part.replace('style_', 'affine.')}", shape)


def _discriminator_table(arch: Architecture) -> Table:
    names = {"from_rgb": "fromrgb", "conv1": "conv0", "conv2": "conv1", "skip": "skip", "final_conv": "conv"}
    names |= {"final_linear": "fc", "output": "out", "final_rgb": "fromrgb"}

    def tensor(path: Path, shape: Shape) -> Tensor:
        *_, layer, part = path
        of_block = arch.discriminator_size // 2 ** int(path[1]) if path[0] == "blocks" else 4
        name = f"b{arch.discriminator_size if path[0] == 'from_rgb' else of_block}.{names[layer]}.{part}"
        return (tensors.flattened if name == "b4.fc.weight" else tensors.weight)(name, shape)

    return tensors.table(discriminator_shapes(arch), tensor)


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
            ("generator", generator, tensors.table(generator_shapes(arch), _generator_tensor)),
            ("discriminator", discriminator, _discriminator_table(arch)),
        )
    }
    return arch, tensors.params_of(parts, source), [note for note in notes if note]
