"""The form of a computation for the kind of device that it is lowered for, whatever device lowers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jax import lax
from jaxtyping import PyTree

__all__ = ["by_platform"]

_Out = TypeVar("_Out")


def by_platform(*operands: PyTree, cpu: Callable[..., _Out], other: Callable[..., _Out], choice: bool | None) -> _Out:
    """Calls `cpu` where the program is lowered for a CPU and `other` elsewhere; both give the same up to rounding.

    Only what the platform needs is compiled, so that a program can be compiled on a CPU for a TPU or a GPU.

    Args:
      *operands: arrays.
      cpu: of them, written for what XLA is fast at on a CPU.
      other: of them, for GPU and TPU.
      choice: True for `cpu` and False for `other` in any case, as tests and benchmarks need it; None in use.
    """
    if choice is not None:
        return (cpu if choice else other)(*operands)
    chosen: _Out = lax.platform_dependent(*operands, cpu=cpu, default=other)
    return chosen
