"""Rough renderings: a texture sampled at the depth seen from a view, giving images for a GAN to make plausible.

Depth and masks are `(S, S)`, views `(n, 6)` in radians and scene units, images `(n, S, S, 3)` in [-1, 1].
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import render, resample

__all__ = ["rough_rendering"]


def rough_rendering(
    texture: Float[Array, "n s s 3"],
    depth: Float[Array, "s s"],
    mask: Float[Array, "s s"],
    view: Float[Array, "n 6"],
    camera: camera_lib.Camera,
    *,
    sampling: str = "centred",
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Renders lit textures on one canonical depth map, each from its own view (GAN2Shape, sections 3.2 and 3.3).

    Args:
      texture: in the canonical frame; may exceed 1.
      depth: canonical depth, scene units.
      mask: object mask in the canonical frame.
      view: radians and scene units.
      camera: the camera.
      sampling: as in `render.warp_depth`.

    Returns:
      Images clamped to [-1, 1], and the mask seen from each view (nearest, zero outside).
    """
    depths = jnp.broadcast_to(depth, (view.shape[0], *depth.shape))
    warped = render.warp_depth(depths, view, camera, sampling=sampling)
    images = render.reconstruct(texture, warped, view, camera)
    masks = jnp.broadcast_to(mask[..., None], (*depths.shape, 1))
    seen = resample.grid_sample(masks, camera_lib.inverse_warped_grid(warped, view, camera), mode="nearest")
    return images, seen[..., 0]
