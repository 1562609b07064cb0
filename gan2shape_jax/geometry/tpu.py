"""TPU versions of the rasteriser's gathers and scatters, which are slow there, as Pallas kernels.

From outside they are functions that `jax.vmap` maps and that can be differentiated backward any number of times;
forward mode needs the forms for other platforms. Rules and arithmetic are those of `visibility`.

A register has 8 sublanes and 128 lanes. A block is four cells of the mesh side by side, two triangles each: triangle k
of cell c is number 2 c + k of its block. Samples form tiles of 16 x 8, one per lane. To see which triangle is visible,
a block's eight triangles, one per sublane, are tested at the 128 samples of a tile, and each sublane has its own
z-buffer in fast memory, so that nothing collides; at the end the eight are compared. To look up values, a block's
triangles are compared with what the samples of a tile see, for up to eight values at once, one per sublane.

Nearly every block reaches at most two tiles across and two down, so kernels process four tiles unconditionally and
visit others only where a block reaches farther. Rows are padded to whole registers, and the rows of an image to whole
chunks, with triangles that reach nothing.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int, Shaped

from gan2shape_jax import platforms
from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.visibility import Screen, join_batch

_SUBLANES, _LANES = 8, 128
_REGISTER = (_SUBLANES, _LANES)
_BLOCK = _SUBLANES  # triangles per block
_TILE = (16, 8)  # samples across and down
_NEAR = 2  # tiles across and down that are processed unconditionally
# Maximum blocks per chunk: a megabyte in fast memory, where eight share a register.
_CHUNK_BLOCKS = 2048
# Bytes of fast memory the compiler gives a kernel that does not request more: 16 MB, less what it needs itself.
_GIVEN = 12 * 2**20
# Numbers stored per triangle: x, y and 1 / z of three corners and the ends of its box; the rest are zeros.
_STORED, _NUMBERS = 13, 16
_Place = tuple[Array, Array]  # of a tile: across, down


def visible_triangles(screen: Screen, *, shape: tuple[int, int]) -> tuple[Float[Array, "b n m"], Int[Array, "b n m"]]:
    """Returns what `visibility.visible_triangles` does. Not differentiable."""
    depth, number = join_batch(functools.partial(_visible, shape=shape))(screen)
    return depth, number


@jax.custom_vjp
def values_at_samples(
    values: Float[Array, "b k 2 r c"], triangle: Int[Array, "b n m"], screen: Screen
) -> Float[Array, "b k n m"]:
    """Returns the values of each sample's triangle, 0 where there is none; up to eight per triangle; linear in them.

    Values are by kind, row and column of a triangle's cell; `screen`, constant, is what triangles were found with.
    """
    gathered: Array = join_batch(_values)(values, triangle, screen)
    return gathered


@jax.custom_vjp
def _sums_over_samples(values: Float[Array, "b k n m"], triangle: Array, screen: Screen) -> Float[Array, "b k 2 r c"]:
    """Returns, for each triangle, the sums over the samples that see it: the transpose of `values_at_samples`."""
    sums: Array = join_batch(_sums)(values, triangle, screen)
    return sums


for _forth, _back in ((values_at_samples, _sums_over_samples), (_sums_over_samples, values_at_samples)):
    _forth.defvjp(
        lambda values, triangle, screen, forth=_forth: (forth(values, triangle, screen), (triangle, screen)),
        lambda saved, cotangent, back=_back: (back(cotangent, *saved), None, None),
    )


class _Blocks:
    """The layout of a mesh of `grid` vertices and of `shape` samples, both rows and columns."""

    def __init__(self, grid: tuple[int, ...], shape: tuple[int, ...]):
        self.shape = shape
        self.cells = grid[0] - 1, grid[1] - 1  # down and across the mesh
        self.columns = -(-self.cells[1] // (_LANES // 2)) * (_LANES // 2)  # cells per row, padded to whole registers
        self.row_blocks = self.columns * 2 // _BLOCK  # blocks per row of cells
        self.chunk_rows = min(self.cells[0], max(1, _CHUNK_BLOCKS // self.row_blocks))  # rows of cells per chunk
        self.chunks = -(-self.cells[0] // self.chunk_rows)
        self.chunk_blocks = self.chunk_rows * self.row_blocks
        # Tiles across and down, with room for those processed unconditionally.
        self.across, self.down = (-(-count // size) + _NEAR - 1 for count, size in zip(shape[::-1], _TILE))
        self.tiles = self.across * self.down
        # Padding of rows and columns of cells.
        self._room = (0, self.chunks * self.chunk_rows - self.cells[0]), (0, self.columns - self.cells[1])

    def place(self, block: Array, chunk: Array) -> tuple[Array, Array]:
        """Returns the row and column of the first cell of a chunk's block; for use in kernels."""
        # Not `//` and `%`: to round negative numbers down, they query the device.
        blocks = jnp.asarray(self.row_blocks, block.dtype)
        return chunk * self.chunk_rows + lax.div(block, blocks), lax.rem(block, blocks) * (_BLOCK // 2)

    def laid_out(self, triangles: Float[Array, "b k 2 r c"]) -> Float[Array, "b k rows columns 2"]:
        """Returns values of triangles padded with zeros."""
        filled = jnp.pad(triangles, ((0, 0), (0, 0), (0, 0), *self._room))
        return jnp.moveaxis(filled, 2, -1)

    def tiled(self, samples: Shaped[Array, "b n m"], *, fill: float) -> Shaped[Array, "b tiles 128"]:
        """Returns samples as tiles."""
        room = self.down * _TILE[1] - self.shape[0], self.across * _TILE[0] - self.shape[1]
        samples = jnp.pad(samples, ((0, 0), (0, room[0]), (0, room[1])), constant_values=fill)
        samples = samples.reshape(-1, self.down, _TILE[1], self.across, _TILE[0])
        return jnp.swapaxes(samples, 2, 3).reshape(-1, self.tiles, _LANES)

    def untiled(self, tiles: Shaped[Array, "b tiles 128"]) -> Shaped[Array, "b n m"]:
        """Returns the samples of tiles."""
        samples = jnp.swapaxes(tiles.reshape(-1, self.down, self.across, _TILE[1], _TILE[0]), 2, 3)
        samples = samples.reshape(-1, self.down * _TILE[1], self.across * _TILE[0])
        return samples[:, : self.shape[0], : self.shape[1]]

    def reach(self, screen: Screen) -> tuple[list[Float[Array, "b 2 r c"]], Int[Array, "b chunks 5 blocks"]]:
        """Returns which samples triangles and blocks may cover.

        Of each triangle, the first and last column, first and last row; of each block, the first tile across and down,
        the last (before the first if there are none), and 1 if there are more than `_NEAR` across or down.
        """
        kind = np.arange(2, dtype=np.int32)[:, None]
        low, high = visibility.boxes(visibility.cell_triangles(screen, kind), self.shape)
        # From (B, R, 2, C) to (B, R, C, 2).
        low, high = ([jnp.swapaxes(end, 2, 3) for end in ends] for ends in (low, high))
        nothing = (low[0] > high[0]) | (low[1] > high[1])

        def of_blocks(end: Array, without: int) -> Array:
            end = jnp.where(nothing, without, end)
            end = jnp.pad(end, ((0, 0), *self._room, (0, 0)), constant_values=without)
            return end.reshape(-1, self.chunks, self.chunk_blocks, _BLOCK)

        # The first tile must exist even if the block reaches none: it is processed unconditionally.
        most = self.shape[1] - 1, self.shape[0] - 1
        first = [jnp.minimum(jnp.min(of_blocks(end, m), -1), m) // n for end, m, n in zip(low, most, _TILE)]
        last = [jnp.max(of_blocks(end, -1), -1) // n for end, n in zip(high, _TILE)]
        farther = (last[0] - first[0] >= _NEAR) | (last[1] - first[1] >= _NEAR)
        tiles = jnp.stack([*first, *last, farther.astype(jnp.int32)], 2).astype(jnp.int32)
        ends = [jnp.moveaxis(end, 3, 1).astype(screen[0].dtype) for end in (low[0], high[0], low[1], high[1])]
        return ends, tiles

    def of_chunk(self, together: int) -> pl.BlockSpec:
        """Returns the specification of registers of a chunk's triangles, `together` blocks in each."""
        return pl.BlockSpec((1, self.chunk_blocks // together, *_REGISTER), lambda i, c: (i, c, 0, 0))

    def of_image(self, *row: int) -> pl.BlockSpec:
        """Returns the specification of all tiles of an image: a register each, or a `row` of one."""
        row = row or _REGISTER
        return pl.BlockSpec((1, self.tiles, *row), lambda i, c: (i, 0, *[0] * len(row)))

    def call(
        self,
        kernel: Callable[..., None],
        reached: Int[Array, "b chunks 5 blocks"],
        inputs: list[tuple[Array, pl.BlockSpec]],
        outputs: list[tuple[pl.BlockSpec, tuple[int, ...], Any]],
        **options: Any,
    ) -> Any:
        """Runs a kernel over a grid of images and chunks, its first input the tiles that blocks reach.

        `inputs` are arrays with their specifications, `outputs` specifications with shapes of an image's and types.
        """
        arrays, specs = zip(*inputs)
        batch = len(reached)
        tiles = pl.BlockSpec((1, 1, 5, self.chunk_blocks), lambda i, c: (i, c, 0, 0), memory_space=pltpu.SMEM)
        fast = (3 * self.tiles + 4 * _CHUNK_BLOCKS // _SUBLANES) * _SUBLANES * _LANES * 4  # bytes
        over = jax.typeof(arrays[-1]).manual_axis_type  # results vary over devices as the data does
        return pl.pallas_call(
            functools.partial(kernel, blocks=self, unroll=not platforms.interpreted()),
            grid=(batch, self.chunks),
            in_specs=[tiles, *specs],
            out_specs=[spec for spec, _, _ in outputs],
            out_shape=[jax.ShapeDtypeStruct((batch, *shape), t, manual_axis_type=over) for _, shape, t in outputs],
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=None if fast < _GIVEN else fast
            ),
            interpret=platforms.interpreted(),
            **options,
        )(reached, *arrays)


def _visible(screen: Screen, *, shape: tuple[int, int]) -> tuple[Float[Array, "b n m"], Int[Array, "b n m"]]:
    blocks = _Blocks(screen[0].shape[1:], shape)
    ends, tiles = blocks.reach(screen)
    corners = visibility.cell_triangles(screen, jnp.arange(2)[:, None])
    values = jnp.stack([*(jnp.moveaxis(plane, 2, 1) for corner in corners for plane in corner), *ends], 1)
    # A block's numbers in eight sublanes, those of eight blocks side by side.
    laid = blocks.laid_out(_filled(values, _NUMBERS)).reshape(len(values), _NUMBERS, -1, _LANES // _NUMBERS, _BLOCK)
    numbers = jnp.transpose(laid, (0, 2, 4, 3, 1)).reshape(len(values), -1, *_REGISTER)
    dtypes = screen[0].dtype, jnp.int32
    depth, number = blocks.call(
        _draw,
        tiles,
        [(numbers, blocks.of_chunk(_LANES // _NUMBERS))],
        [(blocks.of_image(_LANES), (blocks.tiles, _LANES), dtype) for dtype in dtypes],
        name="visible_triangles",
        scratch_shapes=[pltpu.VMEM((blocks.tiles, *_REGISTER), dtype) for dtype in dtypes],
    )
    return blocks.untiled(depth), blocks.untiled(number)


def _values(values: Array, triangle: Array, screen: Screen) -> Float[Array, "b k n m"]:
    batch, quantities, *_ = values.shape
    blocks = _Blocks(screen[0].shape[1:], triangle.shape[1:])
    laid = blocks.laid_out(_filled(values, _SUBLANES)).reshape(batch, _SUBLANES, -1, _LANES)
    triangles = blocks.tiled(triangle, fill=-1)
    inputs = [(triangles, blocks.of_image(_LANES)), (jnp.swapaxes(laid, 1, 2), blocks.of_chunk(_LANES // _BLOCK))]
    output = blocks.of_image(), (blocks.tiles, *_REGISTER), values.dtype
    (out,) = blocks.call(_fetch, blocks.reach(screen)[1], inputs, [output], name="values_at_samples")
    tiles = jnp.moveaxis(out, 2, 1)[:, :quantities].reshape(-1, blocks.tiles, _LANES)
    return blocks.untiled(tiles).reshape(batch, quantities, *triangle.shape[1:])


def _sums(values: Array, triangle: Array, screen: Screen) -> Float[Array, "b k 2 r c"]:
    batch, quantities, *_ = values.shape
    blocks = _Blocks(screen[0].shape[1:], triangle.shape[1:])
    tiles = blocks.tiled(_filled(values, _SUBLANES).reshape(-1, *triangle.shape[1:]), fill=0)
    tiles = jnp.swapaxes(tiles.reshape(batch, _SUBLANES, blocks.tiles, _LANES), 1, 2)
    inputs = [(blocks.tiled(triangle, fill=-1), blocks.of_image(_LANES)), (tiles, blocks.of_image())]
    registers = blocks.chunks * blocks.chunk_blocks * _BLOCK // _LANES
    output = blocks.of_chunk(_LANES // _BLOCK), (registers, *_REGISTER), values.dtype
    (out,) = blocks.call(_sum, blocks.reach(screen)[1], inputs, [output], name="sums_over_samples")
    laid = jnp.swapaxes(out, 1, 2)[:, :quantities].reshape(batch, quantities, -1, blocks.columns, 2)
    return jnp.moveaxis(laid, -1, 2)[..., : blocks.cells[0], : blocks.cells[1]]


def _filled(values: Array, count: int) -> Array:
    """Returns the values padded with zeros to `count` along axis 1."""
    return jnp.pad(values, [(0, 0), (0, count - values.shape[1])] + [(0, 0)] * (values.ndim - 2))


def _visit(
    reached: Any,
    registers: int,
    together: int,
    visit: Callable[[Array, Array, Array, list[_Place], bool], None],
    *,
    unroll: bool,
) -> None:
    """Calls `visit` for every block of a chunk: with its four nearest tiles, and with each other one that it reaches.

    `visit` takes the register, of which each holds some blocks `together`, the block's place in it, the block, tiles,
    and whether blocks come in order. Unrolled over a register's blocks, one can begin before the last is done.
    """

    def near(register: Array, k: Array) -> None:
        block = register * together + k
        first = reached[0, 0, 0, block], reached[0, 0, 1, block]
        tiles = [(first[0] + k % _NEAR, first[1] + k // _NEAR) for k in range(_NEAR**2)]
        visit(register, k, block, tiles, True)

    def beyond(register: Array, k: Array) -> None:
        block = register * together + k
        first, last = ([reached[0, 0, at + axis, block] for axis in range(2)] for at in (0, 2))

        def line(down: Array, _: None) -> None:
            def tile(across: Array, _: None) -> None:
                @pl.when((across - first[0] >= _NEAR) | (down - first[1] >= _NEAR))
                def another() -> None:
                    visit(register, k, block, [(across, down)], False)

            lax.fori_loop(first[0], last[0] + 1, tile, None)

        @pl.when(reached[0, 0, 4, block] > 0)
        def _() -> None:
            lax.fori_loop(first[1], last[1] + 1, line, None)

    def visit_register(register: Array, _: None) -> None:
        lax.fori_loop(0, together, lambda k, _: near(register, k), None, unroll=unroll)
        flags = [reached[0, 0, 4, register * together + k] for k in range(together)]

        @pl.when(functools.reduce(jnp.maximum, flags) > 0)
        def rest() -> None:
            lax.fori_loop(0, together, lambda k, _: beyond(register, k), None)

    lax.fori_loop(0, registers, visit_register, None)


def _columns(register: Array, k: Array, width: int, count: int) -> list[Array]:
    """Returns the first of the `width` columns of a register's block k, each broadcast to all lanes."""
    turned = pltpu.roll(register, (_LANES - k * width) & (_LANES - 1), 1)
    return [jnp.broadcast_to(turned[:, column : column + 1], _REGISTER) for column in range(count)]


def _fill(ref: Any, count: int, value: Any) -> None:
    """Fills registers with a value."""

    def fill(place: Array, _: None) -> None:
        ref[place] = jnp.full(_REGISTER, value, ref.dtype)

    lax.fori_loop(0, count, fill, None)


def _draw(
    reached: Any,
    numbers: Any,
    depth_out: Any,
    number_out: Any,
    depths: Any,
    ids: Any,
    *,
    blocks: _Blocks,
    unroll: bool,
) -> None:
    """Draws a chunk of an image's triangles; after the last chunk, writes the image."""
    chunk = pl.program_id(1)
    lane = lax.broadcasted_iota(jnp.int32, _REGISTER, 1)
    in_tile = [part.astype(numbers.dtype) for part in (lane & (_TILE[0] - 1), lane >> (_TILE[0].bit_length() - 1))]
    triangle = lax.broadcasted_iota(jnp.int32, _REGISTER, 0)
    in_block = (triangle >> 1) + (triangle & 1) * (blocks.cells[0] * blocks.cells[1])

    @pl.when(chunk == 0)
    def begin() -> None:
        _fill(depths, blocks.tiles, jnp.inf)
        _fill(ids, blocks.tiles, visibility.NONE)

    def visit(register: Array, k: Array, block: Array, tiles: list[_Place], in_order: bool) -> None:
        columns = _columns(numbers[0, register], k, _NUMBERS, _STORED)
        row, column = blocks.place(block, chunk)
        number = in_block + (row * blocks.cells[1] + column)
        for across, down in tiles:
            x, y = (part + (tile * n).astype(part.dtype) for part, tile, n in zip(in_tile, (across, down), _TILE))
            covered, weighted, weight = visibility.coverage(
                [corner - x for corner in columns[0:9:3]], [corner - y for corner in columns[1:9:3]], columns[2:9:3]
            )
            covered &= (x >= columns[9]) & (x <= columns[10]) & (y >= columns[11]) & (y <= columns[12])
            depth = visibility.depth_of(covered, weighted, weight)
            tile = down * blocks.across + across
            before, name = depths[tile], ids[tile]
            wins = depth < before
            if not in_order:
                wins |= covered & (depth == before) & (number < name)
            depths[tile] = jnp.where(wins, depth, before)
            ids[tile] = jnp.where(wins, number, name)

    _visit(reached, numbers.shape[1], _LANES // _NUMBERS, visit, unroll=unroll)

    @pl.when(chunk == blocks.chunks - 1)
    def finish() -> None:
        def write(tile: Array, _: None) -> None:
            depth, name = depths[tile], ids[tile]
            nearest = jnp.min(depth, 0, keepdims=True)
            lowest = jnp.min(jnp.where(depth == nearest, name, visibility.NONE), 0, keepdims=True)
            depth_out[0, pl.ds(tile, 1), :] = nearest
            number_out[0, pl.ds(tile, 1), :] = jnp.where(lowest == visibility.NONE, -1, lowest)

        lax.fori_loop(0, blocks.tiles, write, None)


def _names(block: Array, chunk: Array, blocks: _Blocks) -> list[Array]:
    """Returns the numbers of a block's triangles; -2 for padding."""
    row, column = blocks.place(block, chunk)
    numbers = []
    for k in range(_BLOCK):
        exists = (column + k // 2 < blocks.cells[1]) & (row < blocks.cells[0])
        number = k % 2 * blocks.cells[0] * blocks.cells[1] + row * blocks.cells[1] + column + k // 2
        numbers.append(jnp.where(exists, number, -2))
    return numbers


def _fetch(reached: Any, triangles: Any, values: Any, out: Any, *, blocks: _Blocks, unroll: bool) -> None:
    """Writes the values of a chunk's triangles to the samples that see them."""
    chunk = pl.program_id(1)

    @pl.when(chunk == 0)
    def _() -> None:
        _fill(out.at[0], blocks.tiles, 0)

    def visit(register: Array, k: Array, block: Array, tiles: list[_Place], in_order: bool) -> None:
        columns, numbers = _columns(values[0, register], k, _BLOCK, _BLOCK), _names(block, chunk, blocks)
        for across, down in tiles:
            tile = down * blocks.across + across
            names = jnp.broadcast_to(triangles[0, pl.ds(tile, 1), :], _REGISTER)
            result = out[0, tile]
            for column, number in zip(columns, numbers, strict=True):
                result = jnp.where(names == number, column, result)
            out[0, tile] = result

    _visit(reached, values.shape[1], _LANES // _BLOCK, visit, unroll=unroll)


def _sum(reached: Any, triangles: Any, values: Any, out: Any, *, blocks: _Blocks, unroll: bool) -> None:
    """Adds up the values of the samples that see a chunk's triangles."""
    chunk = pl.program_id(1)
    lane = lax.broadcasted_iota(jnp.int32, _REGISTER, 1)
    _fill(out.at[0], out.shape[1], 0)

    def visit(register: Array, k: Array, block: Array, tiles: list[_Place], in_order: bool) -> None:
        sums, numbers = [jnp.zeros(_REGISTER, out.dtype)] * _BLOCK, _names(block, chunk, blocks)
        for across, down in tiles:
            tile = down * blocks.across + across
            names, value = jnp.broadcast_to(triangles[0, pl.ds(tile, 1), :], _REGISTER), values[0, tile]
            sums = [total + jnp.where(names == number, value, 0) for total, number in zip(sums, numbers, strict=True)]
        result = out[0, register]
        for t, total in enumerate(sums):  # over all lanes, into the block's lanes
            result = jnp.where(lane == k * _BLOCK + t, result + jnp.sum(total, 1, keepdims=True), result)
        out[0, register] = result

    _visit(reached, out.shape[1], _LANES // _BLOCK, visit, unroll=unroll)
