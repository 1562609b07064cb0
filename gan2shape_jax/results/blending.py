"""Seamless joining of colours from several sources: filling in colour fields, and matching one source to another.

Colours are (h, w, 3) in [0, 1], weights (h, w) in [0, 1].
"""

import cv2
import numpy as np
from jaxtyping import Float

__all__ = ["feathered", "filled", "matched", "ramp"]

_FINE = 4  # subdivisions of a cell along a side, at which colours are weighted
_GAIN = 3.0  # the most by which a source may be made lighter or darker to match another
_DARKEST = 0.004  # the smallest step that 8 bits resolve; it makes ratios of black 1


def ramp(values: np.ndarray, low: float, high: float) -> Float[np.ndarray, "..."]:
    """Returns 0 up to `low`, 1 from `high` on, and a smooth transition in between."""
    share = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return share * share * (3 - 2 * share)


def feathered(weight: Float[np.ndarray, "h w"], width: float) -> Float[np.ndarray, "h w"]:
    """Returns the weight, faded out over about `width` pixels towards where it is 0; it stays 0 there."""
    side = 2 * round(width / 2) + 1
    blurred = weight
    for _ in range(2):
        blurred = cv2.blur(blurred, (side, side), borderType=cv2.BORDER_REPLICATE)
    return weight * ramp(blurred, 0.5, 1.0)


def filled(values: Float[np.ndarray, "h w c"], weight: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w c"]:
    """Returns the values, kept where their weight is 1 and continued smoothly to where it is 0.

    Means over ever larger cells fill what finer ones leave empty (pull-push: S. Gortler et al., The Lumigraph, 1996).
    If nothing has any weight, the values are 0.
    """
    height, width = weight.shape
    if max(height, width) == 1:
        return values * (weight > 0)[..., None].astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    mass = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(values * weight[..., None], half, interpolation=cv2.INTER_AREA)
    means = sums / np.maximum(mass, 1e-8)[..., None]
    coarser = filled(means, np.minimum(mass * 4, 1))  # one pixel of four is enough to know a cell's mean
    around = cv2.resize(coarser, (width, height), interpolation=cv2.INTER_LINEAR)
    return around + weight[..., None] * (values - around)


def matched(
    source: Float[np.ndarray, "h w 3"],
    trusted: Float[np.ndarray, "h w"],
    target: Float[np.ndarray, "h w 3"],
    known: Float[np.ndarray, "h w"],
    *,
    cells: int = 128,
) -> Float[np.ndarray, "h w 3"]:
    """Returns the source with the target's colours where both are known, keeping its own detail.

    The source is multiplied by a smooth field, which continues smoothly to where the target is unknown.

    Args:
      source: the colours to change.
      trusted: where they can be compared.
      target: the colours to match.
      known: where those are known.
      cells: cells along a side; mean colours are matched in each cell.
    """
    height, width = known.shape
    fine, coarse = ((min(width, side), min(height, side)) for side in (_FINE * cells, cells))
    ours, theirs, first, second = (
        cv2.resize(np.ascontiguousarray(values), fine, interpolation=cv2.INTER_AREA)
        for values in (source, target, trusted, known)
    )
    both = first * second
    mass, ours, theirs = (
        cv2.resize(values, coarse, interpolation=cv2.INTER_AREA)
        for values in (both, ours * both[..., None], theirs * both[..., None])
    )
    seen = np.maximum(mass, 1e-8)[..., None]
    ratio = np.log((theirs / seen + _DARKEST) / (ours / seen + _DARKEST))
    limit = np.log(_GAIN)
    field = filled(np.clip(ratio, -limit, limit).astype(np.float32), np.minimum(mass * 4, 1))
    return source * cv2.resize(np.exp(field), (width, height), interpolation=cv2.INTER_CUBIC)
