"""Rows of the history, and the position in the schedule that a checkpoint's record names."""

from __future__ import annotations

from typing import Any

import numpy as np

from gan2shape_jax.errors import DivergedError
from gan2shape_jax.method.schedule import Phase

__all__ = ["make", "require_position"]


def _together(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Returns both records merged, including their entries for individual images."""
    both = first | second
    if "images" in first and "images" in second:
        both["images"] = {name: first["images"][name] | second["images"][name] for name in first["images"]}
    return both


def make(phase: Phase, done: int, scalars: dict[str, Any], errors: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of the history; raises `DivergedError` if its loss is not finite."""
    row: dict[str, Any] = {"phase": phase.number, "stage": phase.stage, "step": phase.step, "iteration": done}
    row |= _together(scalars, errors)
    if not np.isfinite(row.get("loss", 0.0)):
        raise DivergedError(
            f"the loss became {row['loss']} in {phase.label}, iteration {done}; check the "
            "image, its latent and the GAN's weights, or lower config.optimizer.learning_rate"
        )
    return row


def require_position(record: dict[str, Any], schedule: tuple[Phase, ...]) -> None:
    """Raises `ValueError` if a record does not name a position in the schedule or has no valid history."""
    number, done = record["phase"], record["iteration"]
    if type(number) is not int or not 0 <= number < len(schedule):
        raise ValueError(f"there is no phase {number!r}")
    phase = schedule[number]
    if record["step"] != phase.step or type(done) is not int or not 0 <= done <= phase.iterations:
        raise ValueError(f"{phase.label} has no iteration {done!r} of {record['step']!r}")
    for rows in (record["history"], record.get("recent", [])):
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("its history has no rows")
