"""Which triangle each sample sees, of grid meshes and of any triangle meshes: a z-buffer built from scatters.

Samples lie at integers, `shape` = (rows, columns) of them; both sides of triangles are drawn. Where depths are equal,
the triangle with the lowest number is visible: scatters are minima, so the order of execution does not matter.
Triangles are drawn tile by tile from a queue (`_draw_tiles`), so work grows with the area covered, whatever their size.

Grid meshes are three arrays `(B, H, W)`: x and y in units of samples, and 1 / z. A vertex whose 1 / z is not positive
is not drawable, and neither are its triangles. Cell (i, j) has triangle 0, vertices (i, j) (i+1, j) (i, j+1), and
triangle 1, (i, j+1) (i+1, j) (i+1, j+1); triangle k of cell (i, j) has the number (k (H-1) + i) (W-1) + j. Every
triangle tests a footprint of 3 x 3 samples starting at the corner of its screen box; only those with a larger box go
through the queue, a loop that does not run if everything fits.

Of other meshes, every triangle is given by its corners (x, y, z), each `(B, F)`, in homogeneous units of samples: x / z
and y / z lie on the lattice. So a triangle that reaches behind the camera needs no clipping: its parts in front of the
near plane are drawn (J. Olano and T. Greer, Triangle Scan Conversion using 2D Homogeneous Coordinates, 1997). Of an
orthographic camera, z is 1 and depth a fourth number.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from gan2shape_jax import platforms

Screen = tuple[Float[Array, "b h w"], Float[Array, "b h w"], Float[Array, "b h w"]]
# x, y and 1 / z (or z) of a corner, of many triangles.
Corner = Sequence[Array]
# Depth and number of the nearest triangle of each sample.
Buffers = tuple[Array, Array]

# A mesh with one vertex per pixel at two samples per pixel mostly fits 3 x 3.
_FOOTPRINT = 3
_TILE_BITS = 2
_TILE = 1 << _TILE_BITS
# Tiles at a time, at least, and how many of them lie along the last axis, for the vector units.
_GRID_CHUNK, _MESH_CHUNK = 4096, 1024
_LANES = 64
# Vertices that a CPU rasterises at once: 20 images of 64 pixels, 5 of 128
_MOST = 20 * 64 * 64
# The number of no triangle, above all others.
NONE = jnp.iinfo(jnp.int32).max


@functools.partial(jax.jit, static_argnames="shape")
def visible_triangles(screen: Screen, *, shape: tuple[int, int]) -> tuple[Float[Array, "b n m"], Int[Array, "b n m"]]:
    """Resolves the visibility of grid meshes. Not differentiable.

    Returns:
      depth (infinite where there is nothing) and the triangle's number (-1 where there is nothing).
    """
    batch, height, width = screen[0].shape
    rows, columns = height - 1, width - 1  # of cells
    empty = _empty(screen[0], batch * shape[0] * shape[1])

    kind = np.arange(2, dtype=np.int32)[:, None]
    image = np.arange(batch, dtype=np.int32)[:, None, None, None]
    row = np.arange(rows, dtype=np.int32)[:, None, None]
    number = (kind * rows + row) * columns + np.arange(columns, dtype=np.int32)

    def draw(screen: Screen) -> Buffers:
        # Axes: image, row of cells, triangle of the cell (x sample of the footprint), column of cells. The triangles
        # are built inside the test, from slices of the grid: XLA fuses it all into one vector loop.
        step = np.arange(_FOOTPRINT**2, dtype=np.int32)
        triangles = cell_triangles(screen, np.repeat(kind, step.size, 0))
        low, high = boxes(triangles, shape)
        step = np.tile(step, 2)[:, None]
        at = low[0] + step % _FOOTPRINT, low[1] + step // _FOOTPRINT
        fits = ~_exceeds(low, high)
        depths = _grid_depths(triangles, at, high, fits)
        return _merge(empty, depths, at, image, np.repeat(number, _FOOTPRINT**2, 1), shape)

    # The condition also keeps the projection out of that loop, which would repeat it for every sample.
    buffers = jax.lax.cond(jnp.any(screen[2] > 0), draw, lambda _: empty, screen)
    low, high = boxes(cell_triangles(screen, kind), shape)
    exceeds = _exceeds(low, high)
    high = [jnp.where(exceeds, end, -1) for end in high]
    low, high = ([jnp.moveaxis(axis, 2, 1).reshape(-1) for axis in ends] for ends in (low, high))  # in order of number
    planes = [plane.reshape(-1) for plane in screen]

    def triangles_of(index: Array) -> tuple[list[list[Array]], Array, Array]:
        image, number = jnp.divmod(index, 2 * rows * columns)
        corners = corner_indices(number, image, (height, width))
        return [[plane[at] for plane in planes] for at in corners], image, number

    def queue(buffers: Buffers) -> Buffers:
        return _draw_tiles(buffers, low, high, triangles_of, _grid_depths, shape=shape, least=_GRID_CHUNK)

    return _finished(jax.lax.cond(jnp.any(exceeds), queue, lambda buffers: buffers, buffers), batch, shape)


@functools.partial(jax.jit, static_argnames=("shape", "layers"))
def visible_mesh_triangles(
    corners: tuple[Corner, Corner, Corner], near: Float[Array, " b"], *, shape: tuple[int, int], layers: int = 0
) -> tuple[Float[Array, "b *layers n m"], Int[Array, "b *layers n m"]]:
    """Resolves the visibility of triangle meshes; results as of `visible_triangles`. Not differentiable.

    Triangles with a corner that is not finite are not drawn, nor are surfaces at or before an image's `near`. With
    `layers`, results have an axis of as many surfaces, one behind the other: depth peeling (C. Everitt, 2001).
    """
    batch, faces = corners[0][0].shape
    planes = [[value.reshape(-1) for value in corner] for corner in corners]
    plane = jnp.full_like(near, jnp.finfo(near.dtype).tiny) if len(corners[0]) > 3 else near
    low, high = ([axis.reshape(-1) for axis in ends] for ends in _mesh_boxes(corners, shape, plane[:, None]))

    def triangles_of(index: Array) -> tuple[Any, Array, Array]:
        image, number = jnp.divmod(index, faces)
        return ([[plane[index] for plane in corner] for corner in planes], near[image]), image, number

    def depths(triangles: Any, at: Sequence[Array], last: Sequence[Array]) -> Array:
        triangles, near = triangles
        # Seen from a sample, the cross product of two corners is the third one's unnormalised perspective-correct
        # weight: what `coverage` computes.
        x, y = ([corner[k] - at[k].astype(corner[2].dtype) * corner[2] for corner in triangles] for k in (0, 1))
        owned = []
        for a, b in ((1, 2), (2, 0), (0, 1)):
            (start_x, start_y, start_z), (end_x, end_y, end_z) = triangles[a][:3], triangles[b][:3]
            first, second = start_y * end_z, start_z * end_y
            level = jnp.abs(first - second) <= 2 * jnp.finfo(first.dtype).eps * (jnp.abs(first) + jnp.abs(second))
            owned.append(jnp.where(level, start_z * end_x > start_x * end_z, first > second))
        covered, moment, weight = coverage(x, y, [corner[-1] for corner in triangles], owned)
        covered &= (at[0] <= last[0]) & (at[1] <= last[1])
        depth = moment / jnp.where(covered, weight, 1)
        return jnp.where(covered & (depth > near), depth, jnp.inf)

    empty = _empty(corners[0][0], batch * shape[0] * shape[1])
    draw = functools.partial(_draw_tiles, shape=shape, least=_MESH_CHUNK)
    if not layers:
        return _finished(draw(empty, low, high, triangles_of, depths), batch, shape)

    def behind(before: Buffers, _: None) -> tuple[Buffers, Any]:
        buffers = draw(empty, low, high, triangles_of, depths, before=before)
        return buffers, _finished(buffers, batch, shape)

    every = jax.lax.scan(behind, (-empty[0], jnp.full_like(empty[1], -1)), None, length=layers)[1]
    return jnp.moveaxis(every[0], 0, 1), jnp.moveaxis(every[1], 0, 1)


def corner_indices(
    number: Int[Array, "*shape"], image: Int[Array, "*#shape"], grid: tuple[int, ...]
) -> tuple[Int[Array, "*shape"], Int[Array, "*shape"], Int[Array, "*shape"]]:
    """Returns the positions of a triangle's three vertices in a flat array of grids (B, H, W)."""
    height, width = grid
    kind, cell = jnp.divmod(number, (height - 1) * (width - 1))
    row, column = jnp.divmod(cell, width - 1)
    upper_left = (image * height + row) * width + column
    return upper_left + kind, upper_left + width, upper_left + 1 + kind * width


def cell_triangles(screen: Screen, kind: Array | np.ndarray) -> tuple[Corner, Corner, Corner]:
    """Returns the corners ((x, y, 1/z) each) of every cell's triangles, (B, H-1, kinds, W-1)."""
    upper_left, upper_right, lower_left, lower_right = (
        [plane[:, i : i - 1 or None, None, j : j - 1 or None] for plane in screen] for i in (0, 1) for j in (0, 1)
    )

    def either(second: Corner, first: Corner) -> list[Array]:
        return [jnp.where(kind == 1, b, a) for a, b in zip(first, second, strict=True)]

    lower_left = either(lower_left, lower_left)
    return either(upper_right, upper_left), lower_left, either(lower_right, upper_right)


def boxes(triangles: Sequence[Corner], shape: tuple[int, ...]) -> tuple[list[Array], list[Array]]:
    """Returns the first and last sample (x, y) of each triangle's box; the box of an undrawable triangle is empty."""
    drawable = functools.reduce(jnp.minimum, [corner[2] for corner in triangles]) > 0
    low, high = [], []
    for axis, count in enumerate(reversed(shape)):
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


def _mesh_boxes(
    triangles: Sequence[Corner], shape: tuple[int, int], near: Float[Array, "b 1"]
) -> tuple[list[Array], list[Array]]:
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
    low = [jnp.where(finite & (v < n), jnp.maximum(v, 0), n).astype(jnp.int32) for v, n in zip(low, shape[::-1])]
    high = [
        jnp.where(finite & (v >= 0), jnp.minimum(v, n - 1), -1).astype(jnp.int32) for v, n in zip(high, shape[::-1])
    ]
    return low, high


def _grid_depths(
    triangles: Sequence[Corner], at: Sequence[Array], last: Sequence[Array], drawn: Array | bool = True
) -> Array:
    """Returns the depth of triangles at samples `at` = (x, y), infinite where they do not cover them."""
    x, y = ([corner[k] - at[k].astype(corner[k].dtype) for corner in triangles] for k in (0, 1))
    covered, inverse, weight = coverage(x, y, [corner[2] for corner in triangles])
    covered &= drawn & (at[0] <= last[0]) & (at[1] <= last[1])
    return depth_of(covered, inverse, weight)


def coverage(
    x: Sequence[Array], y: Sequence[Array], values: Sequence[Array], owned: Sequence[Array] | None = None
) -> tuple[Array, Array, Array]:
    """Tests samples against triangles whose corners lie at (x, y) from them and have `values` such as 1 / z.

    Twice the areas of the three parts into which a sample divides its triangle are its unnormalised
    barycentric coordinates. An edge has the same area, up to sign and rounding, in the two triangles
    that share it; the tolerance exceeds that rounding, so no sample falls between the two. A sample on an edge belongs
    to both or, where edges are `owned` (those that are left or top ones if the area is positive), to the owner alone.

    Returns:
      whether the triangle covers the sample; the sums over corners of weight times value and of weight.
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
    for k, (part, tolerance) in enumerate(zip(parts, tolerances, strict=True)):
        part = jnp.where(area < 0, -part, part)
        inside = part >= -tolerance
        covered &= inside if owned is None else jnp.where(owned[k] == (area > 0), inside, part > 0)
        weights.append(jnp.maximum(part, 0))
    weighted = weights[0] * values[0] + weights[1] * values[1] + weights[2] * values[2]
    return covered, weighted, weights[0] + weights[1] + weights[2]


def depth_of(covered: Array, inverse: Array, weight: Array) -> Array:
    """Returns the depth from the sums of `coverage` for 1 / z; infinity where a sample is not covered."""
    inverse = jnp.where(covered, inverse, 0)
    return jnp.where(inverse > 0, weight / jnp.where(inverse > 0, inverse, 1), jnp.inf)


def _empty(data: jax.Array, samples: int) -> Buffers:
    """Returns empty buffers, which vary over devices as the data does: `jax.shard_map` requires it."""
    depth = jnp.full_like(data, jnp.inf, shape=(samples,))
    return depth, jnp.full_like(data, NONE, shape=(samples,), dtype=jnp.int32)


def _finished(
    buffers: Buffers, batch: int, shape: tuple[int, int]
) -> tuple[Float[Array, "b n m"], Int[Array, "b n m"]]:
    depth, number = (buffer.reshape(batch, *shape) for buffer in buffers)
    return depth, jnp.where(number == NONE, -1, number)


def _merge(
    buffers: Buffers,
    depths: Array,
    at: Sequence[Array],
    image: Array | np.ndarray,
    numbers: Array | np.ndarray,
    shape: tuple[int, int],
) -> Buffers:
    """Merges the depths of tested samples `at` = (x, y) into the buffers; infinite ones are left out."""
    # One array carries both answers, so that the test is computed once. The barrier serves the same purpose: depths are
    # compared for equality below, so they must not be recomputed in another way.
    depths = jax.lax.optimization_barrier(depths)
    positions = jnp.where(depths < jnp.inf, (image * shape[0] + at[1]) * shape[1] + at[0], NONE)
    depth, ids = buffers
    nearest = depth.at[positions].min(depths, mode="drop")
    wins = depths == nearest.at[positions].get(mode="clip")
    ids = jnp.where(nearest < depth, NONE, ids)
    numbers = jnp.broadcast_to(numbers, positions.shape)
    ids = ids.at[jnp.where(wins, positions, depth.size)].min(numbers, mode="drop")
    return nearest, ids


def _draw_tiles(
    buffers: Buffers,
    low: Sequence[Array],
    high: Sequence[Array],
    triangles_of: Callable[[Array], tuple[Any, Array, Array]],
    depths_at: Callable[[Any, Sequence[Array], Sequence[Array]], Array],
    *,
    shape: tuple[int, int],
    least: int,
    before: Buffers | None = None,
) -> Buffers:
    """Draws triangles into buffers tile by tile of 4 x 4 samples, a chunk at a time; up to two billion tiles in all.

    Args:
      buffers: what is drawn into.
      low: first sample (x, y) of every triangle's box, flat.
      high: last sample, before the first one where there is nothing to draw.
      triangles_of: from indices of triangles to their corners, image and number.
      depths_at: from corners, samples (x, y) and last samples of their boxes to depths, infinite where not covered.
      shape: rows and columns of samples.
      least: tiles at a time; more for large buffers, as every chunk passes over the whole buffer once.
      before: draw only what lies behind this, or as deep with a higher number.
    """
    across, down = (jnp.maximum(b - a + _TILE, 0) >> _TILE_BITS for a, b in zip(low, high, strict=True))
    chunk = max(least, buffers[0].size // _TILE**2 // _LANES * _LANES)
    step = np.arange(_TILE**2, dtype=np.int32)[:, None]
    tiles = across * down
    ends = jnp.cumsum(tiles)

    def draw_chunk(state: tuple[Array, Buffers]) -> tuple[Array, Buffers]:
        first, buffers = state
        item = first + jnp.arange(chunk, dtype=jnp.int32)
        index = jnp.minimum(jnp.searchsorted(ends, item, side="right").astype(jnp.int32), tiles.size - 1)
        tile = item - (ends[index] - tiles[index])
        columns = jnp.maximum(across[index], 1)
        corner = low[0][index] + tile % columns * _TILE, low[1][index] + tile // columns * _TILE
        last = high[0][index], jnp.where(item < ends[-1], high[1][index], -1)
        operands = jax.tree.map(lambda v: v.reshape(-1, 1, _LANES), (triangles_of(index), corner, last))
        # Always taken; it keeps per-triangle work out of the loop over samples.
        return first + chunk, jax.lax.cond(ends[-1] > 0, draw_samples, lambda b, _: b, buffers, operands)

    def draw_samples(buffers: Buffers, operands: Any) -> Buffers:
        (triangles, image, number), corner, last = operands
        at = corner[0] + step % _TILE, corner[1] + step // _TILE
        depths = depths_at(triangles, at, last)
        if before is not None:
            depths = jax.lax.optimization_barrier(depths)
            place = (image * shape[0] + at[1]) * shape[1] + at[0]
            depth, of = (buffer.at[place].get(mode="clip") for buffer in before)
            # No ray meets a triangle twice, however its depth was rounded the first time.
            behind = ((depths > depth) | ((depths == depth) & (number > of))) & (number != of)
            depths = jnp.where(behind, depths, jnp.inf)
        return _merge(buffers, depths, at, image, number, shape)

    state = jnp.zeros_like(ends[-1]), buffers
    drawn: Buffers = jax.lax.while_loop(lambda state: state[0] < ends[-1], draw_chunk, state)[1]
    return drawn


def join_batch(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Wraps `function` so that `jax.vmap` calls it on one longer batch: one flat scatter, not a batched one.

    `function` takes trees of arrays with a leading image axis, returns such a tree, and treats images independently.
    It is not differentiated: callers stop gradients at its arguments.

    On a mesh, told by the arrays' types or by `jax.set_mesh` and `AxisType.Auto`, every device computes its own part of
    what `jax.vmap` brings. The compiler would divide the work within loops and exchange values in each round.
    """

    @jax.custom_batching.custom_vmap
    def call(*arrays: PyTree) -> PyTree:
        return function(*arrays)

    @call.def_vmap
    def _(axis_size: int, in_batched: PyTree, *arrays: PyTree) -> tuple[PyTree, PyTree]:
        if not axis_size:  # no image: nothing to look triangles up in
            leaves, structure = jax.tree.flatten(arrays)
            shapes = [leaf.shape[mapped:] for leaf, mapped in zip(leaves, jax.tree.leaves(in_batched), strict=True)]
            ones = [jax.ShapeDtypeStruct(shape, leaf.dtype) for shape, leaf in zip(shapes, leaves, strict=True)]
            of_one = jax.eval_shape(function, *jax.tree.unflatten(structure, ones))
            none = jax.tree.map(lambda result: jnp.zeros((0, *result.shape), result.dtype), of_one)
            return none, jax.tree.map(lambda _: True, none)

        def joined(array: jax.Array, batched: bool) -> jax.Array:
            array = array if batched else jnp.broadcast_to(array, (axis_size, *array.shape))
            return array.reshape(-1, *array.shape[2:])

        leaves, structure = jax.tree.flatten(arrays)
        leaves = list(map(joined, leaves, jax.tree.leaves(in_batched)))
        kinds = [jax.typeof(leaf).sharding for leaf in leaves]
        kind = next((kind for kind in kinds if kind.spec[0]), None)
        whole: Callable[..., PyTree] = call
        if kind is not None:  # the mapped axis is sharded
            spec = jax.P(kind.spec[0])
            leaves = jax.reshard(leaves, jax.NamedSharding(kind.mesh, spec))
            whole = jax.shard_map(call, mesh=kind.mesh, in_specs=spec, out_specs=spec)
        elif (mesh := _divided_by_the_compiler()) is not None and axis_size % mesh.size == 0:
            spec = jax.P(mesh.axis_names)
            whole = jax.shard_map(call, mesh=mesh, in_specs=spec, out_specs=spec)
        results = whole(*jax.tree.unflatten(structure, leaves))
        split = jax.tree.map(lambda result: result.reshape(axis_size, -1, *result.shape[1:]), results)
        return split, jax.tree.map(lambda _: True, split)

    return call


def _divided_by_the_compiler() -> jax.sharding.AbstractMesh | None:
    """Returns the mesh of `jax.set_mesh` if the compiler divides arrays over all of its axes, else None."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if set(mesh.axis_types) == {jax.sharding.AxisType.Auto} else None


def in_chunks(function: Callable[..., PyTree], *images: PyTree, size: int) -> PyTree:
    """Calls `function` on chunks of images, one after another, and joins the results: all would exceed a CPU's cache.

    Only for functions from arrays to arrays, all with a leading image axis, that treat images of `size` vertices
    independently and contain no convolution: the chunks go through a loop, in which XLA on CPU runs convolutions
    slowly. GPU and TPU take whole batches.
    """
    batch = jax.tree.leaves(images)[0].shape[0]
    # The largest divisor of the batch that keeps within the cache, or 1.
    chunk = max((n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * size <= _MOST)), default=0)
    if chunk == batch or platforms.current() != "cpu":
        return function(*images)
    split = jax.tree.map(lambda x: x.reshape(batch // chunk, chunk, *x.shape[1:]), images)
    results = jax.lax.map(lambda part: function(*part), split)
    return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), results)
