"""From measures of a picture and of its 3D to a verdict: a grade, and sentences that anybody understands.

One pure function, `verdict`, for every command and, by `apps.export.web.browser_constants`, for the browser page: the
same measures give the same words everywhere (`assets/web/verdict.js`). What is measured has to do with the shape: how
surely there is such an object, how far it is turned, how well its landmarks fit a view of it, how large, sharp and
complete it is in the photo. Brightness, contrast, colour and compression change nothing until they hide the object.
docs/reports/trust.md shows what the answers are worth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from gan2shape_jax.detection.assessment import Assessment
from gan2shape_jax.detection.detector import PERHAPS, SURE

# The logarithm of the odds that there is such an object: of 1, those of the detector, `misfit` and `unlike`.
ODDS = (-1.8, 2.0, -30.0, -3.0)
# How far to trust a shape; 'unmeasured': nothing speaks against it, and how exact it is nobody knows.
Grade = Literal["trust", "unmeasured", "doubt", "no"]
LOST = 0.1  # what counts as the misfit of landmarks that the detector does not see in the crop
UNLIKELY = 0.3  # score below which a picture shows nothing of the kind


class Measure(NamedTuple):
    """Something that a verdict goes by; numbers chosen as docs/reports/trust.md says.

    Attributes:
      usual: the value from which it counts.
      worst: the value at which it counts wholly; below `usual` where small values are bad.
      doubt: from where the shape is doubted; None: never for this alone.
      no: from where the shape is a guess; None: never for this alone.
      words: what is told of it then, after "but"; with the value in it, times `scale`, where it says so.
    """

    usual: float
    worst: float
    doubt: float | None = None
    no: float | None = None
    words: str = ""
    scale: float = 1.0

    def severity(self, value: float) -> float:
        """Returns how much it counts, 0 to 1; unknown values do not."""
        return 0.0 if math.isnan(value) else float(np.clip((value - self.usual) / (self.worst - self.usual), 0, 1))

    def beyond(self, value: float, limit: float | None) -> bool:
        """Whether a value is as bad as a limit, or worse."""
        return limit is not None and ((value >= limit) if self.worst > self.usual else (value <= limit))


MEASURES: Mapping[str, Measure] = {
    "unsure": Measure(0.03, 0.3),
    "misfit": Measure(0.01, 0.04, 0.03, 0.06, "its features do not fit a {kind} seen from any side"),
    "turned": Measure(
        20.0, 70.0, 50.0, None, "it is turned by {value} degrees, so its far side is the mirror image of the near one"
    ),
    "nodding": Measure(5.0, 25.0),
    "size": Measure(64.0, 20.0, 40.0, 20.0, "it has only {value} pixels in the photo"),
    "softness": Measure(0.65, 0.95, 0.8, 0.93, "it is out of focus"),
    "outside": Measure(0.0, 0.3, 0.08, 0.35, "{value}% of it lie outside of the photo", 100.0),
    "mouth": Measure(1.0, 0.4, 0.68, None, "its mouth is covered, or hardly seen"),
    "unlike": Measure(0.4, 0.9, 0.95, 1.05, "the model's picture of it looks different"),
    "light": Measure(100.0, 30.0, 52.0, 25.0, "it is very dark"),
    "contrast": Measure(0.4, 0.1, 0.15, 0.08, "it has hardly any contrast"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class SideModel:
    """The depth error to expect of a model's shapes, measured on objects of known depth.

    Attributes:
      weights: (1 + m,) of log(SIDE): a constant, and what each of `MEASURES` adds times its severity.
      interval: (2,) what the 5th and the 95th of a hundred such pictures have, as multiples of the expected SIDE.
    """

    weights: Float[np.ndarray, " w"]
    interval: Float[np.ndarray, "2"]

    @property
    def usual(self) -> float:
        """The SIDE of a picture of which nothing counts."""
        return float(np.exp(self.weights[0]))

    def expected(self, measured: Mapping[str, float]) -> float:
        """Returns the SIDE to expect of a picture with these measures."""
        severities = [measure.severity(measured.get(name, math.nan)) for name, measure in MEASURES.items()]
        return float(np.exp(self.weights[0] + np.dot(self.weights[1:].astype(np.float64), severities)))


def measured(assessment: Assessment, view: Float[np.ndarray, "6"], metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values of `MEASURES`, NaN where they are unknown.

    Args:
      assessment: what of the picture was seen before its 3D was made.
      view: the object's, as of `geometry.camera`.
      metrics: of the result; `landmark_error` (None: no landmarks were detected), `mouth` and `unlikeness` are read.
    """
    misfit = metrics.get("landmark_error", math.nan)
    pitch, yaw = (abs(math.degrees(float(angle))) for angle in view[:2])
    return {
        "unsure": 1.0 - assessment.score,
        "misfit": LOST if misfit is None else float(misfit),
        "turned": yaw,
        "nodding": pitch,
        "size": assessment.pixels,
        "softness": assessment.softness,
        "outside": assessment.outside,
        "mouth": float(metrics.get("mouth", math.nan)),
        "unlike": float(metrics.get("unlikeness", math.nan)),
        "light": assessment.light,
        "contrast": assessment.contrast,
    }


# The sentences, with what goes into their braces; the browser page fills the same ones.
WORDS: Mapping[str, str] = {
    "general": "the general shape of {a} {kind}, not this one's own",
    "own": "its own shape",
    "trust": "{whose}, as exact as usual",
    "unmeasured": "{whose}",
    "doubt": "{whose}, but {why}",
    "no": "the shape is a guess: {why}",
    "error": ": depth is off by about {side}% of the picture's width (nine of ten like it: {least}% to {most}%)",
    "unknown error": "; how exact it is has not been measured",
    "nothing": "nothing in the picture looks like one",
    "worse": "training has not made it better, look at it before you use it",
    "perhaps": "it may be something else, or something may cover it",
    "found": "{a} {kind}",
    "perhaps found": "perhaps {a} {kind}",
    "hardly found": "not clearly {a} {kind}",
    "not found": "no {kind} found",
    "turned away": "what is turned away is invented",
    "all": "all of it is invented",
}


def certainty(score: float, measured: Mapping[str, float]) -> float:
    """Returns how certain it is that a picture shows what the GAN draws, 0 to 1: a detector's score, looked at again.

    What a face detector takes for a face may have landmarks that fit no view of one, or look nothing like the model's.
    """
    misfit, unlike = (measured.get(name, math.nan) for name in ("misfit", "unlike"))
    if math.isnan(misfit) or math.isnan(unlike):
        return score
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    parts = (1.0, math.log(bounded / (1 - bounded)), misfit, unlike)
    return 1 / (1 + math.exp(-sum(weight * part for weight, part in zip(ODDS, parts, strict=True))))


def verdict(
    score: float,
    measured: Mapping[str, float],
    *,
    kind: str,
    side: SideModel | None = None,
    widths: float = 1.0,
    own: bool = False,
    worse: bool = False,
) -> dict[str, Any]:
    """Returns what is told of a shape.

    Args:
      score: how certain it is that the picture shows what the GAN draws, 0 to 1.
      measured: values of `MEASURES`, as of `measured`.
      kind: what the GAN draws, in a word.
      side: the model's errors; None if nobody has measured them.
      widths: the distance of the object, in widths of what the picture shows there; depth errors are told in widths.
      own: whether the shape was fitted to this picture.
      worse: whether training has made it worse.

    Returns:
      `grade`; `found`, `shape` and `invented`, three statements, and all in one sentence, `verdict`; `warnings`, what
      speaks against the shape, gravest first; `expected_side` and its `side_range` (5th and 95th percentile), None
      where unknown.
    """
    words = {"a": "an" if kind[0] in "aeiou" else "a", "kind": kind}
    guess, doubted = (_beyond(measured, limit) for limit in ("no", "doubt"))
    beyond = [*guess, *(name for name in doubted if name not in guess)]
    reasons = [_words_of(name, measured[name], kind) for name in beyond]
    if worse:
        reasons.insert(0, WORDS["worse"])
    if score < UNLIKELY:
        reasons = [WORDS["nothing"]]  # of what is not there, nothing else needs saying
    elif score < SURE:
        reasons.insert(0, WORDS["perhaps"])
    usual: Grade = "unmeasured" if side is None else "trust"
    grade: Grade = "no" if score < PERHAPS or guess else "doubt" if reasons else usual
    expected = None if side is None or grade == "no" else side.expected(measured)
    span = None if side is None or expected is None else [expected * factor for factor in side.interval.tolist()]
    whose = WORDS["own" if own else "general"].format(**words)
    shape = WORDS[grade].format(whose=whose, why=", and ".join(reasons))
    if expected is not None and span is not None:
        percent = {"side": expected, "least": span[0], "most": span[1]}
        shape += WORDS["error"].format(**{name: f"{100 * value * widths:.0f}" for name, value in percent.items()})
    elif grade != "no":
        shape += WORDS["unknown error"]
    detected = WORDS[_detected(score)].format(**words)
    invented = WORDS["all" if score < UNLIKELY else "turned away"]
    return {
        "grade": grade,
        "found": detected,
        "shape": shape,
        "invented": invented,
        "verdict": f"{detected}: {shape}; {invented}",
        "warnings": reasons,
        "expected_side": expected,
        "side_range": span,
    }


def _beyond(measured: Mapping[str, float], limit: Literal["doubt", "no"]) -> list[str]:
    """Returns what is as bad as its limit, or worse."""
    values = {name: measured.get(name, math.nan) for name in MEASURES}
    return [name for name, value in values.items() if MEASURES[name].beyond(value, getattr(MEASURES[name], limit))]


def _words_of(name: str, value: float, kind: str) -> str:
    return MEASURES[name].words.format(value=f"{value * MEASURES[name].scale:.0f}", kind=kind)


def _detected(score: float) -> str:
    if score >= PERHAPS:
        return "found" if score >= SURE else "perhaps found"
    return "hardly found" if score >= UNLIKELY else "not found"
