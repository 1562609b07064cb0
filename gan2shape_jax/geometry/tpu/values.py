"""Values of the triangles that samples see and, as the transpose, sums over the samples seeing a triangle; for TPU.

On a TPU, gathers and scatters process one number after another. Here a block's triangles are compared with what the
samples of a tile see, for up to eight values at once, one per sublane.
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
from gan2shape_jax.geometry.tpu.blocks import BLOCK, LANES, NEAR, SUBLANES, Blocks, result_like

__all__ = ["sums_over_samples", "values_at_samples"]

_TOGETHER = LANES // BLOCK  # blocks per register
_REGISTER = (SUBLANES, LANES)


def values_at_samples(
    values: Float[Array, "b k 2 r c"],
    triangle: Int[Array, "b n n"],
    screen: visibility.Screen,
    *,
    interpret: bool = False,
    unroll: bool | None = None,
) -> Float[Array, "b k n n"]:
    """Returns the values of each sample's triangle, 0 where there is none; up to eight per triangle.

    Args:
      values: values of the triangles by kind, row and column of their cell.
      triangle: the triangle each sample sees, from `visibility.visible_triangles`.
      screen: the vertices it was found with.
      interpret: whether to interpret the kernel, which is slow but runs anywhere.
      unroll: whether to unroll the loop over a register's blocks; None unrolls it unless the kernel is interpreted.
    """
    batch, wanted, *_ = values.shape
    blocks = Blocks(screen[0].shape[-1], triangle.shape[-1])
    laid = blocks.laid_out(_filled(values, 1)).reshape(batch, SUBLANES, -1, LANES)
    out = pl.pallas_call(
        functools.partial(_fetch, blocks=blocks, unroll=not interpret if unroll is None else unroll),
        out_specs=pl.BlockSpec((1, blocks.tiles, *_REGISTER), lambda i, c: (i, 0, 0, 0)),
        out_shape=result_like(values, (batch, blocks.tiles, *_REGISTER), values.dtype),
        interpret=interpret,
        name="values_at_samples",
        **_specs(blocks, batch, pl.BlockSpec((1, _registers(blocks), *_REGISTER), lambda i, c: (i, c, 0, 0))),
    )(blocks.reach(screen).tiles, _seen(triangle, blocks), jnp.swapaxes(laid, 1, 2))
    tiles = jnp.moveaxis(out, 2, 1)[:, :wanted].reshape(-1, blocks.tiles, LANES)
    return blocks.untiled(tiles).reshape(batch, wanted, *triangle.shape[1:])


def sums_over_samples(
    values: Float[Array, "b k n n"],
    triangle: Int[Array, "b n n"],
    screen: visibility.Screen,
    *,
    interpret: bool = False,
    unroll: bool | None = None,
) -> Float[Array, "b k 2 r c"]:
    """Sums, for each triangle, the values of the samples that see it; up to eight values per sample.

    The transpose of `values_at_samples`, with the same arguments except that `values` belong to samples.
    """
    batch, wanted, *_ = values.shape
    blocks = Blocks(screen[0].shape[-1], triangle.shape[-1])
    tiles = blocks.tiled(_filled(values, 1).reshape(-1, *triangle.shape[1:]), fill=0)
    tiles = jnp.swapaxes(tiles.reshape(batch, SUBLANES, blocks.tiles, LANES), 1, 2)
    out = pl.pallas_call(
        functools.partial(_sum, blocks=blocks, unroll=not interpret if unroll is None else unroll),
        out_specs=pl.BlockSpec((1, _registers(blocks), *_REGISTER), lambda i, c: (i, c, 0, 0)),
        out_shape=result_like(values, (batch, blocks.chunks * _registers(blocks), *_REGISTER), values.dtype),
        interpret=interpret,
        name="sums_over_samples",
        **_specs(blocks, batch, pl.BlockSpec((1, blocks.tiles, *_REGISTER), lambda i, c: (i, 0, 0, 0))),
    )(blocks.reach(screen).tiles, _seen(triangle, blocks), tiles)
    laid = jnp.swapaxes(out, 1, 2)[:, :wanted]
    return blocks.taken_back(laid.reshape(batch, wanted, -1, blocks.columns, 2))


def _registers(blocks: Blocks) -> int:
    return blocks.chunk_blocks // _TOGETHER


def _filled(values: Array, axis: int) -> Array:
    """Returns the values padded with zeros to eight along an axis."""
    room = [(0, 0)] * values.ndim
    room[axis] = (0, SUBLANES - values.shape[axis])
    return jnp.pad(values, room)


def _seen(triangle: Array, blocks: Blocks) -> Array:
    return blocks.tiled(triangle, fill=-1)


def _specs(blocks: Blocks, batch: int, values: pl.BlockSpec) -> dict[str, Any]:
    return {
        "grid": (batch, blocks.chunks),
        "in_specs": [
            pl.BlockSpec((1, 1, 5, blocks.chunk_blocks), lambda i, c: (i, c, 0, 0), memory_space=pltpu.SMEM),
            pl.BlockSpec((1, blocks.tiles, LANES), lambda i, c: (i, 0, 0)),
            values,
        ],
        "compiler_params": pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=blocks.memory_limit(3)
        ),
    }


def _numbers(block: Array, chunk: Array, blocks: Blocks) -> list[Array]:
    """Returns the numbers of a block's triangles; -2 for padding."""
    row, column = blocks.place(block, chunk)
    numbers = []
    for k in range(BLOCK):
        exists = (column + k // 2 < blocks.cells) & (row < blocks.cells)
        number = k % 2 * blocks.cells**2 + row * blocks.cells + column + k // 2
        numbers.append(jnp.where(exists, number, -2))
    return numbers


def _tiles(reached: Any, block: Array, blocks: Blocks, visit: Callable[[Array], None]) -> None:
    """Calls `visit` with the tiles that a block reaches beyond the four of `_near`."""
    first, last = ([reached[0, 0, at + axis, block] for axis in range(2)] for at in (0, 2))

    def line(down: Array, _: None) -> None:
        def tile(across: Array, _: None) -> None:
            @pl.when((across - first[0] >= NEAR) | (down - first[1] >= NEAR))
            def another() -> None:
                visit(down * blocks.across + across)

        lax.fori_loop(first[0], last[0] + 1, tile, None)

    @pl.when(reached[0, 0, 4, block] > 0)
    def _() -> None:
        lax.fori_loop(first[1], last[1] + 1, line, None)


def _all(step: Callable[[Array | int, Array], Array], state: Array, *, unroll: bool) -> Array:
    """Processes a register's blocks; unrolled, the processor can begin one before the previous is done."""
    if unroll:
        for k in range(_TOGETHER):
            state = step(k, state)
        return state
    last: Array = lax.fori_loop(0, _TOGETHER, step, state)
    return last


def _farther(reached: Any, position: Array) -> Array:
    """Returns whether any block of a register reaches beyond its four tiles."""
    flags = [reached[0, 0, 4, position * _TOGETHER + k] for k in range(_TOGETHER)]
    farther: Array = functools.reduce(jnp.maximum, flags) > 0
    return farther


def _near(reached: Any, block: Array, blocks: Blocks) -> list[Array]:
    """Returns the four tiles of a block that are processed unconditionally."""
    first = reached[0, 0, 0, block], reached[0, 0, 1, block]
    return [(first[1] + k // NEAR) * blocks.across + first[0] + k % NEAR for k in range(NEAR**2)]


def _fetch(reached: Any, seen: Any, values: Any, out: Any, *, blocks: Blocks, unroll: bool) -> None:
    """Writes the values of a chunk's triangles to the samples that see them."""
    chunk = pl.program_id(1)

    @pl.when(chunk == 0)
    def _() -> None:
        def clear(tile: Array, _: None) -> None:
            out[0, tile] = jnp.zeros(_REGISTER, out.dtype)

        lax.fori_loop(0, blocks.tiles, clear, None)

    def put(columns: list[Array], numbers: list[Array], tile: Array) -> None:
        names = jnp.broadcast_to(seen[0, pl.ds(tile, 1), :], _REGISTER)
        result = out[0, tile]
        for column, number in zip(columns, numbers, strict=True):
            result = jnp.where(names == number, column, result)
        out[0, tile] = result

    def columns_of(loaded: Array, at: int = 0) -> list[Array]:
        return [jnp.broadcast_to(loaded[:, t : t + 1], _REGISTER) for t in range(at, at + BLOCK)]

    def nearby(position: Array, k: Array | int, loaded: Array) -> Array:
        block = position * _TOGETHER + k
        columns = columns_of(loaded, k * BLOCK if isinstance(k, int) else 0)
        numbers = _numbers(block, chunk, blocks)
        for tile in _near(reached, block, blocks):
            put(columns, numbers, tile)
        return loaded if isinstance(k, int) else pltpu.roll(loaded, LANES - BLOCK, 1)

    def everywhere(position: Array, k: Array, loaded: Array) -> Array:
        block = position * _TOGETHER + k
        columns, numbers = columns_of(loaded), _numbers(block, chunk, blocks)
        _tiles(reached, block, blocks, functools.partial(put, columns, numbers))
        return pltpu.roll(loaded, LANES - BLOCK, 1)

    def register(position: Array, _: None) -> None:
        loaded = values[0, position]
        _all(functools.partial(nearby, position), loaded, unroll=unroll)

        @pl.when(_farther(reached, position))
        def beyond() -> None:
            lax.fori_loop(0, _TOGETHER, functools.partial(everywhere, position), loaded)

    lax.fori_loop(0, values.shape[1], register, None)


def _sum(reached: Any, seen: Any, values: Any, out: Any, *, blocks: Blocks, unroll: bool) -> None:
    """Adds up the values of the samples that see a chunk's triangles."""
    chunk = pl.program_id(1)
    lane = lax.broadcasted_iota(jnp.int32, _REGISTER, 1)

    def added(sums: list[Array], numbers: list[Array], tile: Array) -> list[Array]:
        names, value = jnp.broadcast_to(seen[0, pl.ds(tile, 1), :], _REGISTER), values[0, tile]
        return [one + jnp.where(names == number, value, 0) for one, number in zip(sums, numbers, strict=True)]

    def placed(result: Array, sums: list[Array], k: Array | int) -> Array:
        """Returns the result with the sums of a block's triangles, over all lanes, in the block's lanes."""
        for t, one in enumerate(sums):
            result = jnp.where(lane == k * BLOCK + t, result + jnp.sum(one, 1, keepdims=True), result)
        return result

    def nearby(position: Array, k: Array | int, result: Array) -> Array:
        block = position * _TOGETHER + k
        sums, numbers = [jnp.zeros(_REGISTER, out.dtype)] * BLOCK, _numbers(block, chunk, blocks)
        for tile in _near(reached, block, blocks):
            sums = added(sums, numbers, tile)
        return placed(result, sums, k)

    def everywhere(position: Array, k: Array, _: None) -> None:
        block = position * _TOGETHER + k
        numbers = _numbers(block, chunk, blocks)

        def visit(tile: Array) -> None:
            sums = added([jnp.zeros(_REGISTER, out.dtype)] * BLOCK, numbers, tile)
            out[0, position] = placed(out[0, position], sums, k)

        _tiles(reached, block, blocks, visit)

    def register(position: Array, _: None) -> None:
        result = jnp.zeros(_REGISTER, out.dtype)
        out[0, position] = _all(functools.partial(nearby, position), result, unroll=unroll)

        @pl.when(_farther(reached, position))
        def beyond() -> None:
            lax.fori_loop(0, _TOGETHER, functools.partial(everywhere, position), None)

    lax.fori_loop(0, out.shape[1], register, None)
