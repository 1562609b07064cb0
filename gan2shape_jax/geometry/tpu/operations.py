"""The TPU kernels as operations: mappable, differentiable, and traced only where a TPU is to run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gan2shape_jax.by_platform import interpreted
from gan2shape_jax.geometry.tpu import values as values_lib
from gan2shape_jax.geometry.tpu import visibility as visibility_lib
from gan2shape_jax.geometry.tpu.deferred import deferred, linear_pair
from gan2shape_jax.geometry.visibility import Screen

__all__ = ["values_at_samples", "visible_triangles"]


def visible_triangles(screen: Screen, *, count: int, far: float) -> tuple[Float[Array, "b n n"], Int[Array, "b n n"]]:
    """Returns what `geometry.visibility.visible_triangles` does. Not differentiable."""
    depth, number = _VISIBLE.bind(*screen, count=count, far=far, interpret=interpreted())
    return depth, number


def values_at_samples(
    values: Float[Array, "b k 2 r c"], triangle: Int[Array, "b n n"], screen: Screen
) -> Float[Array, "b k n n"]:
    """Returns the values of each sample's triangle, 0 where there is none; up to eight per triangle; linear in them.

    Args:
      values: values of the triangles by kind, row and column of their cell.
      triangle: the triangle each sample sees, from `visible_triangles`.
      screen: the vertices it was found with; constant.
    """
    result: list[Array] = _FETCH.bind(values, triangle, *screen, interpret=interpreted())
    return result[0]


def _visible(*screen: Array, count: int, far: float, interpret: bool) -> Sequence[Array]:
    x, y, inverse = screen
    return visibility_lib.visible_triangles((x, y, inverse), count=count, far=far, interpret=interpret)


def _visible_shapes(x: Any, *_: Any, count: int, **options: Any) -> Sequence[jax.ShapeDtypeStruct]:
    del options
    shape = (x.shape[0], count, count)
    return jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct(shape, jnp.int32)


def _fetch(values: Array, triangle: Array, *screen: Array, interpret: bool) -> Sequence[Array]:
    x, y, inverse = screen
    return [values_lib.values_at_samples(values, triangle, (x, y, inverse), interpret=interpret)]


def _fetch_shapes(values: Any, triangle: Any, *_: Any, **options: Any) -> Sequence[jax.ShapeDtypeStruct]:
    del options
    return [jax.ShapeDtypeStruct((*values.shape[:2], *triangle.shape[1:]), values.dtype)]


def _sum(values: Array, triangle: Array, *screen: Array, interpret: bool) -> Sequence[Array]:
    x, y, inverse = screen
    return [values_lib.sums_over_samples(values, triangle, (x, y, inverse), interpret=interpret)]


def _sum_shapes(values: Any, triangle: Any, x: Any, *_: Any, **options: Any) -> Sequence[jax.ShapeDtypeStruct]:
    del triangle, options
    cells = x.shape[-1] - 1
    return [jax.ShapeDtypeStruct((*values.shape[:2], 2, cells, cells), values.dtype)]


_VISIBLE = deferred("visible_triangles", _visible, _visible_shapes)
_FETCH = deferred("values_at_samples", _fetch, _fetch_shapes)
_SUM = deferred("sums_over_samples", _sum, _sum_shapes)
linear_pair(_FETCH, _SUM)
