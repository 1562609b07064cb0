"""Which triangle of a grid mesh each sample sees: a z-buffer made of scatters.

Screen vertices are `(B, S, S, 3)` = x, y in units of samples (samples lie at integers) and 1 / z. A vertex
whose third value is not positive is not drawable, and neither are its triangles. Cell (i, j) of the
grid has triangle 0, vertices (i, j) (i+1, j) (i, j+1), and triangle 1, (i, j+1) (i+1, j) (i+1, j+1);
triangle k of cell (i, j) has the number (k (S-1) + i) (S-1) + j. Both sides are drawn.

Every triangle tests a footprint of FOOTPRINT x FOOTPRINT samples at its screen box and scatters the minimum of
depth; a second scatter keeps the lowest number among the triangles that reach the minimum. Triangles whose
box is larger go through a queue of tiles, so that size is never a limit: the queue is a loop over chunks that does
not run at all where everything fits. Both scatters are minima, so no order of execution changes the result.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

__all__ = ["corners", "visible_triangles"]

# Measured on CPU (benchmarks/rasterizer.py): a mesh at two samples a pixel mostly fits 3 x 3.
_FOOTPRINT = 3
_TILE = 4
_CHUNK = 4096

_NONE = jnp.iinfo(jnp.int32).max


def corners(grid: Array) -> tuple[Array, Array, Array]:
    """Returns, from a grid (B, S, S, ...), its triangles' three corners, each (B, 2, S-1, S-1, ...)."""
    upper_left, upper_right = grid[:, :-1, :-1], grid[:, :-1, 1:]
    lower_left, lower_right = grid[:, 1:, :-1], grid[:, 1:, 1:]
    return (
        jnp.stack([upper_left, upper_right], 1),
        jnp.stack([lower_left, lower_left], 1),
        jnp.stack([upper_right, lower_right], 1),
    )


@functools.partial(jax.jit, static_argnames=("count", "far"))
def visible_triangles(
    screen: Float[Array, "b s s 3"], *, count: int, far: float
) -> tuple[Float[Array, "b n n"], Int[Array, "b n n"]]:
    """Resolves visibility on a square of count x count samples. Not differentiable.

    Returns:
      depth (far where there is nothing) and the triangle's number (-1 where there is nothing).
    """
    batch = screen.shape[0]
    triangles = [c.reshape(-1, 3) for c in corners(screen)]
    number = triangles[0].shape[0]
    # One row a value: x, y, 1/z of each corner.
    rows = [corner[:, k] for corner in triangles for k in range(3)]
    per_image = number // batch
    index = jnp.arange(number, dtype=jnp.int32)
    low, high = _boxes(rows, count)

    depth = jnp.full((batch * count * count,), far, screen.dtype)
    ids = jnp.full((batch * count * count,), _NONE, jnp.int32)
    offset = (index // per_image) * (count * count)
    tested = _test(rows, low, high, offset, _FOOTPRINT, count, depth.size, far)
    depth, ids = _merge(depth, ids, *tested, index % per_image)
    depth, ids = _drain(depth, ids, rows, low, high, per_image, count, far)
    ids = jnp.where(ids == _NONE, -1, ids)
    return depth.reshape(batch, count, count), ids.reshape(batch, count, count)


def _boxes(rows, count):
    """Returns first and last sample of each triangle, ((x, y), (x, y)); empty boxes have last < first."""
    drawable = (rows[2] > 0) & (rows[5] > 0) & (rows[8] > 0)
    low, high = [], []
    for axis in range(2):
        values = rows[axis], rows[3 + axis], rows[6 + axis]
        least = functools.reduce(jnp.minimum, values)
        most = functools.reduce(jnp.maximum, values)
        drawable &= jnp.isfinite(least) & jnp.isfinite(most)
        low.append(jnp.clip(jnp.ceil(least), 0, count))
        high.append(jnp.clip(jnp.floor(most), -1, count - 1))
    low = [jnp.where(drawable, v, 0).astype(jnp.int32) for v in low]
    high = [jnp.where(drawable, v, -1).astype(jnp.int32) for v in high]
    return low, high


def _test(rows, start, last, offset, size, count, nowhere, far):
    """Tests size x size samples from `start` on; returns buffer positions and depths, (size^2, M)."""
    step = jnp.arange(size * size, dtype=jnp.int32)[:, None]
    x, y = start[0] + step % size, start[1] + step // size
    covered, depths = _cover(rows, x, y)
    drawn = covered & (x <= last[0]) & (y <= last[1]) & (depths < far)
    positions = jnp.where(drawn, offset + y * count + x, nowhere)
    # Depths are compared for equality below: they must exist once, not be computed again.
    return jax.lax.optimization_barrier((positions, depths))


def _cover(rows, x, y):
    """Returns whether triangles cover the samples (x, y), and their depths there.

    Twice the areas of the three parts into which the sample divides a triangle are the (unnormalised)
    barycentric coordinates. An edge gets the same area, but for the sign and rounding, from the two triangles that
    share it; the tolerance is larger than that rounding, so that no sample falls between the two.
    """
    x, y = x.astype(rows[0].dtype), y.astype(rows[0].dtype)
    px = [rows[3 * k] - x for k in range(3)]
    py = [rows[3 * k + 1] - y for k in range(3)]
    slack = 2 * float(jnp.finfo(rows[0].dtype).eps)
    parts, tolerances = [], []
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        first, second = px[a] * py[b], py[a] * px[b]
        parts.append(first - second)
        tolerances.append(slack * (jnp.abs(first) + jnp.abs(second)))
    area = parts[0] + parts[1] + parts[2]
    # A triangle seen exactly edge-on covers nothing.
    covered = jnp.abs(area) > tolerances[0] + tolerances[1] + tolerances[2]
    weights = []
    for part, tolerance in zip(parts, tolerances, strict=True):
        part = jnp.where(area < 0, -part, part)
        covered &= part >= -tolerance
        weights.append(jnp.maximum(part, 0))
    total = weights[0] + weights[1] + weights[2]
    inverse = weights[0] * rows[2] + weights[1] * rows[5] + weights[2] * rows[8]
    return covered, total / jnp.where(covered, inverse, 1)


def _merge(depth, ids, positions, depths, numbers):
    """Puts tested samples (K, M) of the triangles `numbers` (M,) into the buffers."""
    nearest = depth.at[positions].min(depths, mode="drop")
    wins = depths == nearest.at[positions].get(mode="clip")
    ids = jnp.where(nearest < depth, _NONE, ids)
    numbers = jnp.broadcast_to(numbers, positions.shape)
    ids = ids.at[jnp.where(wins, positions, depth.size)].min(numbers, mode="drop")
    return nearest, ids


def _drain(depth, ids, rows, low, high, per_image, count, far):
    """Draws the triangles that exceed the footprint, a chunk of tiles at a time."""
    width, height = high[0] - low[0] + 1, high[1] - low[1] + 1
    exceeds = (jnp.maximum(width, height) > _FOOTPRINT) & (jnp.minimum(width, height) > 0)
    across = -(width // -_TILE)
    tiles = jnp.where(exceeds, across * -(height // -_TILE), 0)

    def draw(buffers):
        ends = jnp.cumsum(tiles)

        def body(state):
            first, depth, ids = state
            item = first + jnp.arange(_CHUNK, dtype=jnp.int32)
            alive = item < ends[-1]
            triangle = jnp.searchsorted(ends, item, side="right").astype(jnp.int32)
            triangle = jnp.minimum(triangle, tiles.size - 1)
            tile = item - (ends[triangle] - tiles[triangle])
            columns = jnp.maximum(across[triangle], 1)
            start = (
                low[0][triangle] + tile % columns * _TILE,
                low[1][triangle] + tile // columns * _TILE,
            )
            last = jnp.where(alive, high[0][triangle], -1), high[1][triangle]
            chosen = [row[triangle] for row in rows]
            offset = (triangle // per_image) * (count * count)
            tested = _test(chosen, start, last, offset, _TILE, count, depth.size, far)
            return first + _CHUNK, *_merge(depth, ids, *tested, triangle % per_image)

        first = jnp.zeros((), jnp.int32)
        return jax.lax.while_loop(lambda s: s[0] < ends[-1], body, (first, *buffers))[1:]

    return jax.lax.cond(jnp.any(exceeds), draw, lambda buffers: buffers, (depth, ids))
