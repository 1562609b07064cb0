"""Renders a canonical depth map from a view: warped depth, reconstruction, pictures of the mesh.

Depth maps `(..., S, S)` are in scene units, views `(..., 6)` in radians and scene units, images
`(..., S, S, C)` in [-1, 1]. Frames and pixel coordinates are those of `camera`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, resample

__all__ = ["reconstruct", "render_mesh", "rough_rendering", "valid_pixels", "warp_depth"]

_SUPERSAMPLE = 2


def warp_depth(
    depth: Float[Array, "*batch s s"],
    view: Float[Array, "*batch 6"],
    camera: camera_lib.Camera,
    *,
    sampling: str = "centred",
) -> Float[Array, "*batch s s"]:
    """Returns the depth map seen from a view. GAN2Shape, section 3.1.

    Args:
      depth: canonical depth.
      view: the view.
      camera: the camera.
      sampling: "centred" averages samples a quarter of a pixel to either side of a pixel's centre;
        "half" reproduces the published implementation, which takes them 1/4 and 3/4 of a pixel
        past the centre.

    Returns:
      The mean of 2 x 2 samples (empty ones are camera.far), clamped to [min - margin, max +
      margin]. Clamped pixels have no gradient.
    """
    samples = rasterizer.SampleGrid.over(camera, supersample=_SUPERSAMPLE, sampling=sampling)
    vertices = camera_lib.transform(camera_lib.back_project(depth, camera), view, camera)
    seen = rasterizer.rasterize(vertices, camera, samples=samples).depth
    return jnp.clip(
        resample.average_cells(seen[..., None], _SUPERSAMPLE)[..., 0],
        camera.min_depth - camera.margin,
        camera.background_depth,
    )


def valid_pixels(warped_depth: Float[Array, "*batch s s"], camera: camera_lib.Camera) -> Float[Array, "*batch s s"]:
    """Returns 1 where a warped depth map shows the object and 0 where it is empty; has no gradient."""
    limit = jnp.asarray(camera.background_depth, warped_depth.dtype)
    return (jax.lax.stop_gradient(warped_depth) < limit).astype(warped_depth.dtype)


def reconstruct(
    texture: Float[Array, "*batch s s c"],
    warped_depth: Float[Array, "*batch s s"],
    view: Float[Array, "*batch 6"],
    camera: camera_lib.Camera,
) -> Float[Array, "*batch s s c"]:
    """Returns the canonical texture as seen from the view, clamped to [-1, 1].

    Each pixel of the warped depth is mapped back to the canonical frame, where the texture is
    sampled.
    """
    grid = camera_lib.inverse_warped_grid(warped_depth, view, camera)
    return jnp.clip(resample.grid_sample(texture, grid), -1, 1)


def rough_rendering(
    texture: Float[Array, "n s s 3"],
    depth: Float[Array, "s s"],
    mask: Float[Array, "s s"],
    view: Float[Array, "n 6"],
    camera: camera_lib.Camera,
    *,
    sampling: str = "centred",
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Renders lit textures on one canonical depth map, each from its own view, for a GAN to make plausible.

    GAN2Shape, sections 3.2 and 3.3.

    Args:
      texture: in the canonical frame; may exceed 1.
      depth: canonical depth, scene units.
      mask: object mask in the canonical frame.
      view: radians and scene units.
      camera: the camera.
      sampling: as in `warp_depth`.

    Returns:
      Images clamped to [-1, 1], and the mask seen from each view (nearest, zero outside).
    """
    depths = jnp.broadcast_to(depth, (view.shape[0], *depth.shape))
    warped = warp_depth(depths, view, camera, sampling=sampling)
    images = reconstruct(texture, warped, view, camera)
    masks = jnp.broadcast_to(mask[..., None], (*depths.shape, 1))
    seen = resample.grid_sample(masks, camera_lib.inverse_warped_grid(warped, view, camera), mode="nearest")
    return images, seen[..., 0]


def render_mesh(
    depth: Float[Array, "*batch s s"],
    attributes: Float[Array, "*batch s s c"],
    view: Float[Array, "*batch 6"],
    camera: camera_lib.Camera,
    *,
    background: float = 1.0,
    supersample: int = _SUPERSAMPLE,
    size: int | None = None,
    mask: Float[Array, "*batch s s"] | None = None,
    return_coverage: bool = False,
    exchanged: bool = False,
) -> Array | tuple[Array, Array]:
    """Renders a picture of the mesh of a depth map with values (colours, normals) at its vertices.

    Args:
      depth: canonical depth.
      attributes: values at the vertices, interpolated perspective-correctly.
      view: the view; any rotation.
      camera: the camera.
      background: the value where there is no mesh.
      supersample: samples along each side of a pixel; they are averaged.
      size: side of the picture in pixels; the image's if not given. The field of view does not change.
      mask: triangles with a vertex whose mask is below 0.5 are not drawn.
      return_coverage: whether to also return the covered fraction of every pixel.
      exchanged: reproduces a bug of the published code that swaps the values of two vertices of every triangle.

    Returns:
      The picture `(..., size, size, c)` and, if requested, the coverage `(..., size, size)` in
      [0, 1].
    """
    samples = rasterizer.SampleGrid.over(camera, supersample=supersample, size=size)
    vertices = camera_lib.transform(camera_lib.back_project(depth, camera), view, camera)
    kept = None if mask is None else mask >= 0.5
    fragments = rasterizer.rasterize(vertices, camera, samples=samples, mask=kept)
    values = resample.average_cells(rasterizer.interpolate(fragments, attributes, exchanged=exchanged), supersample)
    covered = (fragments.triangle >= 0).astype(attributes.dtype)[..., None]
    covered = resample.average_cells(covered, supersample)
    # Uncovered samples count as 0 in the mean, so the values are already multiplied by coverage.
    picture = values + (1 - covered) * background
    return (picture, covered[..., 0]) if return_coverage else picture
