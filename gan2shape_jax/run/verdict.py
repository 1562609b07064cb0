"""What a user must be told about a result: a shape worse than its prior, an image far from what a model knows.

If true depth is known, SIDE decides. If not, nothing measures the shape itself; all that can be checked is whether
step 3 worked at all: whether shape, albedo, views and lights together explain the samples that the GAN projected (mean
absolute difference, `l1_samples` in `history.csv`) better at the end than when it was first logged.

A model records how well it explains samples of its GAN. An image that it explains much worse shows something else: no
rendered face exceeded the limit, all photographs of cats did (docs/reports/lift.md).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "FAR",
    "MODEL_L1",
    "TRUST",
    "TYPICAL_L1",
    "WORSE",
    "compare_with_prior",
    "is_far",
    "remarks",
    "worse_in_words",
]

# The metric that holds the verdict: True or False, absent if nothing was measured.
WORSE = "worse_than_prior"
# The metric that says whether an image is far from what the model was lifted from; absent if there is no model.
FAR = "far_from_category"
# The metric that says in words how far to trust a shape, see `trust`; absent if nothing is known.
TRUST = "trust"
# L1 of the image's reconstruction by the unrefined model, and the L1 that 95% of its GAN's samples stay below.
MODEL_L1, TYPICAL_L1 = "model_l1", "model_l1_p95"
_FAR = 1.5  # times the L1 that 95% of the GAN's samples stay below
_SAMPLES = "samples_l1"
_BASELINES = ("prior", "start")


def compare_with_prior(metrics: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the metrics that compare the end of an image's training with its beginning.

    Args:
      metrics: final metrics, with those of the fitted prior under `prior` or, if weights were given instead, under
        `start`; both contain `side` if true depth is known. A refinement adds `kept_out_l1`, for the model and for
        steps on the way from it: held-out samples are better evidence than those trained on.
      history: the image's own.

    Returns:
      `samples_l1` with `start` and `end`, if step 3 logged it; `worse_than_prior`, if there is something to compare.
    """
    measured: dict[str, Any] = {}
    errors = [row["l1_samples"] for row in history if "l1_samples" in row]
    if errors:
        measured[_SAMPLES] = {"start": errors[0], "end": errors[-1]}
    pair = _sides(metrics) or _kept_out(metrics) or ((errors[0], errors[-1]) if len(errors) > 1 else None)
    if pair is not None:
        before, after = pair
        measured[WORSE] = bool(after > before)
    return measured


def worse_in_words(metrics: dict[str, Any]) -> str:
    """Returns a remark on an image whose `worse_than_prior` is True, short enough for a table."""
    if _sides(metrics) is None:
        return "explains its samples ever worse"
    return f"worse than its {'prior' if 'prior' in metrics else 'start'}"


def _sides(metrics: dict[str, Any]) -> tuple[float, float] | None:
    """Returns SIDE before and after training, if both are known."""
    before = next((metrics[name].get("side") for name in _BASELINES if name in metrics), None)
    return None if before is None or "side" not in metrics else (before, metrics["side"])


def _kept_out(metrics: dict[str, Any]) -> tuple[float, float] | None:
    """Returns the L1 of samples held out of a refinement, for the model and for the networks that were kept."""
    errors = metrics.get("kept_out_l1")
    share = metrics.get("refinement_share")
    return (errors["0.0"], errors[str(share)]) if errors and share is not None else None


def is_far(reconstruction_l1: float, l1_p95: float) -> bool:
    """Returns whether an image is explained much worse than samples of the GAN.

    Args:
      reconstruction_l1: L1 of the image's feed-forward reconstruction.
      l1_p95: the L1 that 95% of the GAN's samples stay below, from the model.
    """
    return reconstruction_l1 > _FAR * l1_p95


def remarks(metrics: dict[str, Any]) -> list[str]:
    """Returns remarks on a finished image, short enough for a table; [] if there are none."""
    told = [worse_in_words(metrics)] if metrics.get(WORSE) else []
    grade = metrics[TRUST].get("grade") if isinstance(metrics.get(TRUST), dict) else None
    if metrics.get(FAR) or grade == "no":
        return [*told, "far from what the GAN draws"]
    return [*told, "doubtful"] if grade == "doubt" and not told else told
