"""Differentiable rasterisation of grid meshes: which triangle each sample sees, where in it, and at what depth.

A mesh is a grid of vertices `(..., S, S, 3)` in the camera's frame (x right, y down, z away, scene
units) with two triangles per cell, numbered as in `visibility`. Samples are a square lattice in pixel
coordinates (`SampleGrid`); `Fragments` records what they see. Depth is perspective-correct:
1 / z is linear on screen. Its gradient holds the visible triangle of each sample fixed and is then
exact in all three coordinates of all three vertices; none flows through visibility itself.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.depth_tangent import depth_tangent, screen_weights
from gan2shape_jax.geometry.join_batch import join_batch
from gan2shape_jax.geometry.map_in_chunks import map_in_chunks
from gan2shape_jax.geometry.seen_values import corner_indices
from gan2shape_jax.geometry.shapes import checked
from gan2shape_jax.geometry.tpu import operations
from gan2shape_jax.platforms import by_platform

__all__ = ["Fragments", "SampleGrid", "interpolate", "rasterize", "to_screen"]

# Offset of each sampling from the centred one, in pixels.
_SHIFTS = {"centred": 0.0, "half": 0.5}


@dataclasses.dataclass(frozen=True)
class SampleGrid:
    """A lattice of count x count samples: sample k lies at pixel coordinate first + k spacing."""

    count: int
    first: float
    spacing: float

    @classmethod
    def over(
        cls, camera: camera_lib.Camera, *, supersample: int = 1, size: int | None = None, sampling: str = "centred"
    ) -> "SampleGrid":
        """Returns samples that divide the image, from -1/2 to S-1/2, into size x supersample equal parts.

        Args:
          camera: the camera.
          supersample: samples along each side of a pixel.
          size: pixels along each side; camera.image_size if not given.
          sampling: "centred", as above; "half" shifts them half a pixel to the right and down, as the published
            implementation does.

        Raises:
          ValueError: the size or number of samples is below 1, or the sampling is unknown.
        """
        if sampling not in _SHIFTS:
            raise ValueError(f"sampling is {sampling!r}; it must be one of {', '.join(_SHIFTS)}")
        size = camera.image_size if size is None else size
        for name, value in (("supersample", supersample), ("size", size)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        spacing = camera.image_size / (size * supersample)
        return cls(size * supersample, (spacing - 1) / 2, spacing).shifted(_SHIFTS[sampling])

    def shifted(self, pixels: float) -> "SampleGrid":
        """Returns the lattice shifted right and down."""
        return dataclasses.replace(self, first=self.first + pixels)


@flax.struct.dataclass
class Fragments:
    """What n x n samples see of a mesh.

    Attributes:
      triangle: `(..., n, n)` int32, the number of the visible triangle; -1 where there is none.
      barycentric: `(..., n, n, 3)` perspective-correct weights of its corners, which sum to 1; 0
        where there is none. Those from this module's `rasterize` carry no gradient; those from
        `mesh_rasterizer` are differentiable.
      depth: `(..., n, n)` z of the surface in scene units, differentiable; camera.far where there
        is none.
    """

    triangle: jax.Array
    barycentric: jax.Array
    depth: jax.Array


@checked
def rasterize(
    vertices: Float[Array, "*batch s s 3"],
    camera: camera_lib.Camera,
    *,
    samples: SampleGrid | None = None,
    mask: Bool[Array, "*batch s s"] | None = None,
) -> Fragments:
    """Rasterises grid meshes, whatever the size and orientation of their triangles.

    Args:
      vertices: in the camera's frame; triangles with a vertex at or before camera.near are not
        drawn.
      camera: the camera.
      samples: where to sample; the pixel centres if not given.
      mask: vertices to keep; triangles with any other vertex are not drawn.

    Returns:
      The fragments; their depth is differentiable. GAN2Shape, section 3.1 (its depth renderer).
    """
    samples = samples or SampleGrid.over(camera)
    batch = vertices.shape[:-3]
    grid = vertices.shape[-3:-1]
    mask = None if mask is None else jnp.broadcast_to(mask, vertices.shape[:-1]).reshape(-1, *grid)
    screen = to_screen(vertices.reshape(-1, *grid, 3), camera, samples, mask)
    fixed = jax.lax.stop_gradient(screen)
    depth, triangle = _resolver(samples.count, camera.far)(*fixed)
    depth = _following(screen, depth, triangle)
    barycentric = _barycentric(fixed, triangle)
    shape = (*batch, samples.count, samples.count)
    return Fragments(triangle.reshape(shape), barycentric.reshape(*shape, 3), depth.reshape(shape))


@checked
def interpolate(
    fragments: Fragments, attributes: Float[Array, "*batch s s c"], *, exchanged: bool = False
) -> Float[Array, "*batch n n c"]:
    """Interpolates values at vertices to samples, 0 where nothing is visible; differentiable in the values.

    `exchanged` swaps the values at the ends of every cell's diagonal, as the published code's mesh renderer does.
    """
    *batch, side, _, channels = attributes.shape
    count = fragments.triangle.shape[-1]
    triangle = fragments.triangle.reshape(-1, count, count)
    flat = jnp.asarray(attributes).reshape(-1, channels)
    weights = fragments.barycentric.reshape(*triangle.shape, 3)
    values = jnp.zeros((), attributes.dtype)
    corners = corner_indices(triangle, side)
    if exchanged:
        corners = _exchange_diagonal(corners, triangle, side)
    for k, index in enumerate(corners):
        values = values + weights[..., k, None] * flat.at[index].get(mode="promise_in_bounds")
    return values.reshape(*batch, count, count, channels)


def to_screen(
    vertices: Float[Array, "b s s 3"],
    camera: camera_lib.Camera,
    samples: SampleGrid,
    mask: Bool[Array, "b s s"] | None = None,
) -> visibility.Screen:
    """Returns x and y in units of samples, and 1 / z; all 0 where the vertex is not to be drawn."""
    drawable = vertices[..., 2] > camera.near
    if mask is not None:
        drawable &= mask
    x, y, z = (jnp.where(drawable, vertices[..., k], 1) for k in range(3))
    scale = camera.focal_length / samples.spacing
    origin = (camera.center - samples.first) / samples.spacing
    x, y, inverse = (jnp.where(drawable, value, 0) for value in (x / z * scale + origin, y / z * scale + origin, 1 / z))
    return x, y, inverse


@functools.cache
def _resolver(count: int, far: float) -> Callable[..., tuple[Array, ...]]:
    """Returns a function that resolves visibility for a batch of meshes, a few at a time on a CPU."""

    def scattered(*screen: Array) -> tuple[Array, ...]:
        def visible(chunk: visibility.Screen) -> tuple[Array, Array]:
            depth, triangle = visibility.visible_triangles(chunk, count=count, far=far)
            return depth, triangle

        depth_and_triangle: tuple[Array, ...] = map_in_chunks(visible, screen, size=screen[0].shape[-1] ** 2)
        return depth_and_triangle

    def drawn(x: Array, y: Array, inverse: Array) -> tuple[Array, ...]:
        return operations.visible_triangles((x, y, inverse), count=count, far=far)

    def resolve(*screen: Array) -> tuple[Array, ...]:
        return by_platform(*screen, cpu=scattered, other=scattered, tpu=drawn)

    return join_batch(resolve)


@jax.custom_jvp
def _following(screen: visibility.Screen, depth: Array, triangle: Array) -> Array:
    """Returns the depth unchanged, with the derivative of the visible triangles' depth in their vertices."""
    del screen, triangle
    return depth


@_following.defjvp
def _following_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    screen, _, triangle = primals
    depth = _following(*primals)
    # Recomputed in the backward pass: keeping what it needs for every sample would cost more than computing it.
    tangent = jax.checkpoint(depth_tangent, prevent_cse=False)
    arguments = screen, depth, triangle, tangents[0]
    return depth, map_in_chunks(lambda chunk: tangent(*chunk), arguments, size=screen[0].shape[-1] ** 2)


def _exchange_diagonal(corners: tuple[Array, Array, Array], triangle: Array, side: int) -> tuple[Array, Array, Array]:
    """Returns the corners with (i, j+1) and (i+1, j) of each cell swapped."""
    first, lower_left, third = corners
    second_kind = triangle >= (side - 1) ** 2
    upper_right = jnp.where(second_kind, first, third)
    return jnp.where(second_kind, lower_left, first), upper_right, jnp.where(second_kind, third, lower_left)


def _barycentric(screen: visibility.Screen, triangle: Array) -> Array:
    """Returns the perspective-correct weights (B, n, n, 3), 0 where there is no triangle."""
    inverse = screen[2].reshape(-1)
    parts = [
        weight * inverse.at[index].get(mode="promise_in_bounds")
        for weight, index in zip(
            screen_weights(screen, triangle), corner_indices(triangle, screen[0].shape[-1]), strict=True
        )
    ]
    total = parts[0] + parts[1] + parts[2]
    drawn = (triangle >= 0) & (total > 0)
    scale = jnp.where(drawn, 1 / jnp.where(drawn, total, 1), 0)
    return jnp.stack([part * scale for part in parts], -1)
