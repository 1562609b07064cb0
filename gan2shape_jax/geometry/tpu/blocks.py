"""How the triangles of a grid mesh are laid out in a TPU's registers: blocks of eight neighbours, and their tiles.

A register has 8 sublanes and 128 lanes. A block is four cells side by side, two triangles each: triangle k of cell c
is number 2 c + k of its block. Samples form tiles of 16 x 8, one sample per lane. Nearly every block reaches at most
two tiles across and two down, so kernels process four tiles unconditionally and visit the others only where a block
reaches farther. Rows are padded to whole registers, and the rows of an image to whole chunks, with triangles that reach
nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry import visibility

__all__ = ["BLOCK", "LANES", "NEAR", "SUBLANES", "TILE", "Blocks", "Reach", "result_like"]

SUBLANES = 8
LANES = 128
BLOCK = SUBLANES  # triangles per block
_CELLS = BLOCK // 2
# Samples per tile, across and down.
TILE = (16, 8)
# Tiles across and down that are processed unconditionally.
NEAR = 2
# Maximum blocks per chunk: a megabyte in fast memory, where eight share a register.
_CHUNK_BLOCKS = 2048
# Bytes of fast memory the compiler gives a kernel that does not request more: 16 MB, less what it needs itself.
_GIVEN = 12 * 2**20


@dataclasses.dataclass(frozen=True)
class Reach:
    """Which samples triangles and blocks may cover.

    Attributes:
      ends: first column, last column, first row and last row of each triangle's samples, (B, 2, R, C) each.
      tiles: of each block, (B, chunks, 5, blocks) int32: first tile across and down, last tile across and down (before
        the first if there are none), and 1 if there are more than `NEAR` across or down.
    """

    ends: list[Float[Array, "b 2 r c"]]
    tiles: Int[Array, "b chunks 5 blocks"]


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The layout of a mesh of side x side vertices and of count x count samples.

    Attributes:
      side: vertices along a side.
      count: samples along a side.
      cells: cells along a side of the mesh.
      columns: cells per row, padded to whole registers of 128 triangles.
      row_blocks: blocks per row of cells.
      chunk_rows: rows of cells per chunk.
      chunks: chunks per image.
      chunk_blocks: blocks per chunk.
      across: tiles across, with room for those processed unconditionally.
      down: tiles down, likewise.
      tiles: tiles per image.
    """

    side: int
    count: int

    cells: int = dataclasses.field(init=False)
    columns: int = dataclasses.field(init=False)
    row_blocks: int = dataclasses.field(init=False)
    chunk_rows: int = dataclasses.field(init=False)
    chunks: int = dataclasses.field(init=False)
    chunk_blocks: int = dataclasses.field(init=False)
    across: int = dataclasses.field(init=False)
    down: int = dataclasses.field(init=False)
    tiles: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        cells = self.side - 1
        columns = -(-cells // (LANES // 2)) * (LANES // 2)
        row_blocks = columns // _CELLS
        chunk_rows = min(cells, max(1, _CHUNK_BLOCKS // row_blocks))
        across, down = (-(-self.count // size) + NEAR - 1 for size in TILE)
        known = {"cells": cells, "columns": columns, "row_blocks": row_blocks, "chunk_rows": chunk_rows}
        known |= {"chunks": -(-cells // chunk_rows), "chunk_blocks": chunk_rows * row_blocks}
        for name, value in (known | {"across": across, "down": down, "tiles": across * down}).items():
            object.__setattr__(self, name, value)

    @property
    def _room(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Padding of rows and columns of cells."""
        return (0, self.chunks * self.chunk_rows - self.cells), (0, self.columns - self.cells)

    def memory_limit(self, buffers: int) -> int | None:
        """Returns the bytes of fast memory to request, given registers per tile; None if the default suffices."""
        needed = (buffers * self.tiles + 4 * _CHUNK_BLOCKS // SUBLANES) * SUBLANES * LANES * 4
        return None if needed < _GIVEN else needed

    def place(self, block: Array, chunk: Array) -> tuple[Array, Array]:
        """Returns the row and column of the first cell of a chunk's block; for use in kernels."""
        # Not `//` and `%`: to round negative numbers down, they query the device.
        blocks = jnp.asarray(self.row_blocks, block.dtype)
        row, column = lax.div(block, blocks), lax.rem(block, blocks)
        return chunk * self.chunk_rows + row, column * _CELLS

    def laid_out(self, triangles: Float[Array, "b k 2 r c"]) -> Float[Array, "b k rows columns 2"]:
        """Returns values of triangles as (B, K, rows, columns, 2), padded with zeros."""
        filled = jnp.pad(triangles, ((0, 0), (0, 0), (0, 0), *self._room))
        return jnp.moveaxis(filled, 2, -1)

    def taken_back(self, laid: Float[Array, "b k rows columns 2"]) -> Float[Array, "b k 2 r c"]:
        """Returns the values without the padding; undoes `laid_out`."""
        return jnp.moveaxis(laid, -1, 2)[..., : self.cells, : self.cells]

    def tiled(self, samples: Array, *, fill: float) -> Array:
        """Returns samples `(B, n, n)` as tiles `(B, tiles, 128)`."""
        room = self.down * TILE[1] - self.count, self.across * TILE[0] - self.count
        samples = jnp.pad(samples, ((0, 0), (0, room[0]), (0, room[1])), constant_values=fill)
        samples = samples.reshape(-1, self.down, TILE[1], self.across, TILE[0])
        return jnp.swapaxes(samples, 2, 3).reshape(-1, self.tiles, LANES)

    def untiled(self, tiles: Array) -> Array:
        """Returns the samples `(B, n, n)` of tiles `(B, tiles, 128)`."""
        samples = jnp.swapaxes(tiles.reshape(-1, self.down, self.across, TILE[1], TILE[0]), 2, 3)
        samples = samples.reshape(-1, self.down * TILE[1], self.across * TILE[0])
        return samples[:, : self.count, : self.count]

    def reach(self, screen: visibility.Screen) -> Reach:
        """Returns which samples triangles and blocks may cover."""
        kind = np.arange(2, dtype=np.int32)[:, None]
        low, high = visibility.boxes(visibility.cell_triangles(screen, kind), self.count)
        # From (B, R, 2, C) to (B, R, C, 2).
        low, high = ([jnp.swapaxes(end, 2, 3) for end in ends] for ends in (low, high))
        nothing = (low[0] > high[0]) | (low[1] > high[1])

        def of_blocks(end: Array, without: int, *, least: bool) -> Array:
            end = jnp.where(nothing, without, end)
            end = jnp.pad(end, ((0, 0), *self._room, (0, 0)), constant_values=without)
            end = end.reshape(-1, self.chunks, self.chunk_blocks, BLOCK)
            return jnp.min(end, -1) if least else jnp.max(end, -1)

        # The first tile must exist even if the block reaches none: it is processed unconditionally.
        first = [jnp.minimum(of_blocks(a, self.count - 1, least=True), self.count - 1) // n for a, n in zip(low, TILE)]
        last = [of_blocks(a, -1, least=False) // n for a, n in zip(high, TILE)]
        farther = (last[0] - first[0] >= NEAR) | (last[1] - first[1] >= NEAR)
        tiles = jnp.stack([*first, *last, farther.astype(jnp.int32)], 2).astype(jnp.int32)
        ends = [jnp.moveaxis(end, 3, 1).astype(screen[0].dtype) for end in (low[0], high[0], low[1], high[1])]
        return Reach(ends, tiles)


def result_like(data: Array, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Returns the shape and type of a kernel's result, which varies over devices as the data does."""
    return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=jax.typeof(data).manual_axis_type)
