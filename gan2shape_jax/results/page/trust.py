"""What a result's metrics say about how far to trust it, if they say anything: `metrics["trust"]`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from gan2shape_jax.errors import message_line

__all__ = ["GRADES", "Trust", "trust_of"]

# The grades, from good to bad, and their short names for where there is no room for the verdict.
GRADES = {"trust": "trust it", "doubt": "doubt it", "no": "do not trust it"}
_LONGEST = 600  # characters of a verdict


@dataclasses.dataclass(frozen=True)
class Trust:
    """How far to trust a shape.

    Attributes:
      grade: one of `GRADES`; "" if none is given.
      verdict: one plain sentence.
      category: how much the picture looks like what the GAN draws, 0 to 1; None if that is not known.
      expected_side: the SIDE to expect; None if that is not known.
    """

    grade: str
    verdict: str
    category: float | None
    expected_side: float | None


def trust_of(metrics: Mapping[str, Any]) -> Trust | None:
    """Returns what metrics say under `trust`; None if they say nothing that can be put in words."""
    told = metrics.get("trust")
    if not isinstance(told, Mapping):
        return None
    grade, verdict = told.get("grade"), told.get("verdict")
    grade = grade if isinstance(grade, str) and grade in GRADES else ""
    verdict = message_line(verdict)[:_LONGEST] if isinstance(verdict, str) else ""
    if not (grade or verdict):
        return None
    return Trust(grade, verdict, _share(told.get("category")), _number(told.get("expected_side")))


def _share(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else min(max(number, 0.0), 1.0)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
