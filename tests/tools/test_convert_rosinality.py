"""Rosinality's published sizes: configs e and f from 32 to 1024 pixels, by names and shapes alone."""

import numpy as np
import pytest

from tools.convert_stylegan2 import rosinality, tensors


def _widths(size, multiplier):
    """Channels at 4, 8, ... pixels; config e has half of f's from 64 pixels on."""
    wide = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    return [n if side < 64 else n * multiplier for side, n in wide.items() if side <= size]


def _generator(widths):
    shapes = {"input.input": (1, 512, 4, 4)}
    for i in range(1, 9):
        shapes |= {f"style.{i}.weight": (512, 512), f"style.{i}.bias": (512,)}

    def styled(name, inputs, outputs):
        shapes.update(
            {
                f"{name}.conv.weight": (1, outputs, inputs, 3, 3),
                f"{name}.conv.modulation.weight": (inputs, 512),
                f"{name}.conv.modulation.bias": (inputs,),
                f"{name}.noise.weight": (1,),
                f"{name}.activate.bias": (outputs,),
            }
        )

    def colours(name, inputs):
        shapes.update(
            {
                f"{name}.conv.weight": (1, 3, inputs, 1, 1),
                f"{name}.conv.modulation.weight": (inputs, 512),
                f"{name}.conv.modulation.bias": (inputs,),
                f"{name}.bias": (1, 3, 1, 1),
            }
        )

    styled("conv1", widths[0], widths[0])
    colours("to_rgb1", widths[0])
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:])):
        styled(f"convs.{2 * i}", inputs, outputs)
        styled(f"convs.{2 * i + 1}", outputs, outputs)
        colours(f"to_rgbs.{i}", outputs)
    for i in range(2 * len(widths) - 1):
        side = 2 ** ((i + 5) // 2)
        shapes[f"noises.noise_{i}"] = (1, 1, side, side)
    return shapes


def _discriminator(widths):
    down = widths[::-1]
    shapes = {"convs.0.0.weight": (down[0], 3, 1, 1), "convs.0.1.bias": (down[0],)}
    for i, (inputs, outputs) in enumerate(zip(down[:-1], down[1:]), 1):
        shapes |= {
            f"convs.{i}.conv1.0.weight": (inputs, inputs, 3, 3),
            f"convs.{i}.conv1.1.bias": (inputs,),
            f"convs.{i}.conv2.1.weight": (outputs, inputs, 3, 3),
            f"convs.{i}.conv2.2.bias": (outputs,),
            f"convs.{i}.skip.1.weight": (outputs, inputs, 1, 1),
        }
    return shapes | {
        "final_conv.0.weight": (512, 513, 3, 3),
        "final_conv.1.bias": (512,),
        "final_linear.0.weight": (512, 8192),
        "final_linear.0.bias": (512,),
        "final_linear.1.weight": (1, 512),
        "final_linear.1.bias": (1,),
    }


def _empty(shapes):
    """Arrays of these shapes that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("multiplier", [1, 2], ids=["e", "f"])
def test_published_sizes_are_told_by_names_and_shapes(size, multiplier):
    widths = _widths(size, multiplier)
    shapes = {"g_ema": _generator(widths), "d": _discriminator(widths)}
    arch = rosinality.infer(_empty(shapes["g_ema"]), _empty(shapes["d"]), "x.pt")
    assert (arch.size, arch.discriminator_size, arch.style_dim, arch.mapping_layers) == (size, size, 512, 8)
    assert list(arch.channels) == list(arch.discriminator_channels) == widths
    assert (arch.generator_kind, arch.discriminator_kind, arch.conv_clamp) == ("skip", "resnet", None)
    assert {key: tensors.expected_shapes(table) for key, table in rosinality.tables(arch).items()} == shapes
