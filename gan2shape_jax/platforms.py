"""How programs are compiled: for which platform, with which numbers, and for arrays of any number of rows.

Some computations have another form on a CPU than elsewhere. The form is chosen while a function is traced, so it is
part of what `jax.jit` caches. It follows JAX's default device; `tracing_for` sets another one, to compile for machines
that are not there.
"""

import contextlib
import dataclasses
import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import ArgumentError, UserError, message_line

F = TypeVar("F", bound=Callable[..., Any])
Platform = Literal["cpu", "gpu", "tpu"]
_chosen: Platform | None = None  # by `tracing_for`, in the whole process, as are the caches of `jax.jit`


def current() -> str:
    """Returns the platform to trace for: "cpu", "gpu" or "tpu"."""
    chosen: str | None = _chosen
    if chosen is None:
        device = jax.config.jax_default_device  # type: ignore[attr-defined]
        chosen = str(getattr(device, "platform", device) or jax.default_backend())
    return "gpu" if chosen in ("cuda", "rocm") else chosen


@contextlib.contextmanager
def default_numerics() -> Iterator[None]:
    """Computes in float32 and promotes as NumPy does, however JAX is set; `UserError` without a device. A decorator."""
    try:
        with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            yield
    except (RuntimeError, AssertionError) as error:
        raise no_device(error) from error


def no_device(error: RuntimeError | AssertionError) -> UserError:
    """Returns what to say where the cause is that JAX has no device of the platform it was told to use; else raises."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as missing:  # an assertion of JAX's own where CUDA's plugin is absent
        chosen, why = os.environ.get("JAX_PLATFORMS"), message_line(str(missing)) or "its plugin is not installed"
        return UserError(f"JAX_PLATFORMS={chosen} is not available on this machine: unset it, or set it to cpu ({why})")
    raise error


@contextlib.contextmanager
def tracing_for(platform: Platform) -> Iterator[None]:
    """Traces for a platform within the context; what `jax.jit` traced for another is forgotten in between."""
    global _chosen
    jax.clear_caches()
    before, _chosen = _chosen, platform
    try:
        yield
    finally:
        _chosen = before
        jax.clear_caches()


def per_shard(**trailing: int) -> Callable[[F], F]:
    """Decorates a function of arrays, named with their numbers of trailing axes; the leading ones are a batch.

    Where the types of arrays say that the batch is sharded, each device computes its own part: gathers, scatters and
    reshapes of all of it are not what such types can follow. What is returned has the batch's axes, broadcast.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs).arguments
            arrays = {
                name: arguments[name] for name in trailing if isinstance(arguments.get(name), jax.Array | np.ndarray)
            }
            batches = {name: array.ndim - trailing[name] for name, array in arrays.items()}
            most = max(batches.values(), default=0)
            joint: list[Any] = [None] * max(most, 0)
            mesh = None
            for name, array in arrays.items():
                kind = jax.typeof(array).sharding
                for axis, names in enumerate(kind.spec[: max(batches[name], 0)], most - batches[name]):
                    joint[axis], mesh = (names, kind.mesh) if names else (joint[axis], mesh)
            if mesh is None:
                return function(*args, **kwargs)
            specs = jax.tree.map(lambda leaf: jax.P() if isinstance(leaf, jax.Array) else None, arguments)
            for name, array in arrays.items():
                axes = zip(array.shape, joint[most - batches[name] :])
                specs[name] = jax.P(*(None if size == 1 else axis for size, axis in axes))
                arguments[name] = jax.reshard(array, jax.NamedSharding(mesh, specs[name]))
            specified = functools.partial(jax.shard_map, in_specs=(specs,), out_specs=jax.P(*joint), mesh=mesh)
            names = set(jax.tree.leaves(joint))
            return specified(lambda arguments: function(**arguments), axis_names=names)(arguments)

        return cast(F, wrapped)

    return decorate


def arrays(function: F) -> F:
    """Decorates a function so that it takes JAX's arrays, NumPy's and lists, of any floating type.

    What is annotated as an array becomes one of JAX's, but for integers, which stay on the host, and what is annotated
    as NumPy's. Floats of 16 bits are computed with as float32; if all of them are, the arrays returned are rounded
    to their type, but not those in records, since other functions go on from there. An `ArgumentError` if types or axes
    are not those of the annotation.
    """
    signature = inspect.signature(function)
    kinds = {name: _array_kind(parameter.annotation) for name, parameter in signature.parameters.items()}

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        floats = []
        for name, value in arguments.items():
            kind = kinds[name]
            if kind is not None and value is not None:
                arguments[name] = value = _as_array(name, value, kind)
                floats += [value.dtype] if jnp.issubdtype(value.dtype, jnp.floating) else []
        if not any(map(_short, floats)):
            return function(**arguments)
        exact = jnp.result_type(*floats)
        result = function(**jax.tree.map(lambda leaf: leaf.astype(np.float32) if _short(leaf) else leaf, arguments))

        def rounded(x: Any) -> Any:
            return x.astype(exact) if getattr(x, "dtype", None) == np.float32 and _short(exact) else x

        return jax.tree.map(rounded, result, is_leaf=dataclasses.is_dataclass)

    return cast(F, wrapped)


class _ArrayKind(NamedTuple):
    """What an annotation says of an array: its axes, as jaxtyping writes them, its numbers, and whose it is."""

    axes: str
    numbers: str
    on_host: bool


_NUMBERS: dict[str, Any] = {"floating point": jnp.floating, "integers": jnp.integer, "Boolean": jnp.bool_}


def _array_kind(annotation: Any) -> _ArrayKind | None:
    """Returns what a parameter's annotation says; nothing where it says that there is no array."""
    leaves = [leaf for leaf in typing.get_args(annotation) or (annotation,) if hasattr(leaf, "dim_str")]
    if not leaves:
        return None
    named = leaves[0].dtypes if isinstance(leaves[0].dtypes, tuple) else ()
    numbers = next((n for n, t in zip(_NUMBERS, ("float32", "int32", "bool"), strict=True) if t in named), "any")
    on_host = numbers == "integers" or all(leaf.array_type is np.ndarray for leaf in leaves)
    return _ArrayKind(leaves[0].dim_str, numbers, on_host)


def _as_array(name: str, value: Any, kind: _ArrayKind) -> Any:
    array: Any = value
    xp: Any = np if kind.on_host else jnp
    try:
        if not isinstance(value, jax.Array | np.ndarray):  # whole numbers in lists are floats where floats belong
            array = xp.asarray(value, float if kind.numbers == "floating point" else None)
        elif not (kind.on_host and kind.numbers == "integers"):
            array = xp.asarray(value)
    except (TypeError, ValueError) as error:
        why = message_line(str(error))
        raise ArgumentError(f"{name} is a {type(value).__name__}, which is not an array: {why}") from None
    if kind.numbers in _NUMBERS and not jnp.issubdtype(array.dtype, _NUMBERS[kind.numbers]):
        raise ArgumentError(f"{name} is of {array.dtype.name}; it must be {kind.numbers}")
    axes = kind.axes.split()
    last = [axis for axis in axes if not axis.startswith("*")]
    sizes = array.shape[array.ndim - len(last) :] if array.ndim >= len(last) else None
    wrong = sizes is None or any(axis.isdigit() and int(axis) != size for axis, size in zip(last, sizes))
    if wrong or (last == axes and array.ndim != len(axes)):
        raise ArgumentError(f"{name} has shape {array.shape}; it must have the axes ({' '.join(axes)})")
    return array


def _short(x: Any) -> bool:
    """Returns whether a type, or an array's, is floating point of 16 bits or fewer."""
    dtype = getattr(x, "dtype", x)
    return isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4


def in_batches(function: Callable[[np.ndarray], Any], rows: np.ndarray, *, size: int) -> Any:
    """Returns what a function of arrays gives for all rows: an array of rows, or a tuple of such, on the host.

    It is called with `size` rows at a time, the last ones repeated to fill a batch: one compiled program serves any
    number.
    """
    filled = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    parts = [jax.device_get(function(part)) for part in np.split(filled, max(1, len(filled) // size))]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(rows)], *parts)
