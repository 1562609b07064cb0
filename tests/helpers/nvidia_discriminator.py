"""The discriminator of NVIDIA's StyleGAN2 in PyTorch by its definition, with the real names, settings and file layout.

Written from reading stylegan2-ada-pytorch (training/networks.py) and stylegan3 (networks_stylegan2.py);
everything is float32. Import only where torch is there.
"""

import math

import torch

from helpers.nvidia_layers import BINOMIAL as _BINOMIAL
from helpers.nvidia_layers import Conv2dLayer, FullyConnectedLayer, MappingNetwork
from helpers.nvidia_layers import halve as _halve
from helpers.nvidia_records import Module

__all__ = ["Discriminator"]


class DiscriminatorBlock(Module):
    def __init__(self, inputs, width, outputs, resolution, *, kind, clamp, taps, half):
        super().__init__(in_channels=inputs, resolution=resolution, architecture=kind, use_fp16=half)
        self.filtered(taps)
        if not inputs or kind == "skip":
            self.fromrgb = Conv2dLayer(3, width, 1, clamp=clamp)
        self.conv0 = Conv2dLayer(width, width, 3, clamp=clamp)
        self.conv1 = Conv2dLayer(width, outputs, 3, down=2, clamp=clamp, taps=taps)
        if kind == "resnet":
            self.skip = Conv2dLayer(width, outputs, 1, down=2, taps=taps, linear=True)

    def forward(self, x, image):
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(image)
            x = y if x is None else x + y
            image = _halve(image, self.resample_filter) if self.architecture == "skip" else None
        if self.architecture == "resnet":
            y = self.skip(x, gain=math.sqrt(0.5))
            return y + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), image
        return self.conv1(self.conv0(x)), image


class MinibatchStdLayer(Module):
    def forward(self, x):
        b, c, h, w = x.shape
        size = min(self.group_size or b, b)
        found = x.new_zeros(b, self.num_channels)
        for first in range(b // size):
            members = list(range(first, b, b // size))
            deviation = torch.sqrt(x[members].var(0, unbiased=False) + 1e-8)
            found[members] = deviation.reshape(self.num_channels, -1).mean(1)
        return torch.cat([x, found[:, :, None, None].expand(-1, -1, h, w)], 1)


class DiscriminatorEpilogue(Module):
    def __init__(self, width, cmap_dim, *, kind, clamp, group, extra):
        super().__init__(in_channels=width, cmap_dim=cmap_dim, resolution=4, architecture=kind)
        if kind == "skip":
            self.fromrgb = Conv2dLayer(3, width, 1)
        self.mbstd = MinibatchStdLayer(group_size=group, num_channels=extra) if extra else None
        self.conv = Conv2dLayer(width + extra, width, 3, clamp=clamp)
        self.fc = FullyConnectedLayer(width * 16, width, "lrelu")
        self.out = FullyConnectedLayer(width, cmap_dim or 1)

    def forward(self, x, image, cmap):
        if self.architecture == "skip":
            x = x + self.fromrgb(image)
        x = x if self.mbstd is None else self.mbstd(x)
        x = self.out(self.fc(self.conv(x).flatten(1)))
        return x if cmap is None else (x * cmap).sum(1, keepdim=True) / math.sqrt(self.cmap_dim)


class Discriminator(Module):
    def __init__(
        self,
        channels,
        *,
        c_dim=0,
        cmap_dim=None,
        layers=2,
        kind="resnet",
        clamp=None,
        taps=_BINOMIAL,
        half=0,
        group=4,
        extra=1,
    ):
        """Channels from 4 pixels on, as for the generator."""
        count, cmap_dim = len(channels), (cmap_dim or channels[0]) if c_dim else 0
        super().__init__(c_dim=c_dim, img_resolution=2 ** (count + 1), img_channels=3)
        for i in range(count - 1, 0, -1):
            setattr(
                self,
                f"b{4 * 2**i}",
                DiscriminatorBlock(
                    0 if i == count - 1 else channels[i],
                    channels[i],
                    channels[i - 1],
                    4 * 2**i,
                    kind=kind,
                    clamp=clamp,
                    taps=taps,
                    half=i >= max(count - half, 1),
                ),
            )
        if c_dim:
            self.mapping = MappingNetwork(0, c_dim, cmap_dim, layers, mean=False)
        self.b4 = DiscriminatorEpilogue(channels[0], cmap_dim, kind=kind, clamp=clamp, group=group, extra=extra)

    def forward(self, image, c=None):
        """Logits, and the outputs of every block."""
        x, features = None, []
        for block in self.children():
            if isinstance(block, DiscriminatorBlock):
                x, image = block(x, image)
                features.append(x)
        return self.b4(x, image, self.mapping(None, c) if self.c_dim else None), features
