"""Canonical depth without spikes, extended beyond its object: what a solid is made from.

Maps are (S, S), depth in scene units.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

__all__ = ["carried_on", "without_spikes"]

# The 16 pixels around a pixel and its eight neighbours: a spike is narrower than what they enclose.
_RING = np.pad(np.zeros((3, 3), bool), 1, constant_values=True)
_PITCHES = 3.0  # a spike's least height, in distances between neighbouring pixels


def without_spikes(
    depth: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"], pitch: float
) -> tuple[Float[np.ndarray, "s s"], int]:
    """Flattens what stands out from everything around it; slopes, edges and ridges stay as they are.

    Args:
      depth: scene units.
      inside: the object; only its depth is used.
      pitch: distance between neighbouring pixels' points, scene units.

    Returns:
      The depth, extended outside the object, and how many pixels were flattened.
    """
    whole = carried_on(depth, inside)
    low = ndimage.minimum_filter(whole, footprint=_RING, mode="nearest")
    high = ndimage.maximum_filter(whole, footprint=_RING, mode="nearest")
    within = np.clip(whole, low, high)
    spikes = inside & (np.abs(whole - within) > _PITCHES * pitch)
    return carried_on(np.where(spikes, within, whole), inside), int(spikes.sum())


def carried_on(depth: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns depth that, outside the object, is that of the object's nearest pixel; `inside` must not be empty."""
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return depth[tuple(nearest)]
