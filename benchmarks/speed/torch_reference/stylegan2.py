"""StyleGAN2's generator and discriminator features as PyTorch modules (Karras et al., 2020).

The "skip" generator and the residual discriminator with the low-pass filter (1, 3, 3, 1), as in all published weights
of the method. Parameters are our arrays (kernels `(rows, columns, in, out)`) in PyTorch's order, frozen.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.stylegan2.architecture import BINOMIAL


def _frozen(value: Any, order: tuple[int, ...] | None = None) -> nn.Parameter:
    array = np.asarray(value, np.float32)
    array = array if order is None else array.transpose(order)
    return nn.Parameter(torch.from_numpy(np.array(array, order="C")), requires_grad=False)


def _kernel(weight: Any) -> nn.Parameter:
    return _frozen(weight, (3, 2, 0, 1))


def _activate(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.2) * math.sqrt(2)


class _Linear(nn.Module):
    """Equalised linear layer; `rate` is the learning-rate multiplier of weight and bias."""

    def __init__(self, weight: Any, bias: Any, rate: float = 1.0):
        super().__init__()
        self.weight, self.bias = _frozen(weight, (1, 0)), _frozen(bias)
        self.rate, self.scale = rate, rate / math.sqrt(self.weight.shape[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight * self.scale, self.bias * self.rate)


class _Filter(nn.Module):
    """The low-pass filter as a depthwise convolution.

    On a CPU this takes a fraction of the time of folding channels into the batch, as PyTorch versions often do.
    """

    def __init__(self):
        super().__init__()
        taps = torch.tensor(BINOMIAL) / sum(BINOMIAL)
        self.register_buffer("kernel", taps[:, None] * taps)

    def forward(self, x: torch.Tensor, pad: int, *, stride: int = 1, gain: float = 1.0) -> torch.Tensor:
        kernel = (self.kernel * gain)[None, None].expand(x.shape[1], 1, 4, 4)
        return functional.conv2d(x, kernel, stride=stride, padding=pad, groups=x.shape[1])

    def twice(self, x: torch.Tensor) -> torch.Tensor:
        kernel = (self.kernel * 4)[None, None].expand(x.shape[1], 1, 4, 4)
        return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class _Modulated(nn.Module):
    """Modulated convolution, with styles applied to features and one kernel for all images.

    The published code makes a kernel for each image, and convolves with as many groups as images, which is equivalent.
    """

    def __init__(self, params: dict[str, Any], *, grow: bool, demodulate: bool):
        super().__init__()
        self.weight = _kernel(params["weight"])
        self.style = _Linear(params["style_weight"], params["style_bias"])
        self.grow, self.demodulate = grow, demodulate
        self.scale = 1 / math.sqrt(self.weight[0].numel())
        self.filter = _Filter()

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        style = self.style(w)
        kernel = self.weight * self.scale
        x = x * style[:, :, None, None]
        if self.grow:
            x = functional.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)
        else:
            x = functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        if self.demodulate:
            x = x * torch.rsqrt(style.square() @ kernel.square().sum((2, 3)).T + 1e-8)[:, :, None, None]
        return self.filter(x, 1, gain=4.0) if self.grow else x


class Generator(nn.Module):
    """Latents (B, W) or (B, L, W) to images (B, 3, s, s), with the stored noise."""

    def __init__(self, params: dict[str, Any], arch: Architecture):
        super().__init__()
        if arch.generator_kind != "skip" or arch.conv_clamp is not None or arch.taps != BINOMIAL:
            raise ValueError(f"the PyTorch reference has no generator of the kind {arch.generator_kind!r}")
        self.arch = arch
        names = [str(i) for i in range(arch.layers)]
        self.mapping = nn.ModuleList(
            _Linear(params["mapping"][str(i + 1)]["weight"], params["mapping"][str(i + 1)]["bias"], arch.mapping_scale)
            for i in range(arch.mapping_layers)
        )
        self.input = _frozen(params["input"], (2, 0, 1))
        self.layers = nn.ModuleList(
            _Modulated(params["layers"][name], grow=i % 2 == 1, demodulate=True) for i, name in enumerate(names)
        )
        for name in names:
            self.register_buffer(f"noise_{name}", _frozen(params["noise"][name]).data)
        self.strengths = nn.ParameterList(_frozen(params["layers"][name]["noise_strength"]) for name in names)
        self.biases = nn.ParameterList(_frozen(params["layers"][name]["bias"]) for name in names)
        levels = [params["to_rgb"][str(level)] for level in range(len(arch.channels))]
        self.to_rgb = nn.ModuleList(_Modulated(level, grow=False, demodulate=False) for level in levels)
        self.rgb_biases = nn.ParameterList(_frozen(level["bias"]) for level in levels)
        self.filter = _Filter()

    def map(self, x: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Applies the mapping network's modules from `first` on; module 0 normalises."""
        if first == 0:
            x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-8)
        for layer in self.mapping[max(first - 1, 0) :]:
            x = _activate(layer(x))
        return x

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        w = w if w.ndim == 3 else w[:, None].expand(-1, self.arch.latents, -1)
        x, image = self.input.expand(len(w), *self.input.shape), None
        for i, layer in enumerate(self.layers):
            x = layer(x, w[:, i]) + self.strengths[i] * getattr(self, f"noise_{i}")
            x = _activate(x + self.biases[i][:, None, None])
            if i % 2 == 0:
                level = i // 2
                colour = self.to_rgb[level](x, w[:, i + 1]) + self.rgb_biases[level][:, None, None]
                image = colour if image is None else colour + self.filter.twice(image)
        return image


class _Block(nn.Module):
    def __init__(self, params: dict[str, Any]):
        super().__init__()
        self.conv1, self.conv2 = (_kernel(params[name]["weight"]) for name in ("conv1", "conv2"))
        self.bias1, self.bias2 = (_frozen(params[name]["bias"]) for name in ("conv1", "conv2"))
        self.skip = _kernel(params["skip"]["weight"])
        self.filter = _Filter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = _activate(_equalised(x, self.conv1, padding=1) + self.bias1[:, None, None])
        y = _equalised(self.filter(y, 2), self.conv2, stride=2)
        y = _activate(y + self.bias2[:, None, None])
        return (y + _equalised(self.filter(x, 1, stride=2), self.skip)) / math.sqrt(2)


def _equalised(x: torch.Tensor, weight: torch.Tensor, **options: Any) -> torch.Tensor:
    return functional.conv2d(x, weight / math.sqrt(weight[0].numel()), **options)


class Discriminator(nn.Module):
    """The outputs of a discriminator's first blocks, in which distances between images are measured."""

    def __init__(self, params: dict[str, Any], arch: Architecture, count: int = 4):
        super().__init__()
        if arch.discriminator_kind != "resnet" or arch.discriminator_clamp is not None:
            raise ValueError(f"the PyTorch reference has no discriminator of the kind {arch.discriminator_kind!r}")
        self.from_rgb, self.bias = _kernel(params["from_rgb"]["weight"]), _frozen(params["from_rgb"]["bias"])
        blocks = min(count, len(arch.discriminator_channels) - 1)
        self.blocks = nn.ModuleList(_Block(params["blocks"][str(i)]) for i in range(blocks))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x, features = _activate(_equalised(images, self.from_rgb) + self.bias[:, None, None]), []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return features
