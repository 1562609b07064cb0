"""Layers of NVIDIA's StyleGAN2 in PyTorch by its definition, with the real names, settings and file layout.

Written from reading stylegan2-ada-pytorch (training/networks.py) and stylegan3 (networks_stylegan2.py):
filters are convolutions, everything is float32. The generator and the discriminator are made of these
(nvidia_generator.py, nvidia_discriminator.py). Import only where torch is there.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from helpers.nvidia_records import Module

__all__ = [
    "BINOMIAL",
    "Conv2dLayer",
    "FullyConnectedLayer",
    "MappingNetwork",
    "activated",
    "double",
    "halve",
    "resample",
]

BINOMIAL = (1, 3, 3, 1)


def resample(x, kernel, *, up=1, down=1, pads=(0, 0)):
    """Zeros between pixels, padding, convolution with the filter at gain up^2, every down-th pixel."""
    b, c, h, w = x.shape
    grown = x.new_zeros(b, c, h * up, w * up)
    grown[:, :, ::up, ::up] = x
    grown = F.pad(grown, (*pads, *pads))
    weight = (kernel * up**2).flip(0, 1).expand(c, 1, *kernel.shape)
    return F.conv2d(grown, weight, groups=c)[:, :, ::down, ::down]


def double(x, kernel):
    n = len(kernel)
    return resample(x, kernel, up=2, pads=((n + 1) // 2, (n - 2) // 2))


def halve(x, kernel):
    n = len(kernel)
    return resample(x, kernel, down=2, pads=((n - 1) // 2, (n - 2) // 2))


def activated(x, bias, gain=1.0, clamp=None):
    x = F.leaky_relu(x + bias[:, None, None], 0.2) * math.sqrt(2) * gain
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def _normalised(x):
    return x / torch.sqrt(x.square().mean(1, keepdim=True) + 1e-8)


class FullyConnectedLayer(Module):
    def __init__(self, inputs, outputs, activation="linear", scale=1.0, mean=0.0):
        super().__init__(activation=activation)
        self.draw("weight", outputs, inputs, scale=1 / scale)
        self.draw("bias", outputs, mean=mean, scale=0.1 / scale)
        self.weight_gain, self.bias_gain = scale / np.sqrt(inputs), scale  # a NumPy number, as there

    def forward(self, x):
        x = x @ self.weight.T * float(self.weight_gain) + self.bias * self.bias_gain
        return x if self.activation == "linear" else F.leaky_relu(x, 0.2) * math.sqrt(2)


class Conv2dLayer(Module):
    def __init__(self, inputs, outputs, side, *, up=1, down=1, clamp=None, taps=BINOMIAL, linear=False):
        super().__init__(
            activation="linear" if linear else "lrelu", up=up, down=down, conv_clamp=clamp, padding=side // 2
        )
        self.draw("weight", outputs, inputs, side, side)
        self.bias = None
        if not linear:
            del self.bias
            self.draw("bias", outputs, scale=0.1)
        self.weight_gain = 1 / np.sqrt(inputs * side**2)
        self.act_gain = 1 if linear else np.sqrt(2)
        self.filtered(taps)

    def forward(self, x, gain=1.0):
        weight, n = self.weight * float(self.weight_gain), len(self.resample_filter)
        if weight.shape[-1] == 1:
            x = halve(x, self.resample_filter) if self.down == 2 else x
            x = F.conv2d(x, weight)
            x = double(x, self.resample_filter) if self.up == 2 else x
        elif self.down == 2:
            x = resample(x, self.resample_filter, pads=((n - 1) // 2 + 1, (n - 2) // 2 + 1))
            x = F.conv2d(x, weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=1)
        return x * gain if self.bias is None else activated(x, self.bias, gain, self.conv_clamp)


class MappingNetwork(Module):
    def __init__(self, z_dim, c_dim, w_dim, num_layers, *, embed=None, scale=0.01, mean=True):
        super().__init__(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_layers=num_layers)
        width = z_dim
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, embed or w_dim)
            width += embed or w_dim
        for i in range(num_layers):
            setattr(self, f"fc{i}", FullyConnectedLayer(width, w_dim, "lrelu", scale))
            width = w_dim
        if mean:
            self.register_buffer("w_avg", torch.randn(w_dim))

    def forward(self, z, c):
        parts = [_normalised(z)] if self.z_dim else []
        parts += [_normalised(self.embed(c))] if self.c_dim else []
        x = torch.cat(parts, 1)
        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)
        return x
