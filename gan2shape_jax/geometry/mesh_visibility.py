"""Which triangle of a triangle mesh each sample sees: tiles of triangles, scattered into a z-buffer.

Triangles are given by their three corners (x, y, z), each `(B, F)`, in homogeneous units of samples: x / z and y / z
are the corner's position on the lattice of samples, z is its depth. So a triangle that reaches behind the camera needs
no clipping: its parts in front of the near plane are drawn (J. Olano and T. Greer, Triangle Scan Conversion using 2D
Homogeneous Coordinates, 1997). Both sides are drawn. The number of a triangle is its index among the F.

Every triangle has as many tiles of 4 x 4 samples as its box on screen takes: most have one to four, one that covers the
screen has all. A loop over chunks of tiles tests their samples and scatters the minimum depth, then the lowest number
that reaches it; so work grows with the area covered, triangles of any size stay exact, and shapes are static.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry.visibility import NONE, Buffers, empty_buffers, merge

__all__ = ["Corner", "visible_triangles"]

Corner = tuple[Float[Array, "b f"], Float[Array, "b f"], Float[Array, "b f"]]

_TILE_BITS = 2
_TILE = 1 << _TILE_BITS
_LEAST_CHUNK = 1024
# How many tiles of a chunk lie along the last axis, for the vector units.
_LANES = 64
_MOST_TILES = np.iinfo(np.int32).max


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
    buffers = empty_buffers(first[0], batch * count * count, far)
    depth, number = _draw(buffers, triangles, _boxes(triangles, count, near), count, near, far)
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


def _draw(
    buffers: Buffers,
    triangles: Sequence[Corner],
    boxes: tuple[list[Array], list[Array]],
    count: int,
    near: float,
    far: float,
) -> Buffers:
    """Draws all triangles, tile by tile."""
    batch, faces = triangles[0][0].shape
    low, high = ([axis.reshape(-1) for axis in corner] for corner in boxes)
    across, down = (jnp.maximum(b - a + _TILE, 0) >> _TILE_BITS for a, b in zip(low, high, strict=True))
    planes = [[value.reshape(-1) for value in corner] for corner in triangles]
    # Every chunk passes over the whole buffer once: larger batches take larger chunks.
    chunk = max(_LEAST_CHUNK, buffers[0].size // _TILE**2 // _LANES * _LANES)
    total = batch * faces
    # As many triangles at a time as could all cover the screen without needing more tiles than an int32 can count.
    block = min(total, max(1, (_MOST_TILES - chunk) // max(1, (-(-count // _TILE)) ** 2)))

    def draw_block(step: Array, buffers: Buffers) -> Buffers:
        begin = step * block
        # The last block is shifted back to fit; triangles that were drawn already have no tiles in it.
        start = jnp.minimum(begin, total - block)
        tiles = jax.lax.dynamic_slice(across * down, (start,), (block,))
        ends = jnp.cumsum(jnp.where(start + jnp.arange(block, dtype=jnp.int32) < begin, 0, tiles))

        def draw_chunk(state: tuple[Array, Buffers]) -> tuple[Array, Buffers]:
            first, buffers = state
            item = first + jnp.arange(chunk, dtype=jnp.int32)
            place = jnp.minimum(jnp.searchsorted(ends, item, side="right").astype(jnp.int32), block - 1)
            index = start + place
            tile = item - (ends[place] - tiles[place])
            columns = jnp.maximum(across[index], 1)
            corner = low[0][index] + tile % columns * _TILE, low[1][index] + tile // columns * _TILE
            last = high[0][index], jnp.where(item < ends[-1], high[1][index], -1)
            image, number = jnp.divmod(index, faces)
            corners = [[plane[index] for plane in planes_] for planes_ in planes]
            operands = jax.tree.map(lambda v: v.reshape(-1, 1, _LANES), (corners, corner, last, image, number))
            # Always taken; it keeps per-triangle work out of the loop over samples.
            buffers = jax.lax.cond(ends[-1] > 0, _draw_tiles(count, near, far), lambda b, _: b, buffers, operands)
            return first + chunk, buffers

        state = jnp.zeros_like(ends[-1]), buffers
        drawn: Buffers = jax.lax.while_loop(lambda state: state[0] < ends[-1], draw_chunk, state)[1]
        return drawn

    finished: Buffers = jax.lax.fori_loop(0, -(-total // block), draw_block, buffers)
    return finished


def _draw_tiles(count: int, near: float, far: float) -> Callable[[Buffers, Any], Buffers]:
    """Returns a function that draws one chunk of tiles into the buffers."""

    def draw(buffers: Buffers, operands: Any) -> Buffers:
        corners, corner, last, image, number = operands
        step = np.arange(_TILE**2, dtype=np.int32)[:, None]
        at = corner[0] + step % _TILE, corner[1] + step // _TILE
        depths = _depths(corners, at, last, near, far)
        positions = jnp.where(depths < far, (image * count + at[1]) * count + at[0], NONE)
        return merge(buffers, positions, depths, number)

    return draw


def _depths(
    triangles: Sequence[Sequence[Array]], at: Sequence[Array], last: Sequence[Array], near: float, far: float
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
    depth = jnp.where(covered & (depth > near) & (depth < far), depth, jnp.inf)
    # Depths are compared for equality, so they must not be recomputed in another way.
    barred: Array = jax.lax.optimization_barrier(depth)
    return barred
