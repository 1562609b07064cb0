"""LPIPS v0.1 with VGG16 as a PyTorch module, from our arrays (Zhang et al., CVPR 2018)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["Lpips"]

_LAYERS = (2, 2, 3, 3, 3)


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
