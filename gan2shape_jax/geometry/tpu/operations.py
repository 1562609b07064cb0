"""The TPU kernels as operations: mappable, differentiable, and traced only where a TPU is to run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gan2shape_jax.geometry.tpu import corners as corners_lib
from gan2shape_jax.geometry.tpu import values as values_lib
from gan2shape_jax.geometry.tpu import visibility as visibility_lib
from gan2shape_jax.geometry.tpu.deferred import deferred, linear_pair
from gan2shape_jax.geometry.visibility import Screen
from gan2shape_jax.platforms import interpreted

__all__ = ["corners", "values_at_samples", "visible_triangles"]


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


def corners(image: Float[Array, "b c h w"], low: Float[Array, "b 2 p"]) -> Float[Array, "b 4*c p"]:
    """Returns what `geometry.tpu.corners.corners` does; linear in the image, constant in `low`."""
    result: list[Array] = _CORNERS.bind(image, low, shape=image.shape[-2:], interpret=interpreted())
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


def _corners(image: Array, low: Array, *, shape: Any, interpret: bool) -> Sequence[Array]:
    del shape
    return [corners_lib.corners(image, low, interpret=interpret)]


def _corners_shapes(image: Any, low: Any, **options: Any) -> Sequence[jax.ShapeDtypeStruct]:
    del options
    batch, channels = image.shape[:2]
    return [jax.ShapeDtypeStruct((batch, corners_lib.CORNERS * channels, low.shape[-1]), image.dtype)]


def _added(values: Array, low: Array, *, shape: tuple[int, int], interpret: bool) -> Sequence[Array]:
    return [corners_lib.sums_over_corners(values, low, shape=shape, interpret=interpret)]


def _added_shapes(values: Any, low: Any, *, shape: Any, **options: Any) -> Sequence[jax.ShapeDtypeStruct]:
    del low, options
    batch, planes = values.shape[:2]
    return [jax.ShapeDtypeStruct((batch, planes // corners_lib.CORNERS, *shape), values.dtype)]


_VISIBLE = deferred("visible_triangles", _visible, _visible_shapes)
_FETCH = deferred("values_at_samples", _fetch, _fetch_shapes)
_SUM = deferred("sums_over_samples", _sum, _sum_shapes)
linear_pair(_FETCH, _SUM)
_CORNERS = deferred("corners", _corners, _corners_shapes)
_ADDED = deferred("sums_over_corners", _added, _added_shapes)
linear_pair(_CORNERS, _ADDED)
