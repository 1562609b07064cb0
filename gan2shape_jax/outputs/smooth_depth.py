"""Canonical depth without spikes, carried on beyond its object: what a solid is made of.

Maps are (S, S), depth in scene units.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

__all__ = ["carried_on", "without_spikes"]

# The 16 pixels around a pixel and its eight neighbours: a spike is narrower than what they enclose.
_RING = np.pad(np.zeros((3, 3), bool), 1, constant_values=True)
_PITCHES = 3.0  # a spike's least height, in distances of two pixels


def without_spikes(
    depth: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"], pitch: float
) -> tuple[Float[np.ndarray, "s s"], int]:
    """Flattens what stands out of all that surrounds it; slopes, edges and ridges stay as they are.

    Args:
      depth: scene units.
      inside: the object, which is all that counts.
      pitch: distance of two pixels' points, scene units.

    Returns:
      The depth, carried on outside, and how many pixels were flattened.
    """
    whole = carried_on(depth, inside)
    low = ndimage.minimum_filter(whole, footprint=_RING, mode="nearest")
    high = ndimage.maximum_filter(whole, footprint=_RING, mode="nearest")
    within = np.clip(whole, low, high)
    spikes = inside & (np.abs(whole - within) > _PITCHES * pitch)
    return carried_on(np.where(spikes, within, whole), inside), int(spikes.sum())


def carried_on(depth: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Returns depth that has, outside the object, the depth of its nearest pixel; `inside` has to have one."""
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return depth[tuple(nearest)]
