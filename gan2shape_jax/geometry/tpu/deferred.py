"""Functions that are traced only when a program is lowered for a TPU.

Both branches of a `by_platform` are traced whatever platform the program is lowered for, which takes seconds for
kernels. So programs hold a single operation with known shapes, and the function it stands for is traced only where it
is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec

__all__ = ["deferred", "linear_pair"]


def deferred(
    name: str, function: Callable[..., Sequence[jax.Array]], shapes: Callable[..., Sequence[jax.ShapeDtypeStruct]]
) -> Primitive:
    """Returns an operation that stands for a function.

    Args:
      name: name of the operation.
      function: from arrays with a leading image axis, each image treated independently, and hashable keyword arguments
        to several such arrays. Under `jax.vmap` it gets one longer batch.
      shapes: from the same arguments to the shapes and types of the results.
    """
    operation = Primitive(name)
    operation.multiple_results = True

    def abstract(*avals: Any, **options: Any) -> list[Any]:
        return [_shaped(result, avals) for result in shapes(*avals, **options)]

    def batched(arrays: Sequence[Any], axes: Sequence[Any], **options: Any) -> tuple[list[Any], list[int]]:
        size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
        joined = []
        for array, axis in zip(arrays, axes, strict=True):
            array = jnp.broadcast_to(array, (size, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
            joined.append(array.reshape(-1, *array.shape[2:]))
        results = operation.bind(*joined, **options)
        return [result.reshape(size, -1, *result.shape[1:]) for result in results], [0] * len(results)

    operation.def_abstract_eval(abstract)
    operation.def_impl(lambda *arrays, **options: jax.jit(functools.partial(function, **options))(*arrays))
    batching.primitive_batchers[operation] = batched
    mlir.register_lowering(operation, mlir.lower_fun(function, multiple_results=True))
    return operation


def _shaped(result: jax.ShapeDtypeStruct, avals: Sequence[Any]) -> jax.core.ShapedArray:
    """Returns the type of a result that varies over the devices of a `jax.shard_map` as the arguments do."""
    most = max(avals, key=lambda aval: len(aval.manual_axis_type.varying))
    return jax.core.ShapedArray(
        result.shape,
        result.dtype,
        sharding=most.sharding.update(spec=PartitionSpec(*[None] * len(result.shape))),
        manual_axis_type=most.manual_axis_type,
    )


def linear_pair(one: Primitive, other: Primitive) -> None:
    """Declares two single-result operations linear in their first argument, and each the other's transpose.

    Both are treated as constant in their other arguments.
    """
    for forth, back in ((one, other), (other, one)):
        ad.primitive_jvps[forth] = functools.partial(_jvp, forth)
        ad.primitive_transposes[forth] = functools.partial(_transpose, back)


def _jvp(operation: Primitive, primals: Any, tangents: Any, **options: Any) -> tuple[list[Any], list[Any]]:
    results = operation.bind(*primals, **options)
    if isinstance(tangents[0], ad.Zero):
        return results, [jnp.zeros_like(result) for result in results]
    return results, operation.bind(tangents[0], *primals[1:], **options)


def _transpose(back: Primitive, cotangents: Any, *arguments: Any, **options: Any) -> list[Any]:
    (cotangent,) = cotangents
    none = [None] * (len(arguments) - 1)
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(arguments[0].aval), *none]
    return [*back.bind(cotangent, *arguments[1:], **options), *none]
