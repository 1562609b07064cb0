"""Differentiable rasterising of grid meshes: which triangle each sample sees, where in it, at what depth.

A mesh is a grid of vertices `(..., S, S, 3)` in the camera's frame (x right, y down, z away, scene units), two
triangles a cell, numbered as in `visibility`. Samples are a square lattice in pixel coordinates
(`Samples`); a record of what they see is `Fragments`. Depth is perspective-correct: 1 / z is linear on
screen. Its gradient holds the visible triangle of each sample fixed and is then exact in all three coordinates of all
three vertices; none flows through visibility itself.
"""

import dataclasses
import functools
import math

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gan2shape_jax import camera as camera_lib
from gan2shape_jax import visibility

__all__ = ["Fragments", "Samples", "interpolate", "rasterize"]


@dataclasses.dataclass(frozen=True)
class Samples:
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

    def shifted(self, pixels: float) -> "Samples":
        """Returns the same lattice moved right and down."""
        return dataclasses.replace(self, first=self.first + pixels)


@flax.struct.dataclass
class Fragments:
    """What n x n samples see of a mesh.

    Attributes:
      triangle: `(..., n, n)` int32, the number of the visible triangle; -1 where there is none.
      barycentric: `(..., n, n, 3)` perspective-correct weights of its corners, which sum to 1; 0 where there is
        none. They carry no gradient.
      depth: `(..., n, n)` z of the surface in scene units, differentiable; camera.far where there is none.
    """

    triangle: jax.Array
    barycentric: jax.Array
    depth: jax.Array


def rasterize(
    vertices: Float[Array, "*batch s s 3"],
    camera: camera_lib.Camera,
    *,
    samples: Samples | None = None,
    mask: Bool[Array, "*batch s s"] | None = None,
) -> Fragments:
    """Rasterises grid meshes, whatever the size and orientation of their triangles.

    Args:
      vertices: in the camera's frame. Triangles with a vertex at or before camera.near are not drawn.
      camera: the camera.
      samples: where to sample; the pixel centres if not given.
      mask: vertices to keep; triangles with any other vertex are not drawn.

    Returns:
      The fragments, differentiable in their depth. GAN2Shape, section 3.1 (its depth renderer).
    """
    samples = samples or Samples.over(camera)
    batch = vertices.shape[:-3]
    drawable = vertices[..., 2] > camera.near
    if mask is not None:
        drawable &= mask
    screen = _to_screen(vertices, drawable, camera, samples)
    screen = screen.reshape(math.prod(batch), *vertices.shape[-3:])
    depth, triangle = _visible_depth(screen, samples.count, camera.far)
    weights = _weights(jax.lax.stop_gradient(screen), triangle)
    inverse = _per_sample(jax.lax.stop_gradient(screen[..., 2]), triangle)
    barycentric = weights * inverse / jnp.sum(weights * inverse, -1, keepdims=True)
    barycentric = jnp.where(triangle[..., None] < 0, 0, barycentric)
    shape = (*batch, samples.count, samples.count)
    return Fragments(
        triangle.reshape(shape), barycentric.reshape(*shape, 3), depth.reshape(shape))


def interpolate(
    fragments: Fragments, attributes: Float[Array, "*batch s s c"]
) -> Float[Array, "*batch n n c"]:
    """Interpolates values at vertices to samples, 0 where nothing is visible; differentiable in the values."""
    *batch, side, _, channels = attributes.shape
    count = fragments.triangle.shape[-1]
    triangle = fragments.triangle.reshape(-1, count, count)
    flat = attributes.reshape(-1, channels)
    index = _corner_index(triangle, side)
    weights = fragments.barycentric.reshape(*triangle.shape, 3)
    parts = [weights[..., k, None] * flat[index[k]] for k in range(3)]
    return (parts[0] + parts[1] + parts[2]).reshape(*batch, count, count, channels)


def _to_screen(vertices, drawable, camera, samples):
    """Returns x and y in units of samples, and 1 / z; all 0 where the vertex is not to be drawn."""
    safe = jnp.where(drawable[..., None], vertices, jnp.ones((), vertices.dtype))
    inverse = 1 / safe[..., 2:]
    xy = safe[..., :2] * inverse * (camera.focal_length / samples.spacing)
    xy = xy + (camera.center - samples.first) / samples.spacing
    return jnp.where(drawable[..., None], jnp.concatenate([xy, inverse], -1), 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _visible_depth(screen, count, far):
    return _resolve(count, far)(screen)


@functools.cache
def _resolve(count, far):
    """Returns the visibility test; under vmap the mapped axis joins the batch, for one flat scatter."""

    @jax.custom_batching.custom_vmap
    def resolve(screen):
        return visibility.visible_triangles(screen, count=count, far=far)

    @resolve.def_vmap
    def _(axis_size, in_batched, screen):
        del in_batched
        merged = screen.reshape(-1, *screen.shape[2:])
        split = lambda x: x.reshape(axis_size, -1, *x.shape[1:])
        return jax.tree.map(split, resolve(merged)), (True, True)

    return resolve


def _visible_depth_forward(screen, count, far):
    depth, triangle = _resolve(count, far)(screen)
    return (depth, triangle), (screen, depth, triangle)


def _visible_depth_backward(count, far, residuals, cotangents):
    """With q = 1/z linear on screen, dq = sum of w_k (dq_k - slope_x dx_k - slope_y dy_k) over the corners.

    So all that a triangle needs of its samples is the sum of their cotangents times w, for each corner: three
    numbers a sample are scattered to triangles, and the rest is arithmetic on the regular grid.
    """
    del count, far
    screen, depth, triangle = residuals
    seen = triangle >= 0
    cotangent = jnp.where(seen, -cotangents[0] * depth**2, 0)
    weights = _weights(screen, triangle) * cotangent[..., None]
    batch, side = screen.shape[:2]
    cells = 2 * (side - 1) ** 2
    start = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * cells
    target = jnp.where(seen, start + triangle, batch * cells)
    sums = jnp.zeros((batch * cells, 3), screen.dtype)
    sums = sums.at[target].add(weights, mode="drop").reshape(batch, 2, side - 1, side - 1, 3)
    slopes = _slopes(visibility.corners(screen))
    factors = jnp.concatenate([-slopes, jnp.ones_like(slopes[..., :1])], -1)
    _, spread = jax.vjp(visibility.corners, screen)
    return spread(tuple(sums[..., k, None] * factors for k in range(3)))


_visible_depth.defvjp(_visible_depth_forward, _visible_depth_backward)


def _slopes(triangles):
    """Returns the derivatives of 1/z along x and y in each triangle; 0 where it has no area."""
    d1, d2 = triangles[1] - triangles[0], triangles[2] - triangles[0]
    area = d1[..., 0] * d2[..., 1] - d1[..., 1] * d2[..., 0]
    along_x = d1[..., 2] * d2[..., 1] - d1[..., 1] * d2[..., 2]
    along_y = d1[..., 0] * d2[..., 2] - d1[..., 2] * d2[..., 0]
    proper = jnp.abs(area) > jnp.finfo(area.dtype).tiny
    slopes = jnp.stack([along_x, along_y], -1) / jnp.where(proper, area, 1)[..., None]
    return jnp.where(proper[..., None], slopes, 0)


def _weights(screen, triangle):
    """Returns the weights, linear on screen, of the corners of each sample's triangle, (B, n, n, 3)."""
    count = triangle.shape[-1]
    points = _per_sample(screen[..., :2], triangle)
    lattice = jnp.arange(count, dtype=screen.dtype)
    x = points[..., 0] - lattice[:, None]
    y = points[..., 1] - lattice[:, None, None]
    parts = jnp.roll(x, -1, -1) * jnp.roll(y, -2, -1) - jnp.roll(y, -1, -1) * jnp.roll(x, -2, -1)
    area = jnp.sum(parts, -1, keepdims=True)
    parts = jnp.maximum(jnp.where(area < 0, -parts, parts), 0)
    total = jnp.sum(parts, -1, keepdims=True)
    return parts / jnp.where(total > 0, total, 1)


def _per_sample(grid, triangle):
    """Gathers values at vertices (B, S, S, ...) to the corners of each sample's triangle, (B, n, n, 3, ...)."""
    flat = grid.reshape(-1, *grid.shape[3:])
    index = jnp.stack(_corner_index(triangle, grid.shape[1]), -1)
    return flat.at[index].get(mode="promise_in_bounds")


def _corner_index(triangle, side):
    """Returns the flat indices, over the batch, of the three vertices of triangles (B, n, n)."""
    kind, cell = jnp.divmod(jnp.maximum(triangle, 0), (side - 1) ** 2)
    row, column = jnp.divmod(cell, side - 1)
    start = jnp.arange(triangle.shape[0], dtype=jnp.int32)[:, None, None] * (side * side)
    upper_left = start + row * side + column
    return (upper_left + kind, upper_left + side, upper_left + 1 + kind * side)
