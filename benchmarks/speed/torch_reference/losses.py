"""The terms of the training loss in PyTorch; features `(N, C, H, W)`, masks `(N, H, W)` (GAN2Shape, section 3.2).

`Lpips` is LPIPS v0.1 with VGG16, from our arrays (Zhang et al., CVPR 2018).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

_LAYERS = (2, 2, 3, 3, 3)


def photometric(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`sum(|a - b| m) / sum(m)`, one ratio over the batch, the mask counted once per channel."""
    weight = mask[:, None].expand_as(a)
    return ((a - b).abs() * weight).sum() / weight.sum()


def feature_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Masked distance of discriminator features, summed over layers, to whose sizes the mask is average-pooled."""
    total = mask.new_zeros(())
    for first, second in zip(a, b, strict=True):
        total = total + photometric(first, second, functional.avg_pool2d(mask, mask.shape[-1] // first.shape[-1]))
    return total


def discriminator_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute difference of features, summed over layers."""
    return sum((first - second).abs().mean() for first, second in zip(a, b, strict=True))


def smoothness(values: torch.Tensor) -> torch.Tensor:
    """Sum of the mean absolute second differences xx, xy, yx and yy of maps."""
    x, y = values.diff(dim=-1), values.diff(dim=-2)
    second = x.diff(dim=-1), x.diff(dim=-2), y.diff(dim=-1), y.diff(dim=-2)
    return sum(term.abs().mean() for term in second)


class Lpips(nn.Module):
    """Distances (N,) of pairs of images (N, 3, H, W) in [-1, 1]."""

    def __init__(self, params: Mapping[str, Any]):
        super().__init__()

        def frozen(name: str, order: tuple[int, ...] = (0,)) -> nn.Parameter:
            array = np.asarray(params[name], np.float32).transpose(order)
            return nn.Parameter(torch.from_numpy(np.array(array, order="C")), requires_grad=False)

        self.shift, self.scale = frozen("shift"), frozen("scale")
        names = [f"conv{block}_{layer}" for block, count in enumerate(_LAYERS, 1) for layer in range(1, count + 1)]
        self.kernels = nn.ParameterList(frozen(f"{name}/kernel", (3, 2, 0, 1)) for name in names)
        self.biases = nn.ParameterList(frozen(f"{name}/bias") for name in names)
        self.linear = nn.ParameterList(frozen(f"linear{block}") for block in range(1, len(_LAYERS) + 1))

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Unit feature vectors at every pixel after each of VGG16's five blocks."""
        x = (images - self.shift[:, None, None]) / self.scale[:, None, None]
        normalised, place = [], 0
        for block, count in enumerate(_LAYERS):
            x = functional.max_pool2d(x, 2) if block else x
            for _ in range(count):
                x = functional.relu(functional.conv2d(x, self.kernels[place], self.biases[place], padding=1))
                place += 1
            normalised.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        return normalised

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        parts = zip(self.features(a), self.features(b), self.linear, strict=True)
        return sum(((x - y).square() * weight[:, None, None]).sum(1).mean((1, 2)) for x, y, weight in parts)
