"""The outline that a result's mesh ends at."""

import numpy as np
from scipy.spatial import ConvexHull

from gan2shape_jax.results import Reconstruction
from gan2shape_jax.results.solid import border
from gan2shape_jax.results.surface import OUTLINE, cut_surface, surface


def excess_length(result: Reconstruction) -> float:
    """Returns the length of a result's outline in the canonical picture, in lengths of its convex hull."""
    part = surface(result)
    sheet = cut_surface(part.depth, part.field, result.camera)
    ends = sheet.pixels[border(sheet.faces)]
    return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum() / ConvexHull(sheet.pixels).area)


def overlap(single: Reconstruction, other: Reconstruction) -> float:
    """Returns the intersection of what lies inside two results' outlines, over its union."""
    first, second = (surface(result).field >= OUTLINE for result in (single, other))
    return float((first & second).sum() / (first | second).sum())
