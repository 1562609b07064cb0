"""The generator of NVIDIA's StyleGAN2 in PyTorch by its definition, with the real names, settings and file layout.

Written from reading stylegan2-ada-pytorch (training/networks.py) and stylegan3 (networks_stylegan2.py):
kernels are modulated for each image, everything is float32. Import only where torch is there.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from helpers.nvidia_layers import BINOMIAL as _BINOMIAL
from helpers.nvidia_layers import Conv2dLayer, FullyConnectedLayer, MappingNetwork
from helpers.nvidia_layers import activated as _activated
from helpers.nvidia_layers import double as _double
from helpers.nvidia_layers import resample as _resample
from helpers.nvidia_records import Module

__all__ = ["Generator"]


class _Styled(Module):
    def start(self, inputs, outputs, w_dim, side):
        self.affine = FullyConnectedLayer(w_dim, inputs, mean=1.0)
        self.draw("weight", outputs, inputs, side, side)
        self.draw("bias", outputs, scale=0.1)


class SynthesisLayer(_Styled):
    def __init__(self, inputs, outputs, w_dim, resolution, *, up=1, clamp=None, taps=_BINOMIAL, use_noise=True):
        super().__init__(
            resolution=resolution,
            up=up,
            use_noise=use_noise,
            activation="lrelu",
            conv_clamp=clamp,
            padding=1,
            act_gain=np.sqrt(2),
        )
        self.start(inputs, outputs, w_dim, 3)
        self.filtered(taps)
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.draw("noise_strength", scale=0.2)

    def forward(self, x, w, gain=1.0):
        images = []
        for item, style in zip(x, self.affine(w)):
            weight = self.weight * style[:, None, None]
            weight = weight / torch.sqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
            if self.up == 2:
                n = len(self.resample_filter)
                item = F.conv_transpose2d(item[None], weight.transpose(0, 1), stride=2)
                item = _resample(item, self.resample_filter * 4, pads=((n + 1) // 2 - 1, (n - 2) // 2))
            else:
                item = F.conv2d(item[None], weight, padding=1)
            images.append(item)
        x = torch.cat(images)
        if self.use_noise:
            x = x + self.noise_const * self.noise_strength
        return _activated(x, self.bias, gain, self.conv_clamp)


class ToRGBLayer(_Styled):
    def __init__(self, inputs, w_dim, *, clamp=None):
        super().__init__(conv_clamp=clamp)
        self.start(inputs, 3, w_dim, 1)
        self.weight_gain = 1 / np.sqrt(inputs)

    def forward(self, x, w):
        style = self.affine(w) * float(self.weight_gain)
        x = torch.einsum("oi,bi,bihw->bohw", self.weight[:, :, 0, 0], style, x) + self.bias[:, None, None]
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class SynthesisBlock(Module):
    def __init__(self, inputs, outputs, w_dim, resolution, *, last, kind, clamp, taps, half, use_noise):
        super().__init__(in_channels=inputs, resolution=resolution, is_last=last, architecture=kind, use_fp16=half)
        self.filtered(taps)
        common = {"clamp": clamp, "use_noise": use_noise}
        if inputs:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution, up=2, taps=taps, **common)
        else:
            self.draw("const", outputs, 4, 4)
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution, **common)
        if last or kind == "skip":
            self.torgb = ToRGBLayer(outputs, w_dim, clamp=clamp)
        if inputs and kind == "resnet":
            self.skip = Conv2dLayer(inputs, outputs, 1, up=2, taps=taps, linear=True)

    def forward(self, x, image, ws):
        if x is None:
            x = self.conv1(self.const.expand(len(ws), -1, -1, -1), ws[:, 0])
        elif self.architecture == "resnet":
            y = self.skip(x, gain=math.sqrt(0.5))
            x = y + self.conv1(self.conv0(x, ws[:, 0]), ws[:, 1], gain=math.sqrt(0.5))
        else:
            x = self.conv1(self.conv0(x, ws[:, 0]), ws[:, 1])
        image = None if image is None else _double(image, self.resample_filter)
        if hasattr(self, "torgb"):
            colour = self.torgb(x, ws[:, 2 if self.in_channels else 1])
            image = colour if image is None else image + colour
        return x, image


class SynthesisNetwork(Module):
    def __init__(self, w_dim, channels, *, kind, clamp, taps, half, use_noise):
        super().__init__(w_dim=w_dim, num_ws=2 * len(channels))
        for i, width in enumerate(channels):
            last = i == len(channels) - 1
            setattr(
                self,
                f"b{4 * 2**i}",
                SynthesisBlock(
                    channels[i - 1] if i else 0,
                    width,
                    w_dim,
                    4 * 2**i,
                    last=last,
                    kind=kind,
                    clamp=clamp,
                    taps=taps,
                    half=i >= max(len(channels) - half, 1),
                    use_noise=use_noise,
                ),
            )

    def forward(self, ws):
        x = image = None
        for i, block in enumerate(self.children()):
            x, image = block(x, image, ws[:, 2 * i - 1 : 2 * i + 2] if i else ws[:, :2])
        return image


class Generator(Module):
    def __init__(
        self,
        w_dim,
        channels,
        *,
        c_dim=0,
        layers=2,
        embed=None,
        kind="skip",
        clamp=None,
        taps=_BINOMIAL,
        half=0,
        use_noise=True,
    ):
        super().__init__(
            z_dim=w_dim,
            c_dim=c_dim,
            w_dim=w_dim,
            img_resolution=2 ** (len(channels) + 1),
            img_channels=3,
            num_ws=2 * len(channels),
        )
        self.synthesis = SynthesisNetwork(
            w_dim, channels, kind=kind, clamp=clamp, taps=taps, half=half, use_noise=use_noise
        )
        self.mapping = MappingNetwork(w_dim, c_dim, w_dim, layers, embed=embed)
