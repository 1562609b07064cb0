"""Renders a canonical depth map from a view: warped depth, reconstruction, pseudo-images for the GAN.

Depth maps `(..., H, W)` are in scene units, views `(..., 6)` in radians and scene units, images `(..., H, W, C)` in
[-1, 1]; leading axes broadcast: one depth, many views. Frames and pixel coordinates are those of `camera`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax import platforms
from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import mesh_rasterizer, rasterizer, resample

_SUPERSAMPLE = 2


@platforms.arrays
def warp_depth(
    depth: Float[Array, "*#batch h w"],
    view: Float[Array, "*#batch 6"],
    camera: camera_lib.Camera,
    *,
    sampling: str = "centred",
) -> Float[Array, "*batch h w"]:
    """Returns the canonical depth map seen from a view. GAN2Shape, section 3.1.

    A pixel is the mean of 2 x 2 samples (empty ones are camera.far), clamped to [min - margin, max + margin]; clamped
    pixels have no gradient. With `sampling` "centred", samples lie a quarter of a pixel to either side of its centre;
    "half" reproduces the published implementation, which takes them 1/4 and 3/4 of a pixel past the centre.
    """
    samples = rasterizer.SampleGrid.over(camera, supersample=_SUPERSAMPLE, sampling=sampling)
    vertices = camera_lib.moved_points(depth, view, camera)
    drawing = mesh_rasterizer if camera.orthographic else rasterizer
    visible_depth = drawing.rasterize(vertices, camera, samples=samples).depth
    return jnp.clip(
        resample.average_cells(visible_depth[..., None], _SUPERSAMPLE)[..., 0],
        camera.min_depth - camera.margin,
        camera.background_depth,
    )


@platforms.arrays
def valid_pixels(warped_depth: Float[Array, "*batch h w"], camera: camera_lib.Camera) -> Float[Array, "*batch h w"]:
    """Returns 1 where a warped depth map shows the object and 0 where it is empty; has no gradient."""
    limit = jnp.asarray(camera.background_depth, warped_depth.dtype)
    return (jax.lax.stop_gradient(warped_depth) < limit).astype(warped_depth.dtype)


@platforms.arrays
def draw_texture(
    texture: Float[Array, "*#batch h w c"],
    warped_depth: Float[Array, "*#batch h w"],
    view: Float[Array, "*#batch 6"],
    camera: camera_lib.Camera,
) -> Float[Array, "*batch h w c"]:
    """Returns the canonical texture as seen from the view, clamped to [-1, 1].

    Each pixel of the warped depth is mapped back to the canonical frame, where the texture is sampled.
    """
    grid = camera_lib.inverse_warped_grid(warped_depth, view, camera)
    return jnp.clip(resample.grid_sample(texture, grid), -1, 1)


@platforms.arrays
def pseudo_image(
    texture: Float[Array, "n h w 3"],
    depth: Float[Array, "s s"],
    mask: Float[Array, "s s"],
    view: Float[Array, "n 6"],
    camera: camera_lib.Camera,
    *,
    sampling: str = "centred",
) -> tuple[Float[Array, "n h w 3"], Float[Array, "n h w"]]:
    """Renders lit canonical textures on one depth map, each from its own view, for a GAN to make plausible.

    GAN2Shape, sections 3.2 and 3.3. Returns images clamped to [-1, 1], and the canonical object mask seen from each
    view (nearest, zero outside); `sampling` is that of `warp_depth`.
    """
    depths = jnp.broadcast_to(depth, (view.shape[0], *depth.shape))
    warped = warp_depth(depths, view, camera, sampling=sampling)
    images = draw_texture(texture, warped, view, camera)
    warped_mask = resample.grid_sample(
        mask[..., None], camera_lib.inverse_warped_grid(warped, view, camera), mode="nearest"
    )
    return images, warped_mask[..., 0]
