"""One shape from several photographs: not yet fitted; `reconstruct` returns its start and says so."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gan2shape_jax.geometry.camera import Camera


class Joint(NamedTuple):
    """One object in k pictures."""

    depth: Float[np.ndarray, "s s"]  # canonical, scene units
    views: Float[np.ndarray, "k 6"]
    sizes: Float[np.ndarray, " k"]  # log of the factor by which the object is larger than the picture's frame says
    albedo: Float[np.ndarray, "s s 3"]  # canonical, linear light
    lights: Float[np.ndarray, "k 9 3"]  # of `lighting.harmonics` in each picture's frame, linear light
    used: Bool[np.ndarray, " k"]  # whether the picture shows the same object as the others
    better: bool  # whether pictures left out are explained better than by the start; if not, `depth` is the start
    spread_deg: float  # how far the views are spread
    errors: Float[np.ndarray, "k 2"]  # of each picture left out: by the start and by the joint shape


def reconstruct(
    start: Float[np.ndarray, "s s"],
    views: Float[np.ndarray, "k 6"],
    images: Float[np.ndarray, "k s s 3"],
    masks: Float[np.ndarray, "k s s"],
    camera: Camera,
    *,
    symmetric: bool,
) -> Joint:
    """Returns the start as the joint shape.

    Args:
      start: canonical depth, scene units.
      views: the pictures' views.
      images: sRGB in [0, 1].
      masks: where the object is in the pictures, in [0, 1].
      camera: of all pictures.
      symmetric: whether the object's halves are alike.
    """
    count, spread = len(views), float(np.degrees(np.ptp(views[:, 1])))
    lights = np.zeros((count, 9, 3), np.float32)
    lights[:, 0] = 1
    grey, none = np.full((*start.shape, 3), 0.3, np.float32), np.zeros((count, 2), np.float32)
    return Joint(start, views, none[:, 0], grey, lights, np.ones(count, bool), False, spread, none)
