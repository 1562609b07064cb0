"""Chooses the form of a computation by the platform it is lowered for, whatever device lowers it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import TypeVar

from jax import lax
from jaxtyping import PyTree

__all__ = ["by_platform", "emulated_tpu", "interpreted"]

_Out = TypeVar("_Out")
_EMULATED = contextvars.ContextVar("emulated_tpu", default=False)


def by_platform(
    *operands: PyTree,
    cpu: Callable[..., _Out],
    other: Callable[..., _Out],
    tpu: Callable[..., _Out] | None = None,
    choice: bool | None = None,
) -> _Out:
    """Calls the form for the platform that the program is lowered for; all give the same up to rounding.

    Only what the platform needs is compiled, so a program can be compiled on a CPU for a TPU or a GPU.

    Args:
      *operands: arrays, passed to the chosen form.
      cpu: form for what XLA is fast at on a CPU.
      other: form for GPU, and for TPU if that has no form of its own.
      tpu: form for TPU.
      choice: True forces `cpu` and False `other`, for tests and benchmarks; None in normal use.
    """
    if choice is not None:
        return (cpu if choice else other)(*operands)
    if _EMULATED.get():
        return (tpu or other)(*operands)
    forms = {"cpu": cpu} if tpu is None else {"cpu": cpu, "tpu": tpu}
    chosen: _Out = lax.platform_dependent(*operands, **forms, default=other)
    return chosen


@contextlib.contextmanager
def emulated_tpu() -> Iterator[None]:
    """For tests: programs traced within use the TPU forms on any device, with kernels interpreted."""
    token = _EMULATED.set(True)
    try:
        yield
    finally:
        _EMULATED.reset(token)


def interpreted() -> bool:
    """Returns whether kernels must be interpreted, because the TPU is only emulated."""
    return _EMULATED.get()
