"""Pinhole camera: back-projection, rigid views and projection.

Frame: x right, y down, z away from the camera, in scene units (the object sits one unit away). Images are square, of
side S. Pixel coordinates `(..., 2)` are (x, y) with pixel centres at integers, 0 to S-1. Sampling grids are the same
coordinates scaled so that -1 and 1 are the centres of the outer pixels. A view `(..., 6)` is rx, ry, rz in radians and
tx, ty, tz in scene units. Depth `(..., S, S)` is the z coordinate, not the distance along the ray.
"""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

_PRECISION = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class Camera:
    """A fixed pinhole camera and the range of depths it covers, scene units; hashable, so static under jit."""

    image_size: int  # side S of the image in pixels
    fov_deg: float = 10.0  # field of view between the centres of the outer pixels
    rot_center_depth: float = 1.0  # of the point (0, 0, z) that views rotate about
    min_depth: float = 0.9  # nearest canonical depth
    max_depth: float = 1.1  # farthest canonical depth
    near: float = 0.1  # triangles of a grid with a vertex at or before this are not drawn; other meshes are cut there
    far: float = 100.0  # depth of the empty background; surfaces at or beyond it are not drawn

    @property
    def focal_length(self) -> float:
        """Focal length in pixels."""
        return (self.image_size - 1) / 2 / math.tan(math.radians(self.fov_deg) / 2)

    @property
    def center(self) -> float:
        """Principal point in pixels, the same along x and y."""
        return (self.image_size - 1) / 2

    @property
    def margin(self) -> float:
        """How far warped depth may leave the canonical range on either side, scene units."""
        return (self.max_depth - self.min_depth) / 2

    @property
    def background_depth(self) -> float:
        """The depth of empty pixels in a warped depth map, scene units."""
        return self.max_depth + self.margin


def intrinsics(camera: Camera, dtype: DTypeLike = jnp.float32) -> Float[Array, "3 3"]:
    """Returns the matrix that takes a point to homogeneous pixel coordinates."""
    f, c = camera.focal_length, camera.center
    return jnp.array([[f, 0, c], [0, f, c], [0, 0, 1]], dtype)


def rotation_matrix(angles: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """Returns Rz Ry Rx for angles about the x, y and z axes, in radians."""
    (sx, sy, sz), (cx, cy, cz) = ((f(angles[..., 0]), f(angles[..., 1]), f(angles[..., 2])) for f in (jnp.sin, jnp.cos))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def back_project(depth: Float[Array, "*batch h w"], camera: Camera) -> Float[Array, "*batch h w 3"]:
    """Returns the point seen by each pixel of a depth map, in the camera's frame."""
    h, w = depth.shape[-2:]
    slope_x = (jnp.arange(w, dtype=depth.dtype) - camera.center) / camera.focal_length
    slope_y = (jnp.arange(h, dtype=depth.dtype) - camera.center) / camera.focal_length
    return jnp.stack([depth * slope_x, depth * slope_y[:, None], depth], -1)


def project(points: Float[Array, "*batch 3"], camera: Camera) -> Float[Array, "*batch 2"]:
    """Returns the pixel coordinates of points; they are meaningful only in front of the camera."""
    return points[..., :2] / points[..., 2:] * camera.focal_length + camera.center


def transform(
    points: Float[Array, "*batch h w 3"], view: Float[Array, "*batch 6"], camera: Camera
) -> Float[Array, "*batch h w 3"]:
    """Moves canonical points into a view: rotates about the rotation centre, then translates."""
    chex.assert_shape(view, (*points.shape[:-3], 6))
    center = _rotation_center(camera, points.dtype)
    rotation = rotation_matrix(view[..., :3])
    rotated = jnp.einsum("...ij,...hwj->...hwi", rotation, points - center, precision=_PRECISION)
    return rotated + center + view[..., None, None, 3:]


def inverse_transform(
    points: Float[Array, "*batch h w 3"], view: Float[Array, "*batch 6"], camera: Camera
) -> Float[Array, "*batch h w 3"]:
    """Moves points seen in a view back into the canonical frame; undoes `transform`."""
    chex.assert_shape(view, (*points.shape[:-3], 6))
    center = _rotation_center(camera, points.dtype)
    rotation = rotation_matrix(view[..., :3])
    moved = points - view[..., None, None, 3:] - center
    return jnp.einsum("...ji,...hwj->...hwi", rotation, moved, precision=_PRECISION) + center


def to_grid(pixels: Float[Array, "*batch 2"], camera: Camera) -> Float[Array, "*batch 2"]:
    """Scales pixel coordinates to a sampling grid: -1 and 1 are the centres of the outer pixels."""
    return pixels * (2 / (camera.image_size - 1)) - 1


def warped_grid(
    depth: Float[Array, "*batch h w"], view: Float[Array, "*batch 6"], camera: Camera
) -> Float[Array, "*batch h w 2"]:
    """Returns where each canonical pixel lands in the image seen from the view."""
    return to_grid(project(transform(back_project(depth, camera), view, camera), camera), camera)


def inverse_warped_grid(
    warped_depth: Float[Array, "*batch h w"], view: Float[Array, "*batch 6"], camera: Camera
) -> Float[Array, "*batch h w 2"]:
    """Returns where in the canonical image each pixel of the view comes from."""
    points = inverse_transform(back_project(warped_depth, camera), view, camera)
    return to_grid(project(points, camera), camera)


def _rotation_center(camera: Camera, dtype: DTypeLike) -> Float[Array, "3"]:
    return jnp.array([0, 0, camera.rot_center_depth], dtype)
