"""Signs that training is going nowhere, and what to change."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gan2shape_jax.errors import DivergedError

from .history import Row
from .settings import TrainingSettings

__all__ = ["require_sound", "warning_of"]

_WON = 0.97  # mean sign of photos' logits above which the discriminator has memorised them all
_HOPELESS = 6.0  # generator's loss: a sample is taken for a photo one time in 400
_LOSSES = ("generator_loss", "discriminator_loss")
_GONE = 1000.0  # losses are of the order of one when training goes well
_WINDOWS = 4  # in a row


def require_sound(row: Row, *, kept: str) -> None:
    """Raises `DivergedError` if a scalar is not finite, or a loss is too large to recover from.

    Args:
      row: means over a window of iterations.
      kept: which results of the training are kept, for the message.
    """
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    told = f"{', '.join(bad)} not finite"
    if not bad:
        bad = [name for name in _LOSSES if row.get(name, 0.0) > _GONE]
        told = ", ".join(f"{name} {row[name]:.0f}" for name in bad)
    if bad:
        raise DivergedError(
            f"training has diverged: {told} after {row['images']} photos; {kept}. Begin in another folder with a "
            "smaller --rate or a larger --r1"
        )


def warning_of(rows: Sequence[Row], settings: TrainingSettings) -> str:
    """Returns a sentence on what to change if the discriminator has won; '' if it has not."""
    last = rows[-_WINDOWS:]
    if len(last) < _WINDOWS or not all(
        row["taken_for_real"] > _WON and row["generator_loss"] > _HOPELESS for row in last
    ):
        return ""
    if settings.augment == "none":
        advice = "train with --augment ada, which is for few photos"
    elif last[-1]["augmentation"] < 0.9:
        return ""  # augmentation has not yet reached its limit
    else:
        advice = "train with a larger --r1, a smaller --rate or more photos"
    return (
        f"the discriminator tells every photo from every sample (generator's loss {last[-1]['generator_loss']:.1f} "
        f"after {last[-1]['images']} photos): the generator learns nothing more from it; {advice}"
    )
