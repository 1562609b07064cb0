"""Which triangle of a grid mesh each sample sees: a z-buffer built from scatters.

Screen vertices are three arrays `(B, S, S)`: x and y in units of samples, which lie at integers,
and 1 / z. A vertex whose 1 / z is not positive is not drawable, and neither are its triangles. Cell
(i, j) of the grid has triangle 0, vertices (i, j) (i+1, j) (i, j+1), and triangle 1, (i, j+1) (i+1,
j) (i+1, j+1); triangle k of cell (i, j) has the number (k (S-1) + i) (S-1) + j. Both sides are
drawn.

Every triangle tests a footprint of 3 x 3 samples starting at the corner of its screen box, and
scatters the minimum depth; a second scatter keeps the lowest number among the triangles that reach
the minimum. Triangles with a larger box go through a queue of tiles, so that size is never a limit:
the queue is a loop over chunks, which does not run if everything fits. Both scatters are minima, so
the order of execution does not matter.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from gan2shape_jax import platforms

__all__ = [
    "NONE",
    "Buffers",
    "Screen",
    "boxes",
    "cell_triangles",
    "chunk_of",
    "corner_indices",
    "coverage",
    "depth_of",
    "draw_tiles",
    "empty_buffers",
    "join_batch",
    "map_in_chunks",
    "visible_triangles",
]

Screen = tuple[Float[Array, "b s s"], Float[Array, "b s s"], Float[Array, "b s s"]]
# x, y and 1 / z of a corner, of many triangles.
Corner = Sequence[Array]
# Depth and number of the nearest triangle of each sample.
Buffers = tuple[Array, Array]

# A mesh with one vertex per pixel at two samples per pixel mostly fits 3 x 3.
_FOOTPRINT = 3
_TILE_BITS = 2
_TILE = 1 << _TILE_BITS
_LEAST_CHUNK = 4096
# How many tiles of a chunk lie along the last axis, for the vector units.
_LANES = 64
_MOST_TILES = np.iinfo(np.int32).max

# Vertices that a CPU rasterises at once: 20 images of 64 pixels, 5 of 128
_MOST = 20 * 64 * 64

NONE = jnp.iinfo(jnp.int32).max


@functools.partial(jax.jit, static_argnames=("count", "far"))
def visible_triangles(screen: Screen, *, count: int, far: float) -> tuple[Float[Array, "b n n"], Int[Array, "b n n"]]:
    """Resolves visibility on a square of count x count samples. Not differentiable.

    Returns:
      depth (far where there is nothing) and the triangle's number (-1 where there is nothing).
    """
    batch, side, _ = screen[0].shape
    cells = side - 1
    empty = empty_buffers(screen[0], batch * count * count, far)

    kind = np.arange(2, dtype=np.int32)[:, None]
    image = np.arange(batch, dtype=np.int32)[:, None, None, None]
    row = np.arange(cells, dtype=np.int32)[:, None, None]
    number = (kind * cells + row) * cells + np.arange(cells, dtype=np.int32)

    def draw(screen: Screen) -> Buffers:
        # Axes: image, row of cells, triangle of the cell (x sample of the footprint), column of
        # cells. The triangles are built inside the test, from slices of the grid: XLA fuses it all
        # into one vector loop.
        step = np.arange(_FOOTPRINT**2, dtype=np.int32)
        triangles = cell_triangles(screen, np.repeat(kind, step.size, 0))
        low, high = boxes(triangles, count)
        step = np.tile(step, 2)[:, None]
        at = low[0] + step % _FOOTPRINT, low[1] + step // _FOOTPRINT
        fits = ~_exceeds(low, high)
        depths = _depths(triangles, at, high, fits)
        return merge(empty, depths, at, image, np.repeat(number, _FOOTPRINT**2, 1), count, far)

    # The condition also keeps the projection out of that loop, which would repeat it for every
    # sample.
    buffers = jax.lax.cond(jnp.any(screen[2] > 0), draw, lambda _: empty, screen)
    low, high = boxes(cell_triangles(screen, kind), count)
    exceeds = _exceeds(low, high)
    high = [jnp.where(exceeds, high[0], -1), jnp.where(exceeds, high[1], -1)]
    low, high = ([jnp.moveaxis(axis, 2, 1).reshape(-1) for axis in ends] for ends in (low, high))  # in order of number
    planes = [plane.reshape(-1) for plane in screen]

    def triangles_of(index: Array) -> tuple[list[list[Array]], Array, Array]:
        image, number = jnp.divmod(index, 2 * cells**2)
        return [[plane[at] for plane in planes] for at in corner_indices(number, image, side)], image, number

    def queue(buffers: Buffers) -> Buffers:
        return draw_tiles(buffers, low, high, triangles_of, _depths, count=count, far=far, least_chunk=_LEAST_CHUNK)

    depth, ids = jax.lax.cond(jnp.any(exceeds), queue, lambda buffers: buffers, buffers)
    ids = jnp.where(ids == NONE, -1, ids)
    return depth.reshape(batch, count, count), ids.reshape(batch, count, count)


def corner_indices(
    number: Int[Array, "*shape"], image: Int[Array, "*#shape"], side: int
) -> tuple[Int[Array, "*shape"], Int[Array, "*shape"], Int[Array, "*shape"]]:
    """Returns the positions of a triangle's three vertices in a flat (B S S) array."""
    kind, cell = jnp.divmod(number, (side - 1) ** 2)
    row, column = jnp.divmod(cell, side - 1)
    upper_left = (image * side + row) * side + column
    return upper_left + kind, upper_left + side, upper_left + 1 + kind * side


def cell_triangles(screen: Screen, kind: Array | np.ndarray) -> tuple[Corner, Corner, Corner]:
    """Returns the corners ((x, y, 1/z) each) of every cell's triangles, (B, S-1, kinds, S-1)."""
    upper_left, upper_right, lower_left, lower_right = (
        [plane[:, i : i - 1 or None, None, j : j - 1 or None] for plane in screen] for i in (0, 1) for j in (0, 1)
    )

    def either(second: Corner, first: Corner) -> list[Array]:
        return [jnp.where(kind == 1, b, a) for a, b in zip(first, second, strict=True)]

    lower_left = either(lower_left, lower_left)
    return either(upper_right, upper_left), lower_left, either(lower_right, upper_right)


def boxes(triangles: Sequence[Corner], count: int) -> tuple[list[Array], list[Array]]:
    """Returns the first and last sample (x, y) of each triangle's box; the box of an undrawable triangle is empty."""
    drawable = functools.reduce(jnp.minimum, [corner[2] for corner in triangles]) > 0
    low, high = [], []
    for axis in range(2):
        values = [corner[axis] for corner in triangles]
        least = jnp.ceil(functools.reduce(jnp.minimum, values))
        most = jnp.floor(functools.reduce(jnp.maximum, values))
        low.append(jnp.clip(least, 0, count).astype(jnp.int32))
        high.append(jnp.where(drawable, jnp.clip(most, -1, count - 1), -1).astype(jnp.int32))
    return low, high


def _exceeds(low: Sequence[Array], high: Sequence[Array]) -> Array:
    """Returns whether boxes exceed the footprint."""
    across, down = high[0] - low[0] + 1, high[1] - low[1] + 1
    return (jnp.maximum(across, down) > _FOOTPRINT) & (jnp.minimum(across, down) > 0)


def _depths(
    triangles: Sequence[Corner], at: Sequence[Array], last: Sequence[Array], drawn: Array | bool = True
) -> Array:
    """Returns the depth of triangles at samples `at` = (x, y), infinite where they do not cover them."""
    dtype = triangles[0][0].dtype
    x = [corner[0] - at[0].astype(dtype) for corner in triangles]
    y = [corner[1] - at[1].astype(dtype) for corner in triangles]
    covered, inverse, weight = coverage(x, y, [corner[2] for corner in triangles])
    covered &= drawn & (at[0] <= last[0]) & (at[1] <= last[1])
    return depth_of(covered, inverse, weight)


def coverage(x: Sequence[Array], y: Sequence[Array], inverse: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Tests samples against triangles whose corners lie at (x, y) from them and have 1 / z `inverse`.

    Twice the areas of the three parts into which a sample divides its triangle are its unnormalised
    barycentric coordinates. An edge has the same area, up to sign and rounding, in the two triangles
    that share it; the tolerance exceeds that rounding, so no sample falls between the two.

    Returns:
      whether the triangle covers the sample; the sums over corners of weight times 1 / z and of weight.
    """
    slack = 2 * float(jnp.finfo(x[0].dtype).eps)
    parts, tolerances = [], []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        first, second = x[a] * y[b], y[a] * x[b]
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
    weighted = weights[0] * inverse[0] + weights[1] * inverse[1] + weights[2] * inverse[2]
    return covered, weighted, weights[0] + weights[1] + weights[2]


def depth_of(covered: Array, inverse: Array, weight: Array) -> Array:
    """Returns the depth from the sums of `coverage`; infinity where the triangle does not cover the sample."""
    inverse = jnp.where(covered, inverse, 0)
    return jnp.where(inverse > 0, weight / jnp.where(inverse > 0, inverse, 1), jnp.inf)


def empty_buffers(data: jax.Array, samples: int, far: float) -> tuple[Float[Array, " s"], Int[Array, " s"]]:
    """Returns empty buffers of depth and number.

    Created `like` the data, they vary over devices as it does, which branches and loops in `jax.shard_map` require.
    """
    return (
        jnp.full_like(data, far, shape=(samples,)),
        jnp.full_like(data, NONE, shape=(samples,), dtype=jnp.int32),
    )


def merge(
    buffers: Buffers,
    depths: Array,
    at: Sequence[Array],
    image: Array | np.ndarray,
    numbers: Array | np.ndarray,
    count: int,
    far: float,
) -> Buffers:
    """Merges the depths of tested samples `at` = (x, y) into the buffers; those beyond `far` are left out."""
    # One array carries both answers, so that the test is computed once. The barrier serves the same purpose: depths are
    # compared for equality below, so they must not be recomputed in another way.
    depths = jax.lax.optimization_barrier(depths)
    positions = jnp.where(depths < far, (image * count + at[1]) * count + at[0], NONE)
    depth, ids = buffers
    nearest = depth.at[positions].min(depths, mode="drop")
    wins = depths == nearest.at[positions].get(mode="clip")
    ids = jnp.where(nearest < depth, NONE, ids)
    numbers = jnp.broadcast_to(numbers, positions.shape)
    ids = ids.at[jnp.where(wins, positions, depth.size)].min(numbers, mode="drop")
    return nearest, ids


def draw_tiles(
    buffers: Buffers,
    low: Sequence[Array],
    high: Sequence[Array],
    triangles_of: Callable[[Array], tuple[Any, Array, Array]],
    depths_at: Callable[[Any, Sequence[Array], Sequence[Array]], Array],
    *,
    count: int,
    far: float,
    least_chunk: int,
) -> Buffers:
    """Draws triangles tile by tile, a chunk at a time, so that size is never a limit; a tile has 4 x 4 samples.

    Args:
      buffers: what is drawn into.
      low: first sample (x, y) of every triangle's box, flat.
      high: last sample, before the first one where there is nothing to draw.
      triangles_of: from indices of triangles to their corners, image and number.
      depths_at: from corners, samples (x, y) and last samples of their boxes to depths, infinite where not covered.
      count: samples along a side.
      far: depth beyond which nothing is drawn.
      least_chunk: tiles at a time; more for large buffers, as every chunk passes over the whole buffer once.
    """
    across, down = (jnp.maximum(b - a + _TILE, 0) >> _TILE_BITS for a, b in zip(low, high, strict=True))
    total = across.size
    chunk = max(least_chunk, buffers[0].size // _TILE**2 // _LANES * _LANES)
    # As many triangles at a time as could all cover the screen without needing more tiles than an int32 can count.
    block = min(total, max(1, (_MOST_TILES - chunk) // max(1, (-(-count // _TILE)) ** 2)))
    step = np.arange(_TILE**2, dtype=np.int32)[:, None]

    def draw_block(block_number: Array, buffers: Buffers) -> Buffers:
        begin = block_number * block
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
            operands = jax.tree.map(lambda v: v.reshape(-1, 1, _LANES), (triangles_of(index), corner, last))
            # Always taken; it keeps per-triangle work out of the loop over samples.
            return first + chunk, jax.lax.cond(ends[-1] > 0, draw_samples, lambda b, _: b, buffers, operands)

        def draw_samples(buffers: Buffers, operands: Any) -> Buffers:
            (triangles, image, number), corner, last = operands
            at = corner[0] + step % _TILE, corner[1] + step // _TILE
            return merge(buffers, depths_at(triangles, at, last), at, image, number, count, far)

        state = jnp.zeros_like(ends[-1]), buffers
        drawn: Buffers = jax.lax.while_loop(lambda state: state[0] < ends[-1], draw_chunk, state)[1]
        return drawn

    finished: Buffers = jax.lax.fori_loop(0, -(-total // block), draw_block, buffers)
    return finished


def join_batch(function: Callable[..., tuple[jax.Array, ...]]) -> Callable[..., tuple[jax.Array, ...]]:
    """Wraps `function` so that `jax.vmap` calls it on one longer batch: one flat scatter, not a batched one.

    Args:
      function: takes arrays with a leading image axis and returns a tuple of such arrays, treating each image
        independently. Not differentiated: callers stop gradients at its arguments.
    """

    @jax.custom_batching.custom_vmap
    def call(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        return function(*arrays)

    @call.def_vmap
    def _(axis_size: int, in_batched: list[bool], *arrays: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[bool, ...]]:
        merged = []
        for array, batched in zip(arrays, in_batched, strict=True):
            array = array if batched else jnp.broadcast_to(array, (axis_size, *array.shape))
            merged.append(array.reshape(-1, *array.shape[2:]))
        results = call(*merged)
        split = tuple(result.reshape(axis_size, -1, *result.shape[1:]) for result in results)
        return split, tuple(True for _ in split)

    return call


def chunk_of(batch: int, size: int, *, most: int = _MOST) -> int:
    """Returns how many of `batch` images of `size` vertices form a chunk: the largest divisor within `most`, or 1."""
    return max(n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * size <= most))


def map_in_chunks(function: Callable[[PyTree], PyTree], images: PyTree, *, size: int) -> PyTree:
    """Calls `function` on chunks of images, one after another, and joins the results: all would exceed a CPU's cache.

    Only for functions that treat each image independently and contain no convolution: the chunks go through a loop, in
    which XLA on CPU runs convolutions slowly. GPU and TPU take whole batches.

    Args:
      function: from arrays to arrays, all with a leading image axis.
      images: its argument for the whole batch.
      size: vertices per image.
    """
    batch = jax.tree.leaves(images)[0].shape[0]
    chunk = chunk_of(batch, size) if batch else batch
    if chunk == batch or platforms.current() != "cpu":
        return function(images)
    split = jax.tree.map(lambda x: x.reshape(batch // chunk, chunk, *x.shape[1:]), images)
    results = jax.lax.map(function, split)
    return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), results)
