"""How programs are compiled: for which platform, with which numbers, and for arrays of any number of rows.

Some computations have another form on CPU, GPU and TPU.

The form is chosen while a function is traced, so it is part of what `jax.jit` caches. It follows JAX's default device;
`tracing_for` sets another one, to compile for machines that are not there and to test kernels without them.
"""

import contextlib
import contextvars
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, cast

import jax
import numpy as np

from gan2shape_jax.errors import UserError, message_line

F = TypeVar("F", bound=Callable[..., Any])
Platform = Literal["cpu", "gpu", "tpu", "interpreted"]
_CHOSEN: contextvars.ContextVar[Platform | None] = contextvars.ContextVar("platform", default=None)


def current() -> str:
    """Returns the platform to trace for: "cpu", "gpu" or "tpu"."""
    chosen: str | None = _CHOSEN.get()
    if chosen is None:
        device = jax.config.jax_default_device  # type: ignore[attr-defined]
        chosen = str(getattr(device, "platform", device) or jax.default_backend())
    return "tpu" if chosen == "interpreted" else "gpu" if chosen in ("cuda", "rocm") else chosen


def interpreted() -> bool:
    """Returns whether a TPU's kernels are to be interpreted, which is slow but runs anywhere."""
    return _CHOSEN.get() == "interpreted"


@contextlib.contextmanager
def as_tested() -> Iterator[None]:
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
        return UserError(f"JAX_PLATFORMS={chosen} is not on this machine: unset it, or set it to cpu ({why})")
    raise error


@contextlib.contextmanager
def tracing_for(platform: Platform) -> Iterator[None]:
    """Traces for a platform within the context; "interpreted" takes a TPU's forms, with kernels that run anywhere.

    What `jax.jit` has traced for another platform is forgotten on the way in and out.
    """
    jax.clear_caches()
    token = _CHOSEN.set(platform)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
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
            given = signature.bind(*args, **kwargs).arguments
            arrays = {name: given[name] for name in trailing if isinstance(given.get(name), jax.Array | np.ndarray)}
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
            specs = jax.tree.map(lambda leaf: jax.P() if isinstance(leaf, jax.Array) else None, given)
            for name, array in arrays.items():
                axes = zip(array.shape, joint[most - batches[name] :])
                specs[name] = jax.P(*(None if size == 1 else axis for size, axis in axes))
                given[name] = jax.reshard(array, jax.NamedSharding(mesh, specs[name]))
            local = jax.shard_map(
                lambda given: function(**given),
                mesh=mesh,
                in_specs=(specs,),
                out_specs=jax.P(*joint),
                axis_names=set(jax.tree.leaves(joint)),
            )
            return local(given)

        return cast(F, wrapped)

    return decorate


def in_batches(function: Callable[[np.ndarray], Any], rows: np.ndarray, *, size: int) -> Any:
    """Returns what a function of arrays gives for all rows: an array of rows, or a tuple of such, on the host.

    It is called with `size` rows at a time, the last ones repeated to fill a batch: one compiled program serves any
    number.
    """
    filled = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    parts = [jax.device_get(function(part)) for part in np.split(filled, max(1, len(filled) // size))]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(rows)], *parts)
