"""The form of a computation for the kind of device that it is lowered for, whatever device lowers it."""

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
    """Calls the form for the kind of device that the program is lowered for; all give the same up to rounding.

    Only what the platform needs is compiled, so that a program can be compiled on a CPU for a TPU or a GPU.

    Args:
      *operands: arrays.
      cpu: of them, written for what XLA is fast at on a CPU.
      other: of them, for GPU, and for TPU if it has no form of its own.
      tpu: of them, for TPU.
      choice: True for `cpu` and False for `other` in any case, as tests and benchmarks need it; None in use.
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
    """For tests: programs traced meanwhile take the forms for TPU on any device, with kernels interpreted."""
    token = _EMULATED.set(True)
    try:
        yield
    finally:
        _EMULATED.reset(token)


def interpreted() -> bool:
    """Returns whether kernels are to be interpreted, because a TPU is only emulated."""
    return _EMULATED.get()
