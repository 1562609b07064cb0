"""What networks make of several images, side by side in one picture: one column per image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import host
from gan2shape_jax.results.layout import strip
from gan2shape_jax.results.pictures import colour_depth, colour_normals, enlarge, to_uint8

__all__ = ["draw_sample_sheet"]


def draw_sample_sheet(
    images: Float[np.ndarray, "n s s 3"],
    reconstructions: Float[np.ndarray, "n s s 3"],
    albedos: Float[np.ndarray, "n s s 3"],
    depths: Float[np.ndarray, "n s s"],
    camera: Camera,
    *,
    size: int = 128,
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns one column per image: the image, its reconstruction, albedo, depth (bright is near) and normals.

    Args:
      images: in [-1, 1].
      reconstructions: of them, in [-1, 1].
      albedos: in [-1, 1].
      depths: in scene units.
      camera: shared by all.
      size: pixels per side of each picture.
    """
    rows = [
        to_uint8(images),
        to_uint8(reconstructions),
        to_uint8(albedos),
        np.stack([colour_depth(one, camera.min_depth, camera.max_depth) for one in depths]),
        colour_normals(np.stack([host.normals(one, camera) for one in depths])),
    ]
    return strip([[enlarge(picture, size) for picture in row] for row in rows])
