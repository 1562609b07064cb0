"""Checks arguments against the array types in a function's signature, with error messages meant for its caller."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast, get_args

import jax
import jaxtyping
import numpy as np

__all__ = ["checked"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def checked(function: _Function) -> _Function:
    """Wraps a function to check its array arguments, individually and against each other, before each call.

    What an array must be is read from its jaxtyping annotation, as in `depth: Float[Array, "*batch s s"]`; axes
    with the same name must have the same length. Arguments of other types are not checked. Checks look only at shapes
    and types, so they cost a traced function nothing once it is compiled.

    Raises:
      ValueError: from the wrapped function; names the argument, what it is, and what it must be.
    """
    signature = inspect.signature(function)
    expected = {name: _array_type(parameter.annotation) for name, parameter in signature.parameters.items()}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        lengths: dict[str, Any] = {}
        with jaxtyping.jaxtyped("context"):
            for name, value in given.items():
                if (annotation := expected.get(name)) is not None and value is not None:
                    _check(name, value, annotation, lengths)
        return function(*args, **kwargs)

    return cast(_Function, call)


def _array_type(annotation: Any) -> Any:
    """Returns the jaxtyping array type in an annotation, alone or beside None; None where there is none."""
    for candidate in (annotation, *get_args(annotation)):
        if hasattr(candidate, "dim_str"):
            return candidate
    return None


def _check(name: str, value: Any, annotation: Any, earlier: dict[str, Any]) -> None:
    """Raises `ValueError` if a value is not such an array, or does not fit the shapes of the `earlier` arguments."""
    axes = annotation.dim_str.strip()
    if not isinstance(value, jax.Array | np.ndarray):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be an array of axes ({axes})")
    if annotation.dtypes is not None and value.dtype.name not in annotation.dtypes:
        kind = "floating point" if "float32" in annotation.dtypes else "of " + " or ".join(annotation.dtypes)
        raise ValueError(f"{name} is of {value.dtype.name}; it must be {kind}")
    if not isinstance(value, cast(type, jaxtyping.Shaped[Any, annotation.dim_str])):
        beside = "".join(f", where {other} has {shape}" for other, shape in earlier.items())
        raise ValueError(f"{name} has shape {value.shape}; it must have the axes ({axes}){beside}")
    earlier[name] = value.shape
