"""How wide a picture of a turned mesh has to be so that none of it is cut off.

The camera's own picture ends where the photograph did. A mesh that fills it extends past its border once it turns:
what comes nearer grows, and what lay behind moves to the side.
"""

import numpy as np
from jaxtyping import Float

from gan2shape_jax.results import host
from gan2shape_jax.results.result import Result
from gan2shape_jax.results.surface import surface

__all__ = ["fitting_window"]

_MARGIN = 0.04  # share of the picture's side that stays free at each border


def fitting_window(result: Result, views: Float[np.ndarray, "n 6"], *, cut: bool = True) -> float:
    """Returns the side of the smallest picture that holds the mesh in every view, relative to the camera's own.

    The picture stays centred on the principal point, and one window serves all views, so that the mesh neither
    shifts nor changes size while it turns. It is never smaller than the camera's own picture. Results in reference
    mode keep the latter, as the published code does.

    Args:
      result: the reconstruction.
      views: radians, scene units.
      cut: whether the mesh is cut at the object mask or is the whole sheet.

    Returns:
      A factor, 1 or more.
    """
    if result.reference:
        return 1.0
    part = surface(result, cut=cut)
    corners = host.points(part.depth, result.camera)[part.mask >= 0.5]
    center = np.array([0, 0, result.camera.rot_center_depth])
    rotated = np.einsum("nij,kj->nki", host.rotations(views[:, :3]), corners - center)
    turned = rotated + center + views[:, None, 3:]
    reach = np.abs(turned[..., :2] / turned[..., 2:]).max() * result.camera.focal_length
    return max(1.0, float(reach / (result.camera.image_size / 2) / (1 - 2 * _MARGIN)))
