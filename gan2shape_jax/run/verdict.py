"""Whether a shape is worse than the prior that it started from, as far as this can be measured.

Where true depth is known, SIDE decides. Where it is not, nothing measures the shape itself; what can be told is
whether step 3 did its work at all: whether shape, albedo, views and lights together explain the samples that the GAN
projected (mean absolute difference, `l1_samples` in `history.csv`) better at the end than when it was first logged.
"""

from __future__ import annotations

from typing import Any

__all__ = ["WORSE", "compare_with_prior", "worse_in_words"]

# The metric that holds the verdict: True or False, absent where nothing was measured.
WORSE = "worse_than_prior"
_SAMPLES = "samples_l1"
_BASELINES = ("prior", "start")


def compare_with_prior(metrics: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the metrics that compare an image's end with its beginning.

    Args:
      metrics: of the end, with those of the fitted prior under `prior`, or, where weights were given instead, under
        `start`; both hold `side` where true depth is known.
      history: the image's own.

    Returns:
      `samples_l1` with `start` and `end`, where step 3 logged it; `worse_than_prior`, where there is something to
      compare.
    """
    measured: dict[str, Any] = {}
    errors = [row["l1_samples"] for row in history if "l1_samples" in row]
    if errors:
        measured[_SAMPLES] = {"start": errors[0], "end": errors[-1]}
    pair = _sides(metrics) or ((errors[0], errors[-1]) if len(errors) > 1 else None)
    if pair is not None:
        before, after = pair
        measured[WORSE] = bool(after > before)
    return measured


def worse_in_words(metrics: dict[str, Any]) -> str:
    """Returns what to say of an image whose `worse_than_prior` is True, short enough for a table."""
    if _sides(metrics) is None:
        return "explains its samples ever worse"
    return f"worse than its {'prior' if 'prior' in metrics else 'start'}"


def _sides(metrics: dict[str, Any]) -> tuple[float, float] | None:
    """Returns SIDE before and after, where both are known."""
    before = next((metrics[name].get("side") for name in _BASELINES if name in metrics), None)
    return None if before is None or "side" not in metrics else (before, metrics["side"])
