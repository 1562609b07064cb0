"""How far to trust a result, in figures and in words: `metrics["trust"]`, and the uncertainty of its depth.

Three things are put together. What a picture shows and how well (`Assessment`) is judged by a detector and by the photo
alone; nothing of it depends on gain, contrast or colour, as far as the object can still be seen. How good a model's
shapes are then is known from its errors against true depth, kept beside the model in `NAME.trust.safetensors`
(`benchmarks/quality/verdicts.py` writes it). And training may have made things better or worse. `verdict` makes a grade
and sentences of them, the same for every command and, by `apps.export.web.browser_constants`, for the browser page
(`assets/web/verdict.js`). What is unknown is not reported. docs/reports/trust.md shows what the answers are worth.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.detection import weights
from gan2shape_jax.detection.detector import LIGHTEST, LUMA, PERHAPS, SIDE, SURE, Detector
from gan2shape_jax.detection.gan_detector import at_side
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import categories, data, image_files
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.weights import open_safetensors, safetensors_bytes
from gan2shape_jax.plan.recipe import Plan
from gan2shape_jax.results import AWAITS, Reconstruction, Row, load_metrics
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2 import Architecture

# Distances in pixels of a crop of `SIDE`, whose differences are compared: in a sharp picture those of neighbours are
# nearly as large as those of pixels further apart; where it is out of focus, they are as small as a plane's.
NEAR, FAR = 1, 4
CORE = 0.75  # of a crop's side, along its middle: features are in it, and only hair, ears and neck around it
LOW, HIGH = 5, 95  # percentiles of luma between which contrast is measured
AROUND = 6  # pixels to either side of those that a pixel's surroundings have, of pictures of `SIDE`
PART = 3  # pixels to either side of those that the brightness of a part of the face is the mean of, of `SIDE`
EYE = 0.2  # standard deviation of where an eye is, of the distance of the eyes
MOUTH_WIDE, MOUTH_HIGH = 0.42, 0.19  # standard deviations of where it is: of its width, and of how far eyes are above

# Bands of brows, nose and forehead: how far below the eyes, of how far the mouth is, and standard deviations of where
# they are, of the distance of the eyes to either side and of that of eyes and mouth up and down. The first two count by
# themselves as well.
BANDS = ((-0.32, 0.5, 0.1), (0.6, 0.55, 0.12), (-0.55, 0.4, 0.1))
OPENS = 0.2, -0.1, 0.3  # where a mouth opens: its widths to either side, and of how far eyes are above, down to below
DARK = 20  # percentile of luma there that is compared: an open mouth is dark, lips and teeth are not


class Assessment(NamedTuple):
    """What a crop shows, and how well, judged by the photo alone; NaN where that is unknown."""

    score: float  # that it shows an object of the GAN's kind, 0 to 1
    pixels: float = np.nan  # of the photo, along the crop's side
    outside: float = np.nan  # share of where the object's `CORE` usually is that lies outside of the photo, 0 to 1
    light: float = np.nan  # luma that the lightest hundredth of the crop exceeds, 0 to 255
    contrast: float = np.nan  # range of the object's luma (5th to 95th percentile), as a share of `light`
    # How fast differences of luma grow with distance on the object: about 0.5 in a sharp picture and 1 where it is out
    # of focus (the exponent of the structure function, also known as Hurst's).
    blur: float = np.nan


def assessed(
    crop: UInt8[np.ndarray, "s s 3"],
    score: float,
    inside: Bool[np.ndarray, "s s"],
    *,
    pixels: float = np.nan,
    outside: float = np.nan,
) -> Assessment:
    """Returns the assessment of a crop of `SIDE` pixels, not lightened; `inside` is where its object usually is."""
    luma = crop @ np.array(LUMA)
    light = float(np.percentile(luma, LIGHTEST))
    low, high = np.percentile(luma[inside], (LOW, HIGH))
    return Assessment(score, pixels, outside, light, float(high - low) / max(light, 1.0), blur(luma, inside))


def blur(luma: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"]) -> float:
    """Returns how blurred a picture is on its object, see `Assessment`; gain and contrast change nothing."""
    near, far = (_difference(luma, inside, apart) for apart in (NEAR, FAR))
    return float(np.log(max(far, 1e-6) / max(near, 1e-6)) / (2 * np.log(FAR / NEAR)))


def _difference(luma: np.ndarray, inside: np.ndarray, apart: int) -> float:
    """Returns the mean squared difference of the object's pixels that lie this far apart along a row or column."""
    squares, counts = 0.0, 0
    for rows in (False, True):
        values, there = (luma.T, inside.T) if rows else (luma, inside)
        both = there[:, apart:] & there[:, :-apart]
        squares += float(np.square(values[:, apart:] - values[:, :-apart])[both].sum())
        counts += int(both.sum())
    return squares / max(counts, 1)


def dissimilarity(
    picture: Float[np.ndarray, "s s 3"], reconstruction: Float[np.ndarray, "s s 3"], inside: Bool[np.ndarray, "s s"]
) -> float:
    """Returns how dissimilar a picture and a model's reconstruction are inside the object: 0 is alike, 1 unrelated.

    It is 1 - NCC, one minus the normalised cross-correlation of luma, from which the mean of each pixel's surroundings
    is subtracted before: neither light, gain, contrast nor colour decide, but where eyes, nose and mouth are.
    """
    there, other = (_luma_detail(values, inside)[inside] for values in (picture, reconstruction))
    return 1.0 - float(np.sum(there * other) / max(np.sqrt(np.sum(there**2) * np.sum(other**2)), 1e-9))


def mouth(
    picture: Float[np.ndarray, "s s 3"], landmarks: Float[np.ndarray, "5 2"], inside: Bool[np.ndarray, "s s"]
) -> float:
    """Returns how much there is to see where a face's mouth is, relative to the whole face; NaN without landmarks.

    It is about 1.1 where a mouth is seen and 0.4 where a surgical mask covers it: the standard deviation of luma there,
    after the mean of each pixel's surroundings is subtracted, over the root mean square of that inside the face.
    Whether lips are darker or lighter than what is around them does not count.

    Args:
      picture: of any range; gain and contrast do not change the result.
      landmarks: eyes, nose, corners of the mouth, in pixels, with pixel centres at integers.
      inside: where the face is.
    """
    if not np.isfinite(landmarks).all():
        return float("nan")
    place, eyes = landmarks[3:].mean(0), landmarks[:2].mean(0)
    wide = MOUTH_WIDE * abs(float(landmarks[4, 0] - landmarks[3, 0]))
    return _scatter(_luma_detail(picture, inside), place, wide, MOUTH_HIGH * abs(float(place[1] - eyes[1])), inside)


def _scatter(
    detail: Float[np.ndarray, "s s"],
    place: Float[np.ndarray, "2"],
    wide: float,
    high: float,
    inside: Bool[np.ndarray, "s s"],
) -> float:
    """Returns the standard deviation of detail around a place, over the root mean square of it inside; NaN without.

    `wide` and `high` are the standard deviations, in pixels, of the Gaussian that weights it.
    """
    if not inside.any():
        return float("nan")
    rows, columns = np.mgrid[: len(detail), : len(detail)]
    across, down = (columns - place[0]) / max(wide, 1.0), (rows - place[1]) / max(high, 1.0)
    weight = inside * np.exp(-(across**2) / 2 - down**2 / 2)
    total = max(float(weight.sum()), 1e-9)
    mean = float((weight * detail).sum()) / total
    there = float((weight * np.square(detail - mean)).sum()) / total
    return float(np.sqrt(there / max(float(np.square(detail[inside]).mean()), 1e-9)))


def hidden(
    picture: Float[np.ndarray, "s s 3"],
    reconstruction: Float[np.ndarray, "s s 3"],
    landmarks: Float[np.ndarray, "5 2"],
    inside: Bool[np.ndarray, "s s"],
    unevenness: float,
) -> float:
    """Returns how much looks hidden of a face: its unevenness, the more the less there is to see of its features.

    What is least counts: of brows and nose, as of `mouth`, and of brows, nose and forehead beside the same in the
    model's picture. An arm is smooth where these are. NaN without landmarks.
    """
    if not np.isfinite(landmarks).all():
        return float("nan")
    eyes, down = landmarks[:2].mean(0), landmarks[3:].mean(0) - landmarks[:2].mean(0)
    apart, far = (float(np.hypot(*along)) for along in (landmarks[1] - landmarks[0], down))
    own, models = (
        [_scatter(detail, eyes + below * down, wide * apart, high * far, inside) for below, wide, high in BANDS]
        for detail in (_luma_detail(picture, inside), _luma_detail(reconstruction, inside))
    )
    beside = min(seen / max(drawn, 1e-6) for seen, drawn in zip(own, models, strict=True))
    return unevenness / max(min(own[:2]) * beside, 1e-6)


def open_mouth(
    picture: Float[np.ndarray, "s s 3"],
    reconstruction: Float[np.ndarray, "s s 3"],
    landmarks: Float[np.ndarray, "5 2"],
    inside: Bool[np.ndarray, "s s"],
) -> float:
    """Returns how much darker than the model's a mouth is where it opens, as a share of the face's range of luma.

    The model's mouth is closed, or shows teeth; see `mouth` for the arguments. NaN without landmarks, or if none of the
    mouth is inside.
    """
    there, other = (values @ np.array(LUMA) for values in (picture, reconstruction))
    (x, y), wide = landmarks[3:].mean(0), OPENS[0] * abs(landmarks[4, 0] - landmarks[3, 0])
    top, bottom = (y + share * (y - landmarks[:2, 1].mean()) for share in OPENS[1:])
    rows, columns = np.mgrid[: len(picture), : len(picture)]
    opens = inside & (abs(columns - x) < wide) & (top < rows) & (rows < bottom)
    if not opens.any():
        return float("nan")
    low, high = np.percentile(there[inside], (LOW, HIGH))
    darker = np.percentile(other[opens], DARK) - np.percentile(there[opens], DARK)
    return float(darker) / max(float(high - low), 1e-6)


def shape_distance(
    depth: Float[np.ndarray, "s s"], mean: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"]
) -> float:
    """Returns how far a shape is from the mean one inside the object, root mean square, as a share of its relief.

    Both are depths in the canonical frame, in scene units; how far away they are does not count.
    """
    there, usual = depth[inside], mean[inside]
    return float((there - usual).std() / max(float(np.ptp(usual)), 1e-6)) if inside.any() else float("nan")


def brightness(
    picture: Float[np.ndarray, "s s 3"], reconstruction: Float[np.ndarray, "s s 3"], inside: Bool[np.ndarray, "s s"]
) -> Float[np.ndarray, "s s"]:
    """Returns how much lighter than a model's reconstruction the parts of a face are, as shares of its range of luma.

    Their mean inside is subtracted, and outside is 0: what differs from part to part is left, as where hair, an arm or
    sunglasses cover a face and the model draws skin. Parts are squares of seven of 64 pixels.
    """
    there, other = (values @ np.array(LUMA) for values in (picture, reconstruction))
    if not inside.any():
        return np.zeros_like(there)
    around = max(1, round(PART * len(picture) / SIDE))
    lighter = _summed(np.where(inside, there - other, 0), around) / np.maximum(_summed(inside * 1.0, around), 1)
    low, high = np.percentile(there[inside], (LOW, HIGH))
    return np.where(inside, lighter - lighter[inside].mean(), 0) / max(float(high - low), 1e-6)


def eyes(
    lighter: Float[np.ndarray, "s s"], landmarks: Float[np.ndarray, "5 2"], inside: Bool[np.ndarray, "s s"]
) -> float:
    """Returns how much darker than the model's a face's eyes are, beside all of it; NaN without landmarks.

    `lighter` is of `brightness`; see `mouth`.
    """
    if not np.isfinite(landmarks).all():
        return float("nan")
    wide = max(EYE * float(np.hypot(*(landmarks[1] - landmarks[0]))), 1.0)
    rows, columns = np.mgrid[: len(lighter), : len(lighter)]
    weight = inside * sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * wide**2)) for x, y in landmarks[:2])
    return -float((weight * lighter).sum() / max(float(weight.sum()), 1e-9))


def _luma_detail(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return _detail(picture @ np.array(LUMA), inside, max(1, round(AROUND * len(picture) / SIDE)))


def _detail(luma: np.ndarray, inside: np.ndarray, around: int) -> np.ndarray:
    """Returns luma less the mean of the object's pixels in the square around each pixel."""
    count = np.maximum(_summed(inside.astype(np.float64), around), 1)
    return np.asarray(luma - _summed(np.where(inside, luma, 0.0), around) / count)


def _summed(values: np.ndarray, around: int) -> np.ndarray:
    """Returns the sum of the values in the square around each pixel; those beyond the edge count as 0."""
    total = np.pad(values, ((around + 1, around), (around + 1, around))).cumsum(0).cumsum(1)
    wide = 2 * around + 1
    return np.asarray(total[wide:, wide:] - total[:-wide, wide:] - total[wide:, :-wide] + total[:-wide, :-wide])


# The logarithm of the odds that there is such an object: of 1, of those of the detector, and of two measures,
# `landmark_residual` and `dissimilarity`.
ODDS = (-1.8, 2.0, -30.0, -3.0)
# How far to trust a shape; 'unmeasured': nothing speaks against it, but nobody has measured how accurate it is.
Grade = Literal["trust", "unmeasured", "doubt", "no"]
LOST = 0.1  # the residual of landmarks that the detector does not see in the crop
UNLIKELY = 0.3  # score below which a picture shows nothing of the kind


class Measure(NamedTuple):
    """Something that a verdict goes by; numbers chosen as docs/reports/trust.md says."""

    usual: float  # the value from which it counts
    worst: float  # the value at which it counts wholly; below `usual` where small values are bad
    doubt: float | None = None  # from where the shape is doubted; None: never for this alone
    no: float | None = None  # from where the shape is a guess; None: never for this alone
    words: str = ""  # what is told of it then, after "but"; with the value in it, times `scale`, where it says so
    scale: float = 1.0
    unless: str = ""  # the measure that, if it is doubted, explains this one

    def severity(self, value: float) -> float:
        """Returns how much it counts, 0 to 1; unknown values do not."""
        return 0.0 if math.isnan(value) else float(np.clip((value - self.usual) / (self.worst - self.usual), 0, 1))

    def beyond(self, value: float, limit: float | None) -> bool:
        """Whether a value is as bad as a limit, or worse."""
        return limit is not None and ((value >= limit) if self.worst > self.usual else (value <= limit))


MEASURES: Mapping[str, Measure] = {
    "unsure": Measure(0.03, 0.3),
    "landmark_residual": Measure(0.01, 0.04, 0.03, 0.06, "its features do not fit a {kind} seen from any side"),
    "yaw": Measure(
        20.0, 70.0, 38.0, None, "it is turned by {value} degrees, so its far side is the mirror image of the near one"
    ),
    "pitch": Measure(
        5.0, 25.0, 22.0, None, "it looks {value} degrees up or down, so what is hidden from there is made up"
    ),
    "size": Measure(64.0, 20.0, 40.0, 20.0, "it has only {value} pixels in the photo"),
    "blur": Measure(0.65, 0.95, 0.8, 0.93, "it is out of focus"),
    "outside": Measure(0.0, 0.3, 0.08, 0.35, "{value}% of it is outside the photo", 100.0),
    "mouth": Measure(1.0, 0.4, 0.68, None, "its mouth is covered, or hardly seen", unless="eyes"),
    "open_mouth": Measure(0.15, 0.6, 0.25, None, "its mouth is open, and the model's is closed", unless="mouth"),
    "eyes": Measure(0.06, 0.3, 0.18, None, "its eyes are covered"),
    "unevenness": Measure(0.15, 0.4, 0.23, None, "part of it is as if covered, or in deep shadow", unless="eyes"),
    "hidden": Measure(0.3, 1.0, 0.5, None, "its brows, nose or forehead are hardly seen", unless="unevenness"),
    "shape_distance": Measure(
        0.05, 0.16, 0.08, None, "its shape is unlike a usual {kind}'s, as where hair covers an eye", unless="eyes"
    ),
    "dissimilarity": Measure(0.4, 0.9, 0.95, 1.05, "the model's picture of it looks different"),
    "light": Measure(100.0, 30.0, 52.0, 25.0, "it is very dark"),
    "contrast": Measure(0.4, 0.1, 0.15, 0.08, "it has hardly any contrast"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class SideModel:
    """The depth error to expect of a model's shapes, measured on objects of known depth."""

    weights: Float[np.ndarray, " w"]  # of log(SIDE): a constant, and what each of `MEASURES` adds times its severity
    interval: Float[np.ndarray, "2"]  # what the 5th and the 95th of a hundred have, as multiples of the expected SIDE

    @property
    def usual(self) -> float:
        """The SIDE of a picture of which nothing counts."""
        return float(np.exp(self.weights[0]))

    def expected(self, measured: Mapping[str, float]) -> float:
        """Returns the SIDE to expect of a picture with these measures."""
        severities = [measure.severity(measured.get(name, math.nan)) for name, measure in MEASURES.items()]
        return float(np.exp(self.weights[0] + np.dot(self.weights[1:].astype(np.float64), severities)))


_OF_METRICS = ("mouth", "open_mouth", "eyes", "unevenness", "hidden", "shape_distance", "dissimilarity")


def measured(assessment: Assessment, view: Float[np.ndarray, "6"], metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values of `MEASURES`, NaN where they are unknown.

    Args:
      assessment: what of the picture was seen before its 3D was made.
      view: the object's, as of `geometry.camera`.
      metrics: of the result; `landmark_error` (None: no landmarks were detected) and those of the same names are read.
    """
    landmark_residual = metrics.get("landmark_error", math.nan)
    pitch, yaw = (abs(math.degrees(float(angle))) for angle in view[:2])
    return {
        "unsure": 1.0 - assessment.score,
        "landmark_residual": LOST if landmark_residual is None else float(landmark_residual),
        "yaw": yaw,
        "pitch": pitch,
        "size": assessment.pixels,
        "blur": assessment.blur,
        "outside": assessment.outside,
        **{name: float(metrics.get(name, math.nan)) for name in _OF_METRICS},
        "light": assessment.light,
        "contrast": assessment.contrast,
    }


# The sentences, with what goes into their braces; the browser page fills the same ones.
WORDS: Mapping[str, str] = {
    "general": "the general shape of {a} {kind}, not this one's own",
    "own": "its own shape",
    "trust": "{whose}, as accurate as usual",
    "unmeasured": "{whose}",
    "doubt": "{whose}, but {why}",
    "no": "the shape is a guess: {why}",
    "error": ": depth is off by about {side}% of the picture's width (90% interval {least}% to {most}%)",
    "unknown error": "; how accurate it is has not been measured",
    "nothing": "nothing in the picture looks like one",
    "worse": "training has not made it better, look at it before you use it",
    "perhaps": "it may be something else, or something may cover it",
    "found": "{a} {kind}",
    "perhaps found": "perhaps {a} {kind}",
    "hardly found": "not clearly {a} {kind}",
    "not found": "no {kind} found",
    "turned away": "the side facing away is invented",
    "all": "all of it is invented",
}


def certainty(score: float, measured: Mapping[str, float]) -> float:
    """Returns how certain it is that a picture shows what the GAN draws, 0 to 1: a detector's score, looked at again.

    What a face detector takes for a face may have landmarks that fit no view of one, or look nothing like the model's.
    """
    landmark_residual, unlike = (measured.get(name, math.nan) for name in ("landmark_residual", "dissimilarity"))
    if math.isnan(landmark_residual) or math.isnan(unlike):
        return score
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    parts = (1.0, math.log(bounded / (1 - bounded)), landmark_residual, unlike)
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
    values = {name: f"{measured[name] * MEASURES[name].scale:.0f}" for name in beyond}
    reasons = [MEASURES[name].words.format(value=value, kind=kind) for name, value in values.items()]
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
    doubted = {name for name, value in values.items() if MEASURES[name].beyond(value, MEASURES[name].doubt)}
    beyond = (name for name, value in values.items() if MEASURES[name].beyond(value, getattr(MEASURES[name], limit)))
    return [name for name in beyond if MEASURES[name].unless not in doubted]


def _detected(score: float) -> str:
    if score >= PERHAPS:
        return "found" if score >= SURE else "perhaps found"
    return "hardly found" if score >= UNLIKELY else "not found"


_FORMAT = {"format": "gan2shape_jax trust", "version": "3"}
_BEYOND = 100.0  # any number of a record: they have up to 5, and their exponentials have to be numbers


@dataclasses.dataclass(frozen=True, eq=False)
class TrustRecord:
    """The errors to expect of a model."""

    usual_error: Float[np.ndarray, "s s"]  # root mean square of depth, canonical, scene units, up to a factor of depth
    level: float  # multiple of `usual_error` that 80% of pixels' errors stay within when SIDE is as usual
    side: SideModel
    mean_depth: Float[np.ndarray, "s s"]  # the mean shape, canonical, scene units from its own mean


def beside(model: pathlib.Path) -> pathlib.Path:
    """Returns the path of a model's trust record."""
    return model.with_name(f"{model.stem}.trust.safetensors")


def trust_bytes(record: TrustRecord, model_sha256: str) -> bytes:
    """Returns a record's file content; the same record gives the same bytes."""
    tensors: dict[str, np.ndarray] = {
        "usual_error": np.ascontiguousarray(record.usual_error, np.float16),
        "mean_depth": np.ascontiguousarray(record.mean_depth, np.float16),
        "level": np.array([record.level], np.float32),
        "side_weights": np.ascontiguousarray(record.side.weights, np.float32),
        "side_interval": np.ascontiguousarray(record.side.interval, np.float32),
    }
    return safetensors_bytes(tensors, _FORMAT | {"measures": " ".join(MEASURES), "model_sha256": model_sha256})


def read_trust(model: pathlib.Path, image_size: int) -> TrustRecord | None:
    """Returns a model's trust record; None if there is none, or it cannot be read or belongs to another model."""
    path = beside(model)
    maps = dict.fromkeys(("usual_error", "mean_depth"), (image_size, image_size))
    shapes: dict[str, tuple[int, ...]] = {**maps, "level": (1,)}
    shapes |= {"side_weights": (1 + len(MEASURES),), "side_interval": (2,)}
    if not (path.is_file() and model.is_file()):
        return None
    try:
        with open_safetensors(path) as file:
            expected = _FORMAT | {"measures": " ".join(MEASURES), "model_sha256": sha256(model)}
            if any(file.metadata.get(key) != value for key, value in expected.items()) or dict(file.shapes) != shapes:
                return None
            tensors = {name: np.asarray(file.read(name), np.float32) for name in shapes}
    except UserError:
        return None
    if not all((abs(value) < _BEYOND).all() for value in tensors.values()) or tensors["usual_error"].min() < 0:
        return None
    side = SideModel(tensors["side_weights"], tensors["side_interval"])
    return TrustRecord(tensors["usual_error"], float(tensors["level"][0]), side, tensors["mean_depth"])


@dataclasses.dataclass(frozen=True, eq=False)
class Grader:
    """Grades a run's results; created by `load_grader`."""

    config: ConfigDict  # the run's
    detector: Detector | None = None  # None if there is none for the GAN, or what pictures show is known
    record: TrustRecord | None = None  # what is known about the model's errors
    by_model: bool = False  # whether a lifted model explains the pictures
    mask: Float[np.ndarray, "s s"] | None = None  # where a lifted model's objects are in the canonical frame

    def without_files(self) -> Grader:
        """Returns a grader for pictures that are not files in the run's list: it cannot see beyond their crop."""
        return dataclasses.replace(self, detector=None) if self.config.data.crop else self


def load_grader(
    plan: Plan,
    gan: tuple[Architecture, dict[str, Any]] | None = None,
    *,
    checkpoint: str | None = None,
    assesses: bool = True,
) -> Grader:
    """Returns the grader of a run's results, as far as the files for it exist.

    `gan` has the architecture and the discriminator's parameters, if already loaded; `checkpoint` is the GAN's file, if
    it is another than the configuration's; `assesses` says whether it has to judge what pictures show.
    """
    config = plan.config
    file = config.gan.checkpoint if checkpoint is None else checkpoint
    kind = categories.category_of(config.category).detector
    detector_weights, detector = weights.stored_weights(pathlib.Path(file), kind) if file and assesses else None, None
    if detector_weights is not None:
        architecture, loaded = stylegan2.load(file) if gan is None else (gan[0], {"discriminator": gan[1]})
        detector = weights.detector_by(detector_weights, architecture, loaded)
    # Joint training moves the networks away from the model that they start from, and from what is known about it.
    by_model = plan.model is not None and plan.recipe.name != "joint"
    record = read_trust(pathlib.Path(config.networks.pretrained), config.image_size) if by_model else None
    return Grader(config, detector, record, by_model, plan.mask)


def graded(grader: Grader, result: Reconstruction, assessment: Assessment | None) -> Reconstruction:
    """Returns a result with its grade added: `metrics["trust"]` and `uncertainty`.

    `assessment` is what its picture shows, and how well; None if nobody knows.
    """
    metrics = result.metrics
    if assessment is None:  # without a detector, the model alone says what there is
        if "dissimilarity" not in metrics:
            return result
        unlike = MEASURES["dissimilarity"]
        assessment = Assessment(float(not unlike.beyond(metrics["dissimilarity"], unlike.no)))
    # What a refinement has changed is the picture's own only where held-out samples confirm it.
    own = grader.config.recipe != "predict" and not grader.config.refinement.freeze_geometry
    own = own and metrics.get("refinement_share", 0 if grader.by_model else 1) > 0 and not metrics.get(AWAITS)
    known = measured(assessment, result.view, metrics)
    score = certainty(assessment.score, known)
    told = verdict(
        score,
        known,
        kind=str(categories.category_of(grader.config.category)),
        side=None if grader.record is None else grader.record.side,
        widths=widths(result.camera),
        own=own,
        worse=bool(metrics.get("worse_than_prior")),
    )
    grading = {"category": round(score, 4), **told}
    grading["measured"] = {name: round(value, 4) for name, value in known.items() if np.isfinite(value)}
    expected = told["expected_side"]
    uncertainty = None if grader.record is None or expected is None else depth_uncertainty(grader.record, expected)
    return dataclasses.replace(result, metrics=metrics | {"trust": grading}, uncertainty=uncertainty)


def widths(camera: Camera) -> float:
    """Returns how far away an object is in units of the width that a picture shows there, as `verdict` tells errors."""
    return float(camera.focal_length / camera.image_size)


def depth_uncertainty(record: TrustRecord, expected: float) -> Float[np.ndarray, "s s"]:
    """Returns how far depth may be off (S, S), canonical frame, scene units: 80% of pixels are within this.

    It scales with the ratio of the expected SIDE to the usual one.
    """
    return np.asarray(expected / record.side.usual * record.level * record.usual_error, np.float32)


def assessments(grader: Grader, results: Sequence[Reconstruction]) -> list[Assessment | None]:
    """Returns what the image of each result shows, and how well; None where that cannot be determined."""
    if grader.detector is None:
        return [None] * len(results)
    pictures = [_picture(grader.config, result) for result in results]
    crops = [None if picture is None else at_side(picture) for picture in pictures]
    there = [crop for crop in crops if crop is not None]
    scores = iter(grader.detector.scores(np.stack(there)) if there else [])
    masks = [np.asarray(Image.fromarray(result.input_mask).resize((SIDE, SIDE))) > 0.5 for result in results]
    return [
        None if crop is None else assessed(crop, next(scores), mask) for crop, mask in zip(crops, masks, strict=True)
    ]


def _picture(config: ConfigDict, result: Reconstruction) -> UInt8[np.ndarray, "s s 3"] | None:
    """Returns what a result's image shows, as the GAN frames it; None if that cannot be read."""
    if not config.data.crop:
        return to_uint8(np.asarray(result.signed_image))
    try:  # the GAN draws more than the crop
        picture = data.open_picture(config, f"{result.name}.png").picture
    except UserError:
        return None
    return np.asarray(image_files.crop_and_resize(picture, None, SIDE))


def compare_with_prior(metrics: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the metrics that compare the end of an image's training with its beginning.

    If true depth is known, SIDE decides. If not, nothing measures the shape itself; what can be checked is whether step
    3 worked: whether the networks explain the samples that the GAN projected (`l1_samples`) better at the end than when
    it was first logged. Samples held out of a refinement are better evidence than those trained on.

    Args:
      metrics: final metrics, with those of the fitted prior under `prior` or, if weights were given instead, under
        `start`; both contain `side` if true depth is known. A refinement adds `held_out_l1`, for the model and for
        steps on the way from it.
      history: the image's own.

    Returns:
      `samples_l1` with `start` and `end`, if step 3 logged it; `worse_than_prior`, if there is something to compare.
    """
    errors = [row["l1_samples"] for row in history if "l1_samples" in row]
    measured: dict[str, Any] = {"samples_l1": {"start": errors[0], "end": errors[-1]}} if errors else {}
    pair = _sides(metrics)
    if pair is None and metrics.get("held_out_l1") and metrics.get("refinement_share") is not None:
        pair = metrics["held_out_l1"]["0.0"], metrics["held_out_l1"][str(metrics["refinement_share"])]
    if pair is None and len(errors) > 1:
        pair = errors[0], errors[-1]
    return measured if pair is None else measured | {"worse_than_prior": bool(pair[1] > pair[0])}


def _sides(metrics: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns SIDE before and after training, if both are known."""
    before = next((metrics[name].get("side") for name in ("prior", "start") if name in metrics), None)
    return None if before is None or "side" not in metrics else (before, metrics["side"])


def sentence_of(name: str, metrics: Mapping[str, Any]) -> str | None:
    """Returns the line that says how far to trust an image's result; None if nothing is known."""
    trust = metrics.get("trust")
    warning = "warning: " if trust and trust["grade"] == "no" else ""
    return f"{warning}{name}: {trust['verdict']}" if trust else None


def row_of(name: str, folder: pathlib.Path) -> Row:
    """Returns a finished image's row in tables, from its folder, with remarks; it says so if that is unreadable."""
    try:
        metrics = load_metrics(folder)
    except UserError as error:
        return Row(name, f"unreadable: {error}")
    return Row(name, ", ".join(["done", *remarks(metrics)]), metrics)


def remarks(metrics: Mapping[str, Any]) -> list[str]:
    """Returns remarks on a finished image, short enough for a table; [] if there are none."""
    notes = ["not refined yet"] if metrics.get(AWAITS) else []
    if metrics.get("worse_than_prior"):
        start = "prior" if "prior" in metrics else "start"
        notes.append(f"worse than its {start}" if _sides(metrics) else "explains its samples worse and worse")
    trust = metrics["trust"] if isinstance(metrics.get("trust"), dict) else {}
    if trust.get("grade") not in ("doubt", "no"):
        return notes
    if trust["grade"] == "no" and trust.get("category", 1.0) < SURE:
        return [*notes, trust.get("found", "far from what the GAN draws")]
    why = [warning for warning in trust.get("warnings", ()) if warning != WORDS["worse"]]
    doubted = "the shape is a guess" if trust["grade"] == "no" else "doubtful"
    if not why and metrics.get("worse_than_prior"):
        return notes
    return [*notes, f"{doubted}: {', '.join(why)}" if why else doubted]
