"""Differentiable rasterisation of grid meshes: which triangle each sample sees, where in it, and at what depth.

A mesh is a grid of vertices `(..., H, W, 3)` in the camera's frame (x right, y down, z away, scene
units) with two triangles per cell, numbered as in `visibility`. Samples are a square lattice in pixel
coordinates (`SampleGrid`); `Fragments` records what they see. Depth is perspective-correct:
1 / z is linear on screen. Its gradient holds the visible triangle of each sample fixed and is then
exact in all three coordinates of all three vertices; none flows through visibility itself.
"""

import dataclasses
import functools
import math
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from gan2shape_jax import platforms
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.visibility import in_chunks, join_batch

# Offset of each sampling from the centred one, in pixels.
_SHIFTS = {"centred": 0.0, "half": 0.5}


@dataclasses.dataclass(frozen=True)
class SampleGrid:
    """A lattice of rows x columns samples: sample k of either lies at pixel coordinate first + k spacing."""

    shape: tuple[int, int]
    first: float
    spacing: float
    supersample: int = 1  # samples along each side of a pixel, which `interpolate` averages

    @classmethod
    def over(
        cls, camera: camera_lib.Camera, *, supersample: int = 1, size: int | None = None, sampling: str = "centred"
    ) -> "SampleGrid":
        """Returns samples that divide the image, from -1/2 to W-1/2, into size x supersample equal parts.

        They are `supersample` along each side of a pixel, and `size`, if not that of the camera's image, are the
        pixels of a row. `sampling` "half" shifts them half a pixel to the right and down, as the published
        implementation does.

        Raises:
          ValueError: the size or number of samples is below 1 or leaves part of a row, or the sampling is unknown.
        """
        if sampling not in _SHIFTS:
            raise ValueError(f"sampling is {sampling!r}; it must be one of {', '.join(_SHIFTS)}")
        size = camera.width if size is None else size
        for name, value in (("supersample", supersample), ("size", size)):
            if not isinstance(value, Integral) or value < 1:
                raise ArgumentError(f"{name} is {value}; it must be a whole number, at least 1")
        rows, part = divmod(camera.height * size, camera.width)
        if part:
            raise ValueError(f"size is {size}; it must leave whole rows of {camera.height} x {camera.width} pixels")
        spacing = camera.width / (size * supersample)
        shape = rows * supersample, size * supersample
        return cls(shape, (spacing - 1) / 2, spacing, supersample).shifted(_SHIFTS[sampling])

    def shifted(self, pixels: float) -> "SampleGrid":
        """Returns the lattice shifted right and down."""
        return dataclasses.replace(self, first=self.first + pixels)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fragments:
    """What n x m samples see of a mesh."""

    triangle: jax.Array  # (..., n, m) int32, the number of the visible triangle; -1 where there is none
    # (..., n, m, 3) perspective-correct weights of its corners, which sum to 1; 0 where there is none. Those from this
    # module's `rasterize` carry no gradient; those from `mesh_rasterizer` are differentiable.
    barycentric: jax.Array
    depth: jax.Array  # (..., n, m) z of the surface in scene units, differentiable; camera.far where there is none
    # (..., n, m, 3, 2) derivatives of `barycentric` along x and y of the picture, per pixel; if `rasterize` is to
    slopes: jax.Array | None = None
    samples: SampleGrid | None = dataclasses.field(default=None, metadata={"static": True})  # where the samples lie


@platforms.arrays
@platforms.per_shard(vertices=3, mask=2)
def rasterize(
    vertices: Float[Array, "*batch h w 3"],
    camera: camera_lib.Camera,
    *,
    samples: SampleGrid | None = None,
    mask: Bool[Array, "*#batch h w"] | None = None,
) -> Fragments:
    """Rasterises grid meshes (GAN2Shape, section 3.1, its depth renderer).

    Triangles have any size and orientation; those with a vertex at or before camera.near, or outside the mask, are not
    drawn. Samples are the pixels' centres if not given. `ArgumentError` if the camera is orthographic.
    """
    if camera.orthographic:
        raise ArgumentError("camera is orthographic: `mesh_rasterizer.rasterize` draws grids for such cameras")
    samples = samples or SampleGrid.over(camera)
    vertices = camera_lib.to_camera(vertices, camera)
    batch, grid = vertices.shape[:-3], vertices.shape[-3:-1]
    shape = (*batch, *samples.shape)
    if not math.prod(shape):
        return nothing_visible(shape, vertices.dtype, camera, samples)
    mask = None if mask is None else jnp.broadcast_to(mask, vertices.shape[:-1]).reshape(-1, *grid)
    warn_if_out_of_range(vertices[..., 2], camera)
    screen = _to_screen(vertices.reshape(-1, *grid, 3), camera, samples, mask)
    fixed = jax.lax.stop_gradient(screen)
    visible = functools.partial(visibility.visible_triangles, shape=samples.shape)
    depth, triangle = join_batch(lambda screen: in_chunks(visible, screen, size=math.prod(grid)))(fixed)
    near_enough = depth < camera.far
    depth, triangle = jnp.where(near_enough, depth, camera.far), jnp.where(near_enough, triangle, -1)
    depth = _following(screen, depth, triangle)
    barycentric = _barycentric(fixed, triangle)
    return Fragments(triangle.reshape(shape), barycentric.reshape(*shape, 3), depth.reshape(shape), samples=samples)


def warn_if_out_of_range(depth: Float[Array, "*batch"], camera: camera_lib.Camera) -> None:
    """Warns if vertices, of these depths, are in front of the camera but not one lies between `near` and `far`.

    Only where values are known, so not under `jax.jit`. What is behind a camera is not to be seen, as it should be; an
    orthographic one, whose place makes no other difference, rather stands in the wrong one.
    """
    if not depth.size or any(isinstance(value, jax.core.Tracer) for value in (depth, camera.near, camera.far)):
        return
    least, most = (float(of(jnp.where(jnp.isfinite(depth), depth, jnp.nan))) for of in (jnp.nanmin, jnp.nanmax))
    # Of all cameras, where there are several.
    near, far = 0.0 if camera.near is None else float(np.min(camera.near)), float(np.max(camera.far))
    if (most <= near and (most > 0 or camera.orthographic)) or least >= far:
        drawn = "before" if camera.near is None and most > 0 else f"between near = {near:g} and"
        warnings.warn(
            f"vertices have depths from {least:g} to {most:g}, but the camera draws what lies {drawn} far = {far:g}: "
            "nothing is drawn",
            stacklevel=4,
        )


def nothing_visible(
    shape: tuple[int, ...], dtype: DTypeLike, camera: camera_lib.Camera, samples: SampleGrid
) -> Fragments:
    """Returns what samples of this shape see of nothing."""
    far = jnp.full(shape, camera.far, dtype)
    return Fragments(jnp.full(shape, -1, jnp.int32), jnp.zeros((*shape, 3), dtype), far, samples=samples)


def _to_screen(
    vertices: Float[Array, "b h w 3"], camera: camera_lib.Camera, samples: SampleGrid, mask: Array | None
) -> visibility.Screen:
    """Returns x and y in units of samples, and 1 / z; all 0 where the vertex is not to be drawn."""
    near = camera_lib.near_plane(vertices[..., 2], camera)
    drawable = (vertices[..., 2] > near) & jnp.isfinite(vertices).all(-1)
    if mask is not None:
        drawable &= mask
    (scale_x, origin_x), (scale_y, origin_y) = to_lattice(camera, samples)

    def places(drawable: Array) -> tuple[Array, Array, Array]:
        x, y, z = (jnp.where(drawable, vertices[..., k], 1) for k in range(3))
        return x / z * scale_x + origin_x, y / z * scale_y + origin_y, z

    x, y, z = places(drawable)
    most = float(jnp.finfo(x.dtype).tiny) ** -0.25  # what is farther from the image has no finite derivatives
    drawable &= (jnp.abs(x) < most) & (jnp.abs(y) < most) & (z < most)
    # Once more, without those: 0 times their infinity would be the derivative in the camera's focal length.
    x, y, z = places(drawable)
    x, y, inverse = (jnp.where(drawable, value, 0) for value in (x, y, 1 / z))
    return x, y, inverse


def to_lattice(camera: camera_lib.Camera, samples: SampleGrid) -> list[tuple[Any, Any]]:
    """Returns, for x and y, the factor of x / z and the term to add that give units of samples."""
    fx, fy, cx, cy = camera.intrinsics
    return [(f / samples.spacing, (c - samples.first) / samples.spacing) for f, c in ((fx, cx), (fy, cy))]


@jax.custom_jvp
def _following(screen: visibility.Screen, depth: Array, triangle: Array) -> Array:
    """Returns the depth unchanged, with the derivative of the visible triangles' depth in their vertices."""
    return depth


@_following.defjvp
def _following_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    screen, _, triangle = primals
    depth = _following(*primals)
    # Recomputed in the backward pass: keeping what it needs for every sample would cost more than computing it.
    tangent = jax.checkpoint(_depth_tangent, prevent_cse=False)
    return depth, in_chunks(tangent, screen, depth, triangle, tangents[0], size=math.prod(screen[0].shape[1:]))


def _barycentric(screen: visibility.Screen, triangle: Array) -> Array:
    """Returns the perspective-correct weights (B, n, m, 3), 0 where there is no triangle."""
    (inverse,) = _corners_at_samples(screen[2:], triangle)
    parts = [weight * value for weight, value in zip(_screen_weights(screen, triangle), inverse, strict=True)]
    total = parts[0] + parts[1] + parts[2]
    drawn = (triangle >= 0) & (total > 0)
    scale = jnp.where(drawn, 1 / jnp.where(drawn, total, 1), 0)
    return jnp.stack([part * scale for part in parts], -1)


def _depth_tangent(
    screen: visibility.Screen,
    depth: Float[Array, "b n m"],
    triangle: Int[Array, "b n m"],
    change: visibility.Screen,
) -> Float[Array, "b n m"]:
    """Returns how visible depth changes with x, y and 1/z of the vertices on screen, with visible triangles held fixed.

    Linear in `change`: from it JAX derives forward mode, second derivatives and, as its transpose, the backward pass.

    With q = 1/z linear on screen, dq = sum of w_k (dq_k - slope_x dx_k - slope_y dy_k) over the
    corners. The bracket is computed per triangle, as arithmetic on the regular grid; each sample gathers
    three numbers. So the transpose, which is the backward pass, scatters three numbers per sample.
    """
    (x1, x2), (y1, y2), (q1, q2) = (
        (second - first, third - first) for first, second, third in map(_grid_corners, screen)
    )
    area = x1 * y2 - y1 * x2
    proper = jnp.abs(area) > jnp.finfo(area.dtype).tiny  # without area, both slopes are 0
    safe = jnp.where(proper, area, 1)
    slope_x, slope_y = (jnp.where(proper, part / safe, 0) for part in (q1 * y2 - y1 * q2, x1 * q2 - q1 * x2))
    changes = [dq - dx * slope_x - dy * slope_y for dx, dy, dq in zip(*map(_grid_corners, change))]
    total = jnp.zeros((), depth.dtype)
    for weight, along in zip(_screen_weights(screen, triangle), _triangles_at_samples(changes, triangle)):
        total = total + weight * along
    return jnp.where(triangle >= 0, -(total * depth * depth), 0)


def _screen_weights(screen: visibility.Screen, triangle: Int[Array, "b n m"]) -> list[Float[Array, "b n m"]]:
    """Returns the weights, linear on screen, of the corners of each sample's triangle, (B, n, m) each."""
    rows, columns = (jnp.arange(n, dtype=screen[0].dtype) for n in triangle.shape[-2:])
    x, y = _corners_at_samples(screen[:2], triangle)
    x, y = [corner - columns for corner in x], [corner - rows[:, None] for corner in y]
    parts = [x[a] * y[b] - y[a] * x[b] for a, b in ((1, 2), (2, 0), (0, 1))]
    area = parts[0] + parts[1] + parts[2]
    parts = [jnp.where(area < 0, -part, part) for part in parts]
    # Not `maximum`, whose derivative is one half on the edges themselves.
    parts = [jnp.where(part >= 0, part, 0) for part in parts]
    total = parts[0] + parts[1] + parts[2]
    return [part / jnp.where(total > 0, total, 1) for part in parts]


def _triangles_at_samples(
    planes: Sequence[Float[Array, "b 2 r c"]], triangle: Int[Array, "b n m"]
) -> list[Float[Array, "b n m"]]:
    """Returns values of each sample's triangle, 0 where there is none; `planes` by kind, row and column of the cell."""
    batch, _, rows, columns = planes[0].shape
    start = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * (2 * rows * columns)
    source = jnp.where(triangle >= 0, start + triangle, jnp.iinfo(jnp.int32).max)
    return [plane.reshape(-1).at[source].get(mode="fill", fill_value=0) for plane in planes]


def _corners_at_samples(
    planes: Sequence[Float[Array, "b h w"]], triangle: Int[Array, "b n m"]
) -> list[list[Float[Array, "b n m"]]]:
    """Returns each plane's values at the three corners of each sample's triangle; arbitrary where there is none."""
    image = jnp.arange(triangle.shape[0], dtype=jnp.int32)[:, None, None]
    indices = visibility.corner_indices(jnp.maximum(triangle, 0), image, planes[0].shape[1:])
    return [[plane.reshape(-1).at[index].get(mode="promise_in_bounds") for index in indices] for plane in planes]


def _grid_corners(grid: Float[Array, "b h w"]) -> Sequence[Float[Array, "b 2 r c"]]:
    """Returns the values of a grid at the corners of its triangles, by kind, row and column of the cell.

    The transpose adds up at each vertex in the reverse of this order of slices and stacks: another order rounds
    differently.
    """
    lower_right, lower_left = grid[:, 1:, 1:], grid[:, 1:, :-1]
    upper_right, upper_left = grid[:, :-1, 1:], grid[:, :-1, :-1]
    third = jnp.stack([upper_right, lower_right], 1)
    second = jnp.stack([lower_left, lower_left], 1)
    return jnp.stack([upper_left, upper_right], 1), second, third
