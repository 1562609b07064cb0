"""Values of the triangles that samples see, and of their corners; differentiable in the values.

On CPU and GPU these are gathers, whose transposes scatter; for a TPU, where both process one number after another,
there are kernels (`tpu.values`).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry import visibility
from gan2shape_jax.geometry.tpu import operations
from gan2shape_jax.platforms import by_platform

__all__ = ["corner_indices", "corners_at_samples", "grid_corners", "triangles_at_samples"]


def triangles_at_samples(
    planes: Sequence[Float[Array, "b 2 r c"]], triangle: Int[Array, "b n n"], screen: visibility.Screen
) -> list[Float[Array, "b n n"]]:
    """Returns values of each sample's triangle, 0 where there is none.

    Args:
      planes: values of triangles by kind, row and column of their cell.
      triangle: the triangle each sample sees; -1 where there is nothing.
      screen: the vertices; constant.
    """
    stacked = jnp.stack(planes, 1)
    seen = by_platform(stacked, triangle, screen, cpu=_gathered, other=_gathered, tpu=operations.values_at_samples)
    return [seen[:, k] for k in range(len(planes))]


def corners_at_samples(
    planes: Sequence[Float[Array, "b s s"]], triangle: Int[Array, "b n n"], screen: visibility.Screen
) -> list[list[Float[Array, "b n n"]]]:
    """Returns each plane's values at the three corners of each sample's triangle; arbitrary where there is none.

    Args:
      planes: values at vertices.
      triangle: the triangle each sample sees; -1 where there is nothing.
      screen: the vertices; constant.
    """

    def gathered(planes: Sequence[Array], triangle: Array, screen: visibility.Screen) -> list[list[Array]]:
        del screen
        indices = corner_indices(triangle, planes[0].shape[-1])
        return [[plane.reshape(-1).at[index].get(mode="promise_in_bounds") for index in indices] for plane in planes]

    def fetched(planes: Sequence[Array], triangle: Array, screen: visibility.Screen) -> list[list[Array]]:
        corners = jnp.stack([corner for plane in planes for corner in grid_corners(plane)], 1)
        seen = operations.values_at_samples(corners, triangle, screen)
        return [[seen[:, 3 * k + corner] for corner in range(3)] for k in range(len(planes))]

    return by_platform(list(planes), triangle, screen, cpu=gathered, other=gathered, tpu=fetched)


def corner_indices(
    triangle: Int[Array, "b n n"], side: int
) -> tuple[Int[Array, "b n n"], Int[Array, "b n n"], Int[Array, "b n n"]]:
    """Returns flat (B S S) indices of the visible triangles' corners; those of triangle 0 where there is none."""
    image = jnp.arange(triangle.shape[0], dtype=jnp.int32)[:, None, None]
    return visibility.corner_indices(jnp.maximum(triangle, 0), image, side)


def grid_corners(
    grid: Float[Array, "b s s"],
) -> tuple[Float[Array, "b 2 r c"], Float[Array, "b 2 r c"], Float[Array, "b 2 r c"]]:
    """Returns the values of a grid at the corners of its triangles, by kind, row and column of the cell.

    The transpose adds up at each vertex in the reverse of this order of slices and stacks: another order rounds
    differently.
    """
    lower_right, lower_left = grid[:, 1:, 1:], grid[:, 1:, :-1]
    upper_right, upper_left = grid[:, :-1, 1:], grid[:, :-1, :-1]
    third = jnp.stack([upper_right, lower_right], 1)
    second = jnp.stack([lower_left, lower_left], 1)
    first = jnp.stack([upper_left, upper_right], 1)
    return first, second, third


def _gathered(values: Array, triangle: Array, screen: visibility.Screen) -> Array:
    del screen
    batch, _, _, rows, columns = values.shape
    start = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * (2 * rows * columns)
    source = jnp.where(triangle >= 0, start + triangle, jnp.iinfo(jnp.int32).max)
    planes = [values[:, k].reshape(-1).at[source].get(mode="fill", fill_value=0) for k in range(values.shape[1])]
    return jnp.stack(planes, 1)
