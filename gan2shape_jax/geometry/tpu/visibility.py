"""Which triangle each sample sees, on a TPU: a z-buffer in fast memory that blocks of triangles are drawn into.

On a TPU, the scatters that `geometry.visibility` is built from process one update after another. Here eight triangles,
one per sublane, are tested at the 128 samples of a tile at once, and each sublane has its own z-buffer, so that nothing
collides; at the end the eight are compared. Rules and arithmetic are those of `geometry.visibility`: the nearest
triangle wins, and among equally near ones the one with the lowest number.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.tpu.blocks import BLOCK, LANES, NEAR, SUBLANES, TILE, Blocks, Reach, result_like

__all__ = ["visible_triangles"]

# Numbers stored per triangle: x, y and 1 / z of three corners and the ends of its box; the rest are zeros.
_NUMBERS = 16
_TOGETHER = LANES // _NUMBERS  # blocks whose numbers lie side by side in a register
_REGISTER = (SUBLANES, LANES)


def visible_triangles(
    screen: visibility.Screen, *, count: int, far: float, interpret: bool = False, unroll: bool | None = None
) -> tuple[Float[Array, "b n n"], Int[Array, "b n n"]]:
    """Returns what `geometry.visibility.visible_triangles` does.

    Args:
      screen: the vertices.
      count: samples along a side.
      far: depth where there is nothing.
      interpret: whether to interpret the kernel, which is slow but runs anywhere.
      unroll: whether to unroll the loop over a register's blocks; None unrolls it unless the kernel is interpreted.
    """
    batch, side, _ = screen[0].shape
    types = screen[0].dtype, jnp.int32
    blocks = Blocks(side, count)
    reach = blocks.reach(screen)
    depth, number = pl.pallas_call(
        functools.partial(_draw, blocks=blocks, far=far, unroll=not interpret if unroll is None else unroll),
        grid=(batch, blocks.chunks),
        in_specs=[
            pl.BlockSpec((1, 1, 5, blocks.chunk_blocks), lambda i, c: (i, c, 0, 0), memory_space=pltpu.SMEM),
            pl.BlockSpec((1, blocks.chunk_blocks // _TOGETHER, *_REGISTER), lambda i, c: (i, c, 0, 0)),
        ],
        out_specs=[pl.BlockSpec((1, blocks.tiles, LANES), lambda i, c: (i, 0, 0))] * 2,
        out_shape=[result_like(screen[0], (batch, blocks.tiles, LANES), dtype) for dtype in types],
        scratch_shapes=[pltpu.VMEM((blocks.tiles, *_REGISTER), dtype) for dtype in types],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=blocks.memory_limit(3)
        ),
        interpret=interpret,
        name="visible_triangles",
    )(reach.tiles, _numbers(screen, reach, blocks))
    return blocks.untiled(depth), blocks.untiled(number)


def _numbers(screen: visibility.Screen, reach: Reach, blocks: Blocks) -> Float[Array, "b registers 8 128"]:
    """Returns the numbers of all triangles: a block's in eight sublanes, those of eight blocks side by side."""
    corners = visibility.cell_triangles(screen, jnp.arange(2)[:, None])
    planes = [jnp.moveaxis(plane, 2, 1) for corner in corners for plane in corner]
    values = jnp.stack([*planes, *reach.ends], 1)
    values = jnp.pad(values, ((0, 0), (0, _NUMBERS - values.shape[1]), *[(0, 0)] * 3))
    laid = blocks.laid_out(values).reshape(values.shape[0], _NUMBERS, -1, _TOGETHER, BLOCK)
    return jnp.transpose(laid, (0, 2, 4, 3, 1)).reshape(values.shape[0], -1, *_REGISTER)


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
        def clear(tile: Array, _: None) -> None:
            depths[tile] = jnp.full(_REGISTER, far, depths.dtype)
            ids[tile] = jnp.full(_REGISTER, visibility.NONE, jnp.int32)

        lax.fori_loop(0, blocks.tiles, clear, None)

    def draw(columns: list[Array], number: Array, across: Array, down: Array, *, in_order: bool) -> None:
        """Draws a block into a tile; `in_order` means numbers arrive in increasing order."""
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

    def of_block(block: Array, values: Array, at: int = 0) -> tuple[list[Array], Array]:
        """Returns a block's stored numbers, from lane `at` on, broadcast to all lanes, and its triangles' numbers."""
        columns = [jnp.broadcast_to(values[:, k : k + 1], _REGISTER) for k in range(at, at + 13)]
        row, column = blocks.place(block, chunk)
        return columns, in_block + (row * blocks.cells + column)

    def nearby(position: Array, k: Array | int, values: Array) -> Array:
        """Draws a block into four tiles; in a rolled loop, also moves the next block's numbers to the front."""
        block = position * _TOGETHER + k
        columns, number = of_block(block, values, k * _NUMBERS if isinstance(k, int) else 0)
        for near in range(NEAR**2):
            across, down = reached[0, 0, 0, block] + near % NEAR, reached[0, 0, 1, block] + near // NEAR
            draw(columns, number, across, down, in_order=True)
        return values if isinstance(k, int) else pltpu.roll(values, LANES - _NUMBERS, 1)

    def everywhere(position: Array, k: Array, values: Array) -> Array:
        """Draws a block into all tiles it reaches, if it reaches farther than the four."""
        block = position * _TOGETHER + k
        first, last = ([reached[0, 0, at + axis, block] for axis in range(2)] for at in (0, 2))

        @pl.when(reached[0, 0, 4, block] > 0)
        def _() -> None:
            columns, number = of_block(block, values)

            def line(down: Array, _: None) -> None:
                def tile(across: Array, _: None) -> None:
                    draw(columns, number, across, down, in_order=False)

                lax.fori_loop(first[0], last[0] + 1, tile, None)

            lax.fori_loop(first[1], last[1] + 1, line, None)

        return pltpu.roll(values, LANES - _NUMBERS, 1)

    def register(position: Array, _: None) -> None:
        values = numbers[0, position]
        draw_nearby = functools.partial(nearby, position)
        if unroll:
            # Unrolled: the processor can begin a block before it is done with the previous one.
            for k in range(_TOGETHER):
                draw_nearby(k, values)
        else:
            lax.fori_loop(0, _TOGETHER, draw_nearby, values)
        farther = [reached[0, 0, 4, position * _TOGETHER + k] for k in range(_TOGETHER)]

        @pl.when(functools.reduce(jnp.maximum, farther) > 0)
        def beyond() -> None:
            lax.fori_loop(0, _TOGETHER, functools.partial(everywhere, position), values)

    lax.fori_loop(0, numbers.shape[1], register, None)

    @pl.when(chunk == blocks.chunks - 1)
    def finish() -> None:
        def write(tile: Array, _: None) -> None:
            depth, name = depths[tile], ids[tile]
            nearest = jnp.min(depth, 0, keepdims=True)
            lowest = jnp.min(jnp.where(depth == nearest, name, visibility.NONE), 0, keepdims=True)
            depth_out[0, pl.ds(tile, 1), :] = nearest
            number_out[0, pl.ds(tile, 1), :] = jnp.where(lowest == visibility.NONE, -1, lowest)

        lax.fori_loop(0, blocks.tiles, write, None)
