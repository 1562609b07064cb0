"""The terms of the training loss in PyTorch; features `(N, C, H, W)`, masks `(N, H, W)` (GAN2Shape, section 3.2)."""

from collections.abc import Sequence

import torch
from torch.nn import functional

__all__ = ["discriminator_distance", "feature_distance", "photometric", "smoothness"]


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
