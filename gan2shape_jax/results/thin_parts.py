"""Where a solid is narrower than a printer's line: ridges, spikes and necks, seen from above."""

import math

import numpy as np
from jaxtyping import Float
from scipy import ndimage

__all__ = ["thin_share"]

_CELLS = 8  # across the least wall
_MOST_CELLS = 1500  # along a side; a larger solid is examined more coarsely
_TIMES = 2.0  # a ridge's crest may be this many walls high before it counts, since every sharp edge is thin at its end


def thin_share(
    height_mm: Float[np.ndarray, "n n"], share: Float[np.ndarray, "n n"], pitch_mm: float, least_mm: float
) -> float:
    """Returns the share of a solid's area, seen from above, that is narrower than a disc of the least wall's size.

    The height above the back is opened with a disc of that diameter (grey-scale morphology): what rises above the
    opening by more than two walls is narrower than one.

    Args:
      height_mm: of the front above the back.
      share: above 1/2 on the object; outside it there is nothing.
      pitch_mm: distance between neighbouring values.
      least_mm: the least wall.
    """
    side = len(height_mm)
    parts = max(1, min(math.ceil(pitch_mm * _CELLS / least_mm), _MOST_CELLS // side))
    size = (side - 1) * parts + 1
    height, inside = (ndimage.zoom(values, size / side, order=1, mode="nearest") for values in (height_mm, share))
    solid = np.pad(np.where(inside > 0.5, height, 0), 1)
    radius = least_mm / 2 / (pitch_mm / parts)
    reach = math.floor(radius)
    if reach < 1:  # the disc is no wider than a cell
        return 0.0
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    opened = ndimage.grey_opening(solid, footprint=x**2 + y**2 <= radius**2, mode="constant")
    return float((solid - opened > _TIMES * least_mm).sum() / max((solid > 0).sum(), 1))
