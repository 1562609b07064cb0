"""Which triangle each sample sees, values of the triangles that samples see, and their transpose; kernels for TPU.

Eight triangles, one per sublane, are tested at the 128 samples of a tile at once, and each sublane has its own z-buffer
in fast memory, so that nothing collides; at the end the eight are compared. Rules and arithmetic are those of
`geometry.visibility`: the nearest triangle wins, and among equally near ones the one with the lowest number. To look up
values, a block's triangles are compared with what the samples of a tile see, for up to eight values at once, one per
sublane.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.tpu.blocks import BLOCK, LANES, NEAR, SUBLANES, TILE, Blocks, Reach, result_like

__all__ = ["sums_over_samples", "values_at_samples", "visible_triangles"]

_REGISTER = (SUBLANES, LANES)
# Numbers stored per triangle: x, y and 1 / z of three corners and the ends of its box; the rest are zeros.
_STORED, _NUMBERS = 13, 16
_Tile = tuple[Array, Array]  # across, down


def visible_triangles(
    *screen: Float[Array, "b s s"], count: int, far: float, interpret: bool
) -> tuple[Float[Array, "b n n"], Int[Array, "b n n"]]:
    """Returns what `geometry.visibility.visible_triangles` does.

    Args:
      *screen: x, y and 1 / z of the vertices.
      count: samples along a side.
      far: depth where there is nothing.
      interpret: whether to interpret the kernel, here and below: slow, but runs anywhere.
    """
    x, y, inverse = screen
    blocks = Blocks(x.shape[-1], count)
    reach = blocks.reach((x, y, inverse))
    dtypes = x.dtype, jnp.int32
    depth, number = pl.pallas_call(
        functools.partial(_draw, blocks=blocks, far=far, unroll=not interpret),
        out_specs=[pl.BlockSpec((1, blocks.tiles, LANES), lambda i, c: (i, 0, 0))] * 2,
        out_shape=[result_like(x, (x.shape[0], blocks.tiles, LANES), dtype) for dtype in dtypes],
        scratch_shapes=[pltpu.VMEM((blocks.tiles, *_REGISTER), dtype) for dtype in dtypes],
        interpret=interpret,
        name="visible_triangles",
        **_options(blocks, x.shape[0], [_of_chunk(blocks, LANES // _NUMBERS)]),
    )(reach.tiles, _numbers((x, y, inverse), reach, blocks))
    return blocks.untiled(depth), blocks.untiled(number)


def values_at_samples(
    values: Float[Array, "b k 2 r c"], triangle: Int[Array, "b n n"], *screen: Float[Array, "b s s"], interpret: bool
) -> tuple[Float[Array, "b k n n"]]:
    """Returns the values of each sample's triangle, 0 where there is none; up to eight per triangle.

    Args:
      values: values of the triangles by kind, row and column of their cell.
      triangle: the triangle each sample sees, from `visible_triangles`.
      *screen: the vertices it was found with.
      interpret: as above.
    """
    batch, wanted, *_ = values.shape
    blocks = Blocks(screen[0].shape[-1], triangle.shape[-1])
    laid = blocks.laid_out(_filled(values)).reshape(batch, SUBLANES, -1, LANES)
    out = pl.pallas_call(
        functools.partial(_fetch, blocks=blocks, unroll=not interpret),
        out_specs=_of_image(blocks),
        out_shape=result_like(values, (batch, blocks.tiles, *_REGISTER), values.dtype),
        interpret=interpret,
        name="values_at_samples",
        **_options(blocks, batch, [_of_samples(blocks), _of_chunk(blocks, LANES // BLOCK)]),
    )(_tiles(screen, blocks), blocks.tiled(triangle, fill=-1), jnp.swapaxes(laid, 1, 2))
    tiles = jnp.moveaxis(out, 2, 1)[:, :wanted].reshape(-1, blocks.tiles, LANES)
    return (blocks.untiled(tiles).reshape(batch, wanted, *triangle.shape[1:]),)


def sums_over_samples(
    values: Float[Array, "b k n n"], triangle: Int[Array, "b n n"], *screen: Float[Array, "b s s"], interpret: bool
) -> tuple[Float[Array, "b k 2 r c"]]:
    """Sums, for each triangle, the values of the samples that see it; up to eight values per sample.

    The transpose of `values_at_samples`, with the same arguments except that `values` belong to samples.
    """
    batch, wanted, *_ = values.shape
    blocks = Blocks(screen[0].shape[-1], triangle.shape[-1])
    tiles = blocks.tiled(_filled(values).reshape(-1, *triangle.shape[1:]), fill=0)
    registers = blocks.chunk_blocks * BLOCK // LANES
    out = pl.pallas_call(
        functools.partial(_sum, blocks=blocks, unroll=not interpret),
        out_specs=_of_chunk(blocks, LANES // BLOCK),
        out_shape=result_like(values, (batch, blocks.chunks * registers, *_REGISTER), values.dtype),
        interpret=interpret,
        name="sums_over_samples",
        **_options(blocks, batch, [_of_samples(blocks), _of_image(blocks)]),
    )(
        _tiles(screen, blocks),
        blocks.tiled(triangle, fill=-1),
        jnp.swapaxes(tiles.reshape(batch, SUBLANES, blocks.tiles, LANES), 1, 2),
    )
    laid = jnp.swapaxes(out, 1, 2)[:, :wanted]
    return (blocks.taken_back(laid.reshape(batch, wanted, -1, blocks.columns, 2)),)


def _options(blocks: Blocks, batch: int, inputs: list[pl.BlockSpec]) -> dict[str, Any]:
    """Returns what all kernels have: a grid of images and chunks, and the tiles that blocks reach as first input."""
    tiles = pl.BlockSpec((1, 1, 5, blocks.chunk_blocks), lambda i, c: (i, c, 0, 0), memory_space=pltpu.SMEM)
    return {
        "grid": (batch, blocks.chunks),
        "in_specs": [tiles, *inputs],
        "compiler_params": pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=blocks.memory_limit(3)
        ),
    }


def _of_chunk(blocks: Blocks, together: int) -> pl.BlockSpec:
    """Returns the specification of registers of a chunk's triangles, `together` blocks in each."""
    return pl.BlockSpec((1, blocks.chunk_blocks // together, *_REGISTER), lambda i, c: (i, c, 0, 0))


def _of_image(blocks: Blocks) -> pl.BlockSpec:
    return pl.BlockSpec((1, blocks.tiles, *_REGISTER), lambda i, c: (i, 0, 0, 0))


def _of_samples(blocks: Blocks) -> pl.BlockSpec:
    return pl.BlockSpec((1, blocks.tiles, LANES), lambda i, c: (i, 0, 0))


def _tiles(screen: tuple[Array, ...], blocks: Blocks) -> Array:
    x, y, inverse = screen
    return blocks.reach((x, y, inverse)).tiles


def _filled(values: Array) -> Array:
    """Returns the values padded with zeros to eight along axis 1."""
    return jnp.pad(values, [(0, 0), (0, SUBLANES - values.shape[1])] + [(0, 0)] * (values.ndim - 2))


def _numbers(screen: visibility.Screen, reach: Reach, blocks: Blocks) -> Float[Array, "b registers 8 128"]:
    """Returns the numbers of all triangles: a block's in eight sublanes, those of eight blocks side by side."""
    corners = visibility.cell_triangles(screen, jnp.arange(2)[:, None])
    planes = [jnp.moveaxis(plane, 2, 1) for corner in corners for plane in corner]
    values = jnp.stack([*planes, *reach.ends], 1)
    values = jnp.pad(values, ((0, 0), (0, _NUMBERS - values.shape[1]), *[(0, 0)] * 3))
    laid = blocks.laid_out(values).reshape(values.shape[0], _NUMBERS, -1, LANES // _NUMBERS, BLOCK)
    return jnp.transpose(laid, (0, 2, 4, 3, 1)).reshape(values.shape[0], -1, *_REGISTER)


def _visit(
    reached: Any,
    registers: int,
    together: int,
    visit: Callable[[Array, Array, Array, list[_Tile], bool], None],
    *,
    unroll: bool,
) -> None:
    """Calls `visit` for every block of a chunk: with its four nearest tiles, and with each other one that it reaches.

    Args:
      reached: tiles that blocks reach, see `Reach`.
      registers: registers that hold the chunk's triangles.
      together: blocks per register.
      visit: takes the register, the block's place in it, the block, tiles, and whether blocks come in order.
      unroll: whether to unroll the loop over a register's blocks: the processor can begin one before the last is done.
    """

    def nearest(block: Array) -> list[_Tile]:
        return [(reached[0, 0, 0, block] + k % NEAR, reached[0, 0, 1, block] + k // NEAR) for k in range(NEAR**2)]

    def near(register: Array, k: Array) -> None:
        block = register * together + k
        visit(register, k, block, nearest(block), True)

    def beyond(register: Array, k: Array) -> None:
        block = register * together + k
        first, last = ([reached[0, 0, at + axis, block] for axis in range(2)] for at in (0, 2))

        def line(down: Array, _: None) -> None:
            def tile(across: Array, _: None) -> None:
                @pl.when((across - first[0] >= NEAR) | (down - first[1] >= NEAR))
                def another() -> None:
                    visit(register, k, block, [(across, down)], False)

            lax.fori_loop(first[0], last[0] + 1, tile, None)

        @pl.when(reached[0, 0, 4, block] > 0)
        def _() -> None:
            lax.fori_loop(first[1], last[1] + 1, line, None)

    def one(register: Array, _: None) -> None:
        lax.fori_loop(0, together, lambda k, _: near(register, k), None, unroll=unroll)
        flags = [reached[0, 0, 4, register * together + k] for k in range(together)]

        @pl.when(functools.reduce(jnp.maximum, flags) > 0)
        def rest() -> None:
            lax.fori_loop(0, together, lambda k, _: beyond(register, k), None)

    lax.fori_loop(0, registers, one, None)


def _columns(register: Array, k: Array, width: int, count: int) -> list[Array]:
    """Returns the first of the `width` columns of a register's block k, each broadcast to all lanes."""
    turned = pltpu.roll(register, (LANES - k * width) & (LANES - 1), 1)
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
    blocks: Blocks,
    far: float,
    unroll: bool,
) -> None:
    """Draws a chunk of an image's triangles; after the last chunk, writes the image."""
    chunk = pl.program_id(1)
    lane = lax.broadcasted_iota(jnp.int32, _REGISTER, 1)
    in_tile = [part.astype(numbers.dtype) for part in (lane & (TILE[0] - 1), lane >> (TILE[0].bit_length() - 1))]
    triangle = lax.broadcasted_iota(jnp.int32, _REGISTER, 0)
    in_block = (triangle >> 1) + (triangle & 1) * blocks.cells**2

    @pl.when(chunk == 0)
    def begin() -> None:
        _fill(depths, blocks.tiles, far)
        _fill(ids, blocks.tiles, visibility.NONE)

    def visit(register: Array, k: Array, block: Array, tiles: list[_Tile], in_order: bool) -> None:
        columns = _columns(numbers[0, register], k, _NUMBERS, _STORED)
        row, column = blocks.place(block, chunk)
        number = in_block + (row * blocks.cells + column)
        for across, down in tiles:
            x, y = (part + (tile * n).astype(part.dtype) for part, tile, n in zip(in_tile, (across, down), TILE))
            covered, weighted, weight = visibility.coverage(
                [corner - x for corner in columns[0:9:3]], [corner - y for corner in columns[1:9:3]], columns[2:9:3]
            )
            covered &= (x >= columns[9]) & (x <= columns[10]) & (y >= columns[11]) & (y <= columns[12])
            depth = visibility.depth_of(covered, weighted, weight)
            tile = down * blocks.across + across
            before, name = depths[tile], ids[tile]
            wins = depth < before
            if not in_order:
                wins |= (depth == before) & (number < name)
            depths[tile] = jnp.where(wins, depth, before)
            ids[tile] = jnp.where(wins, number, name)

    _visit(reached, numbers.shape[1], LANES // _NUMBERS, visit, unroll=unroll)

    @pl.when(chunk == blocks.chunks - 1)
    def finish() -> None:
        def write(tile: Array, _: None) -> None:
            depth, name = depths[tile], ids[tile]
            nearest = jnp.min(depth, 0, keepdims=True)
            lowest = jnp.min(jnp.where(depth == nearest, name, visibility.NONE), 0, keepdims=True)
            depth_out[0, pl.ds(tile, 1), :] = nearest
            number_out[0, pl.ds(tile, 1), :] = jnp.where(lowest == visibility.NONE, -1, lowest)

        lax.fori_loop(0, blocks.tiles, write, None)


def _names(block: Array, chunk: Array, blocks: Blocks) -> list[Array]:
    """Returns the numbers of a block's triangles; -2 for padding."""
    row, column = blocks.place(block, chunk)
    numbers = []
    for k in range(BLOCK):
        exists = (column + k // 2 < blocks.cells) & (row < blocks.cells)
        number = k % 2 * blocks.cells**2 + row * blocks.cells + column + k // 2
        numbers.append(jnp.where(exists, number, -2))
    return numbers


def _fetch(reached: Any, seen: Any, values: Any, out: Any, *, blocks: Blocks, unroll: bool) -> None:
    """Writes the values of a chunk's triangles to the samples that see them."""
    chunk = pl.program_id(1)

    @pl.when(chunk == 0)
    def _() -> None:
        _fill(out.at[0], blocks.tiles, 0)

    def visit(register: Array, k: Array, block: Array, tiles: list[_Tile], in_order: bool) -> None:
        columns, numbers = _columns(values[0, register], k, BLOCK, BLOCK), _names(block, chunk, blocks)
        for across, down in tiles:
            tile = down * blocks.across + across
            names = jnp.broadcast_to(seen[0, pl.ds(tile, 1), :], _REGISTER)
            result = out[0, tile]
            for column, number in zip(columns, numbers, strict=True):
                result = jnp.where(names == number, column, result)
            out[0, tile] = result

    _visit(reached, values.shape[1], LANES // BLOCK, visit, unroll=unroll)


def _sum(reached: Any, seen: Any, values: Any, out: Any, *, blocks: Blocks, unroll: bool) -> None:
    """Adds up the values of the samples that see a chunk's triangles."""
    chunk = pl.program_id(1)
    lane = lax.broadcasted_iota(jnp.int32, _REGISTER, 1)
    _fill(out.at[0], out.shape[1], 0)

    def visit(register: Array, k: Array, block: Array, tiles: list[_Tile], in_order: bool) -> None:
        sums, numbers = [jnp.zeros(_REGISTER, out.dtype)] * BLOCK, _names(block, chunk, blocks)
        for across, down in tiles:
            tile = down * blocks.across + across
            names, value = jnp.broadcast_to(seen[0, pl.ds(tile, 1), :], _REGISTER), values[0, tile]
            sums = [one + jnp.where(names == number, value, 0) for one, number in zip(sums, numbers, strict=True)]
        result = out[0, register]
        for t, one in enumerate(sums):  # over all lanes, into the block's lanes
            result = jnp.where(lane == k * BLOCK + t, result + jnp.sum(one, 1, keepdims=True), result)
        out[0, register] = result

    _visit(reached, out.shape[1], LANES // BLOCK, visit, unroll=unroll)
