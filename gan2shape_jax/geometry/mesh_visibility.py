"""Which triangle of a triangle mesh each sample sees: tiles of triangles, scattered into a z-buffer.

Triangles are given by their three corners (x, y, z), each `(B, F)`, in homogeneous units of samples: x / z and y / z
are the corner's position on the lattice of samples, z is its depth. So a triangle that reaches behind the camera needs
no clipping: its parts in front of the near plane are drawn (J. Olano and T. Greer, Triangle Scan Conversion using 2D
Homogeneous Coordinates, 1997). Both sides are drawn. The number of a triangle is its index among the F.

Every triangle has as many tiles of 4 x 4 samples as its box on screen takes (`visibility.draw_tiles`): most have one to
four, one that covers the screen has all; so work grows with the area covered, and triangles of any size stay exact.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry.visibility import NONE, draw_tiles, empty_buffers

__all__ = ["Corner", "visible_triangles"]

Corner = tuple[Float[Array, "b f"], Float[Array, "b f"], Float[Array, "b f"]]

_LEAST_CHUNK = 1024


@functools.partial(jax.jit, static_argnames=("count", "near", "far"))
def visible_triangles(
    first: Corner, second: Corner, third: Corner, *, count: int, near: float, far: float
) -> tuple[Float[Array, "b n n"], Int[Array, "b n n"]]:
    """Resolves visibility on a square of count x count samples. Not differentiable.

    Args:
      first: first corner of every triangle; a triangle with a corner that is not finite is not drawn.
      second: second corner.
      third: third corner.
      count: samples along a side.
      near: surfaces at or before this depth are not drawn.
      far: nor are surfaces at or beyond this one.

    Returns:
      depth (far where there is nothing) and the triangle's number (-1 where there is nothing).
    """
    triangles = first, second, third
    batch = first[0].shape[0]
    faces = first[0].shape[1]
    planes = [[value.reshape(-1) for value in corner] for corner in triangles]
    low, high = ([axis.reshape(-1) for axis in ends] for ends in _boxes(triangles, count, near))

    def triangles_of(index: Array) -> tuple[list[list[Array]], Array, Array]:
        return [[plane[index] for plane in corner] for corner in planes], *jnp.divmod(index, faces)

    depth, number = draw_tiles(
        empty_buffers(first[0], batch * count * count, far),
        low,
        high,
        triangles_of,
        functools.partial(_depths, near=near, far=far),
        count=count,
        far=far,
        least_chunk=_LEAST_CHUNK,
    )
    shape = batch, count, count
    return depth.reshape(shape), jnp.where(number == NONE, -1, number).reshape(shape)


def _boxes(triangles: Sequence[Corner], count: int, near: float) -> tuple[list[Array], list[Array]]:
    """Returns the first and the last sample (x, y) of each triangle's box in front of the near plane.

    A box encloses the corners in front of the plane and the points where edges cross it; a box that is not to be drawn,
    or lies outside the image, ends before it begins.
    """
    finite = functools.reduce(jnp.logical_and, [jnp.isfinite(value) for corner in triangles for value in corner])
    low = [jnp.full(finite.shape, jnp.inf, triangles[0][0].dtype)] * 2
    high = [-low[0]] * 2
    for a, b in ((0, 1), (1, 2), (2, 0)):
        start, end = triangles[a], triangles[b]
        in_front = start[2] > near
        crosses = in_front != (end[2] > near)
        share = (near - start[2]) / jnp.where(crosses, end[2] - start[2], 1)
        for axis in range(2):
            at_corner = start[axis] / jnp.where(in_front, start[2], 1)
            at_plane = (start[axis] + share * (end[axis] - start[axis])) / near
            for drawn, value in ((in_front, at_corner), (crosses, at_plane)):
                low[axis] = jnp.minimum(low[axis], jnp.where(drawn, value, jnp.inf))
                high[axis] = jnp.maximum(high[axis], jnp.where(drawn, value, -jnp.inf))
    # A sample exactly at a corner must not be lost to rounding.
    slack = 8 * float(jnp.finfo(low[0].dtype).eps)
    low = [jnp.ceil(value - slack * (jnp.abs(value) + 1)) for value in low]
    high = [jnp.floor(value + slack * (jnp.abs(value) + 1)) for value in high]
    # Infinite where nothing is in front; NaN where numbers overflow, which draws nothing either.
    low = [jnp.where(finite & (value < count), jnp.maximum(value, 0), count).astype(jnp.int32) for value in low]
    high = [jnp.where(finite & (value >= 0), jnp.minimum(value, count - 1), -1).astype(jnp.int32) for value in high]
    return low, high


def _depths(
    triangles: Sequence[Sequence[Array]], at: Sequence[Array], last: Sequence[Array], *, near: float, far: float
) -> Array:
    """Returns the depth of triangles at samples `at` = (x, y), infinite where they do not cover them.

    Seen from a sample, the cross product of two corners is the third one's unnormalised perspective-correct weight. An
    edge has the same product, up to sign and rounding, in the two triangles that share it; the tolerance exceeds that
    rounding, so no sample falls between the two.
    """
    dtype = triangles[0][0].dtype
    slack = 2 * float(jnp.finfo(dtype).eps)
    x = [corner[0] - at[0].astype(dtype) * corner[2] for corner in triangles]
    y = [corner[1] - at[1].astype(dtype) * corner[2] for corner in triangles]
    parts, tolerances = [], []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        one, other = x[a] * y[b], y[a] * x[b]
        parts.append(one - other)
        tolerances.append(slack * (jnp.abs(one) + jnp.abs(other)))
    total = parts[0] + parts[1] + parts[2]
    # A triangle seen exactly edge-on covers nothing.
    covered = jnp.abs(total) > tolerances[0] + tolerances[1] + tolerances[2]
    covered &= (at[0] <= last[0]) & (at[1] <= last[1])
    weights = []
    for part, tolerance in zip(parts, tolerances, strict=True):
        part = jnp.where(total < 0, -part, part)
        covered &= part >= -tolerance
        weights.append(jnp.maximum(part, 0))
    moment = weights[0] * triangles[0][2] + weights[1] * triangles[1][2] + weights[2] * triangles[2][2]
    depth = moment / jnp.where(covered, weights[0] + weights[1] + weights[2], 1)
    return jnp.where(covered & (depth > near) & (depth < far), depth, jnp.inf)
