"""Differentiable rasterising of grid meshes: what each sample sees, where in it, at what depth.

A mesh is a grid of vertices `(..., S, S, 3)` in the camera's frame (x right, y down, z away, scene
units), two triangles a cell, numbered as in `visibility`. SampleGrid are a square lattice in pixel
coordinates (`SampleGrid`); a record of what they see is `Fragments`. Depth is perspective-correct:
1 / z is linear on screen. Its gradient holds the visible triangle of each sample fixed and is then
exact in all three coordinates of all three vertices; none flows through visibility itself.
"""

import dataclasses
import functools
import math

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.map_in_chunks import map_in_chunks

__all__ = ["Fragments", "SampleGrid", "depth_gradient", "interpolate", "rasterize", "to_screen"]


@dataclasses.dataclass(frozen=True)
class SampleGrid:
    """A lattice of count x count samples: sample k lies at pixel coordinate first + k spacing."""

    count: int
    first: float
    spacing: float

    @classmethod
    def over(cls, camera: camera_lib.Camera, *, supersample: int = 1, size: int | None = None):
        """Returns samples that divide the image, from -1/2 to S-1/2, into size x supersample equal parts."""
        count = (size or camera.image_size) * supersample
        spacing = camera.image_size / count
        return cls(count, (spacing - 1) / 2, spacing)

    def shifted(self, pixels: float) -> "SampleGrid":
        """Returns the same lattice moved right and down."""
        return dataclasses.replace(self, first=self.first + pixels)


@flax.struct.dataclass
class Fragments:
    """What n x n samples see of a mesh.

    Attributes:
      triangle: `(..., n, n)` int32, the number of the visible triangle; -1 where there is none.
      barycentric: `(..., n, n, 3)` perspective-correct weights of its corners, which sum to 1; 0
        where there is none. They carry no gradient.
      depth: `(..., n, n)` z of the surface in scene units, differentiable; camera.far where there
        is none.
    """

    triangle: jax.Array
    barycentric: jax.Array
    depth: jax.Array


def rasterize(
    vertices: Float[Array, "*batch s s 3"],
    camera: camera_lib.Camera,
    *,
    samples: SampleGrid | None = None,
    mask: Bool[Array, "*batch s s"] | None = None,
) -> Fragments:
    """Rasterises grid meshes, whatever the size and orientation of their triangles.

    Args:
      vertices: in the camera's frame. Triangles with a vertex at or before camera.near are not
        drawn.
      camera: the camera.
      samples: where to sample; the pixel centres if not given.
      mask: vertices to keep; triangles with any other vertex are not drawn.

    Returns:
      The fragments, differentiable in their depth. GAN2Shape, section 3.1 (its depth renderer).
    """
    samples = samples or SampleGrid.over(camera)
    batch = vertices.shape[:-3]
    grid = vertices.shape[-3:-1]
    mask = None if mask is None else jnp.broadcast_to(mask, vertices.shape[:-1]).reshape(-1, *grid)
    screen = to_screen(vertices.reshape(-1, *grid, 3), camera, samples, mask)
    depth, triangle = _visible_depth(screen, samples.count, camera.far)
    barycentric = _barycentric(jax.lax.stop_gradient(screen), triangle)
    shape = (*batch, samples.count, samples.count)
    return Fragments(triangle.reshape(shape), barycentric.reshape(*shape, 3), depth.reshape(shape))


def interpolate(
    fragments: Fragments, attributes: Float[Array, "*batch s s c"], *, exchanged: bool = False
) -> Float[Array, "*batch n n c"]:
    """Interpolates values at vertices to samples, 0 where nothing is visible; differentiable in the values.

    `exchanged` swaps the values at the ends of every cell's diagonal, as the published code's mesh drawing does.
    """
    *batch, side, _, channels = attributes.shape
    count = fragments.triangle.shape[-1]
    triangle = fragments.triangle.reshape(-1, count, count)
    flat = jnp.asarray(attributes).reshape(-1, channels)
    weights = fragments.barycentric.reshape(*triangle.shape, 3)
    values = jnp.zeros((), attributes.dtype)
    corners = _corner_indices(triangle, side)
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


def depth_gradient(
    screen: visibility.Screen,
    depth: Float[Array, "b n n"],
    triangle: Int[Array, "b n n"],
    cotangent: Float[Array, "b n n"],
) -> visibility.Screen:
    """Pulls a cotangent of visible depth back to x, y and 1/z of the vertices on screen.

    With q = 1/z linear on screen, dq = sum of w_k (dq_k - slope_x dx_k - slope_y dy_k) over the
    corners. So all that a triangle needs of its samples is, for each corner, the sum of their
    cotangents times w: three numbers a sample are scattered to triangles, and the rest is
    arithmetic on the regular grid.
    """
    batch, side, _ = screen[0].shape
    seen = triangle >= 0
    cotangent = jnp.where(seen, -cotangent * depth * depth, 0)
    start = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * (2 * (side - 1) ** 2)
    target = jnp.where(seen, start + triangle, jnp.iinfo(jnp.int32).max)
    shape = batch, 2, side - 1, side - 1
    zero = jnp.zeros((math.prod(shape),), depth.dtype)
    sums = [
        zero.at[target].add(weight * cotangent, mode="drop").reshape(shape) for weight in _weights(screen, triangle)
    ]
    slope_x, slope_y = _slopes(screen)
    return (
        _add_corners([-s * slope_x for s in sums]),
        _add_corners([-s * slope_y for s in sums]),
        _add_corners(sums),
    )


@functools.cache
def _resolver(count, far):
    """Returns the visibility test; under vmap the mapped axis joins the batch, for one flat scatter."""

    @jax.custom_batching.custom_vmap
    def resolve(screen):
        def visible(chunk):
            return visibility.visible_triangles(chunk, count=count, far=far)

        return map_in_chunks(visible, screen, size=screen[0].shape[-1] ** 2)

    @resolve.def_vmap
    def _(axis_size, in_batched, screen):
        merged = []
        for plane, batched in zip(screen, in_batched[0], strict=True):
            plane = plane if batched else jnp.broadcast_to(plane, (axis_size, *plane.shape))
            merged.append(plane.reshape(-1, *plane.shape[2:]))
        depth, triangle = resolve(tuple(merged))
        split = (axis_size, -1, count, count)
        return (depth.reshape(split), triangle.reshape(split)), (True, True)

    return resolve


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _visible_depth(screen, count, far):
    return _resolver(count, far)(screen)


def _visible_depth_forward(screen, count, far):
    depth, triangle = _resolver(count, far)(screen)
    return (depth, triangle), (screen, depth, triangle)


def _visible_depth_backward(count, far, residuals, cotangents):
    del count, far
    screen, depth, triangle = residuals
    arguments = screen, depth, triangle, cotangents[0]
    return (map_in_chunks(lambda chunk: depth_gradient(*chunk), arguments, size=screen[0].shape[-1] ** 2),)


_visible_depth.defvjp(_visible_depth_forward, _visible_depth_backward)


def _corners(grid):
    """Returns the corners of the triangles of a grid (B, S, S), each (B, 2, S-1, S-1)."""
    upper_left, upper_right = grid[:, :-1, :-1], grid[:, :-1, 1:]
    lower_left, lower_right = grid[:, 1:, :-1], grid[:, 1:, 1:]
    return (
        jnp.stack([upper_left, upper_right], 1),
        jnp.stack([lower_left, lower_left], 1),
        jnp.stack([upper_right, lower_right], 1),
    )


def _add_corners(parts):
    """Adds what belongs to triangles' corners up at the vertices; the transpose of `_corners`."""
    first, second, third = ([part[:, k] for k in range(2)] for part in parts)

    def pad(part, top, left):
        return jnp.pad(part, ((0, 0), (top, 1 - top), (left, 1 - left)))

    return pad(first[0], 0, 0) + pad(first[1] + third[0], 0, 1) + pad(second[0] + second[1], 1, 0) + pad(third[1], 1, 1)


def _slopes(screen):
    """Returns the derivatives of 1/z along x and y in each triangle; 0 where it has no area."""
    (x1, x2), (y1, y2), (q1, q2) = ((second - first, third - first) for first, second, third in map(_corners, screen))
    area = x1 * y2 - y1 * x2
    proper = jnp.abs(area) > jnp.finfo(area.dtype).tiny
    safe = jnp.where(proper, area, 1)
    return (
        jnp.where(proper, (q1 * y2 - y1 * q2) / safe, 0),
        jnp.where(proper, (x1 * q2 - q1 * x2) / safe, 0),
    )


def _corner_indices(triangle, side):
    image = jnp.arange(triangle.shape[0], dtype=jnp.int32)[:, None, None]
    return visibility.corner_indices(jnp.maximum(triangle, 0), image, side)


def _exchange_diagonal(corners, triangle, side):
    """Returns the corners with (i, j+1) and (i+1, j) of each cell in each other's place."""
    first, lower_left, third = corners
    second_kind = triangle >= (side - 1) ** 2
    upper_right = jnp.where(second_kind, first, third)
    return jnp.where(second_kind, lower_left, first), upper_right, jnp.where(second_kind, third, lower_left)


def _weights(screen, triangle):
    """Returns the weights, linear on screen, of the corners of each sample's triangle, (B, n, n) each."""
    side, count = screen[0].shape[-1], triangle.shape[-1]
    planes = [plane.reshape(-1) for plane in screen[:2]]
    lattice = jnp.arange(count, dtype=screen[0].dtype)
    x, y = [], []
    for index in _corner_indices(triangle, side):
        x.append(planes[0].at[index].get(mode="promise_in_bounds") - lattice)
        y.append(planes[1].at[index].get(mode="promise_in_bounds") - lattice[:, None])
    parts = [x[a] * y[b] - y[a] * x[b] for a, b in ((1, 2), (2, 0), (0, 1))]
    area = parts[0] + parts[1] + parts[2]
    parts = [jnp.maximum(jnp.where(area < 0, -part, part), 0) for part in parts]
    total = parts[0] + parts[1] + parts[2]
    return [part / jnp.where(total > 0, total, 1) for part in parts]


def _barycentric(screen, triangle):
    """Returns the perspective-correct weights (B, n, n, 3), 0 where there is no triangle."""
    inverse = screen[2].reshape(-1)
    parts = [
        weight * inverse.at[index].get(mode="promise_in_bounds")
        for weight, index in zip(
            _weights(screen, triangle), _corner_indices(triangle, screen[0].shape[-1]), strict=True
        )
    ]
    total = parts[0] + parts[1] + parts[2]
    drawn = (triangle >= 0) & (total > 0)
    scale = jnp.where(drawn, 1 / jnp.where(drawn, total, 1), 0)
    return jnp.stack([part * scale for part in parts], -1)
