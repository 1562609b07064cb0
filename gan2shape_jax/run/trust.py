"""How far to trust a result, in figures and in words: `metrics["trust"]`, and the uncertainty of its depth.

Three things are told. What was detected: whether the picture shows what the GAN draws, by a detector (`detection`),
if there is one for the GAN, and by how well the model explains the picture: no rendered face exceeded `FAR_RATIO`, all
photographs of cats did (docs/reports/lift.md). How good the shape is then: by the model's errors as measured
against true depth, kept beside the model in `NAME.trust.safetensors` (`benchmarks/quality/trust_record.py` writes it),
and by whether training has made things better. And what is invented. What is unknown is not reported.
docs/reports/trust.md shows how reliable the answers are.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from gan2shape_jax import stylegan2
from gan2shape_jax.detection import alignment, weights
from gan2shape_jax.detection.detector import PERHAPS, SIDE, SURE, Assessment, Detector
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import categories, data, image_files
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.weights.tensors import open_safetensors, safetensors_bytes
from gan2shape_jax.results import AWAITS, Reconstruction, Row, load_metrics
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.stylegan2 import Architecture

# L1 by the model, in units of what 95% of samples stay below: beyond this a picture is far from the GAN's kind.
FAR_RATIO = 1.5
DOUBTED = 1.25  # same units: 8 of 64 cats and 5 of 48 faces are above, and so is a spoon that a search takes for a cat
_UNLIKELY = 0.3  # score below which a picture shows nothing of the kind
# How far to trust a shape, and what decides that; 'unmeasured': the picture shows what the GAN draws, no more is known.
Grade = Literal["trust", "unmeasured", "doubt", "no"]
Reason = Literal["not the kind", "not explained", "got worse", "poorly explained", "not measured", "coarse", "usual"]
_GRADES: Mapping[Reason, Grade] = {
    "not the kind": "no",
    "not explained": "no",
    "got worse": "doubt",
    "poorly explained": "doubt",
    "coarse": "doubt",
    "usual": "trust",
}
_FORMAT = {"format": "gan2shape_jax trust", "version": "1"}


@dataclasses.dataclass(frozen=True, eq=False)
class TrustRecord:
    """The errors to expect of a model.

    Attributes:
      usual_error: (S, S) root mean square depth error, canonical frame, scene units, up to a factor of depth.
      level: multiple of `usual_error` that 80% of pixels' errors stay within when SIDE is as usual.
      side_line: (2,) the expected log(SIDE) is the first, plus the second times max(atypicality, 0).
      side_range: (2,) the 5th and 95th percentiles of SIDE over pictures framed like the GAN's.
    """

    usual_error: Float[np.ndarray, "s s"]
    level: float
    side_line: Float[np.ndarray, "2"]
    side_range: Float[np.ndarray, "2"]


def beside(model: pathlib.Path) -> pathlib.Path:
    """Returns the path of a model's trust record."""
    return model.with_name(f"{model.stem}.trust.safetensors")


def trust_bytes(record: TrustRecord, model_sha256: str) -> bytes:
    """Returns a record's file content; the same record gives the same bytes."""
    tensors: dict[str, np.ndarray] = {
        name: np.ascontiguousarray(value, np.float32) for name, value in vars(record).items()
    }
    tensors |= {"usual_error": tensors["usual_error"].astype(np.float16), "level": np.array([record.level], np.float32)}
    return safetensors_bytes(tensors, _FORMAT | {"model_sha256": model_sha256})


def read_trust(model: pathlib.Path, image_size: int) -> TrustRecord | None:
    """Returns a model's trust record; None if there is none, or it cannot be read or belongs to another model."""
    path = beside(model)
    shapes = {"usual_error": (image_size, image_size), "level": (1,), "side_line": (2,), "side_range": (2,)}
    if not (path.is_file() and model.is_file()):
        return None
    try:
        with open_safetensors(path) as file:
            expected = _FORMAT | {"model_sha256": sha256(model)}
            if any(file.metadata.get(key) != value for key, value in expected.items()) or dict(file.shapes) != shapes:
                return None
            tensors = {name: np.asarray(file.read(name), np.float32) for name in shapes}
    except UserError:
        return None
    if not all(np.isfinite(value).all() for value in tensors.values()) or tensors["usual_error"].min() < 0:
        return None
    return TrustRecord(tensors["usual_error"], float(tensors["level"][0]), tensors["side_line"], tensors["side_range"])


@dataclasses.dataclass(frozen=True, eq=False)
class Grader:
    """Grades a run's results; created by `load_grader`.

    Attributes:
      config: the run's configuration.
      detector: what assesses crops of pictures; None if there is none for the GAN, or everything is known.
      assessed: what pictures show, by the results' names, where that is known already.
      record: what is known about the model's errors; None if nothing is.
      typical_l1: the L1 that 95% of the GAN's samples stay below, from the model; None if the run uses no model.
      mask: (S, S) where the model's objects are in the canonical frame; None if the run uses no model that says so.
    """

    config: ConfigDict
    detector: Detector | None = None
    assessed: Mapping[str, Assessment] = dataclasses.field(default_factory=dict)
    record: TrustRecord | None = None
    typical_l1: float | None = None
    mask: Float[np.ndarray, "s s"] | None = None

    def without_files(self) -> Grader:
        """Returns a grader for pictures that are not files in the run's list: it cannot see beyond their crop."""
        return dataclasses.replace(self, detector=None) if self.config.data.crop else self


def load_grader(
    plan: Plan,
    gan: tuple[Architecture, dict[str, Any]] | None = None,
    *,
    checkpoint: str | None = None,
    assessed: Mapping[str, Assessment] | None = None,
) -> Grader:
    """Returns the grader of a run's results, as far as the files for it exist.

    `gan` has the architecture and the discriminator's parameters, if already loaded; `checkpoint` is the GAN's file, if
    it is another than the configuration's; `assessed` what every picture shows, by name, if that is known already.
    """
    config = plan.config
    file = config.gan.checkpoint if checkpoint is None else checkpoint
    kind = categories.category_of(config.category).detector
    detector_weights = weights.stored_weights(pathlib.Path(file), kind) if file and assessed is None else None
    if detector_weights is not None and gan is None:
        architecture, loaded = stylegan2.load(file)
        gan = architecture, loaded["discriminator"]
    detector = (
        None
        if detector_weights is None or gan is None
        else weights.detector_by(detector_weights, gan[0], {"discriminator": gan[1]})
    )
    # Joint training moves the networks away from the model that they start from, and from what is known about it.
    typical = plan.model.typical_l1 if plan.model and plan.recipe.name != "joint" else None
    record = None if typical is None else read_trust(pathlib.Path(config.networks.pretrained), config.image_size)
    return Grader(config, detector, assessed or {}, record, typical, plan.mask)


def nearness(l1_p95: float, l1: float) -> dict[str, Any]:
    """Returns the metrics that say how well the unrefined model explains an image, by its L1 and the samples'."""
    return {"model_l1": l1, "model_l1_p95": l1_p95, "far_from_category": l1 > FAR_RATIO * l1_p95}


def graded(grader: Grader, results: Sequence[Reconstruction]) -> list[Reconstruction]:
    """Returns results with their grades added: `metrics["trust"]` and `uncertainty`."""
    return list(map(functools.partial(_graded, grader), results, assessments(grader, results)))


def _graded(grader: Grader, result: Reconstruction, assessment: Assessment | None) -> Reconstruction:
    metrics = result.metrics
    if assessment is None and "far_from_category" not in metrics:
        return result
    confidence = assessment.score if assessment else float(not metrics["far_from_category"])
    # Nothing can be predicted for pictures that the model does not know.
    record = grader.record if confidence >= PERHAPS and not metrics.get("far_from_category") else None
    expected = expected_side(record, assessment.atypicality if assessment else None)
    category = categories.category_of(grader.config.category)
    # What a refinement has changed is the picture's own only where held-out samples confirm it.
    unconfirmed = 0 if grader.typical_l1 is not None else 1
    own = grader.config.recipe != "predict" and not grader.config.refinement.freeze_geometry
    own = own and metrics.get("refinement_share", unconfirmed) > 0 and not metrics.get(AWAITS)
    grading: dict[str, Any] = {"category": round(confidence, 4), "expected_side": expected}
    grading |= grade_in_words(
        confidence, expected, record, metrics, kind=str(category), own=own, surely=category.detector == "face"
    )
    if assessment is not None:
        grading["atypicality"] = round(assessment.atypicality, 3)
    uncertainty = None if record is None else depth_uncertainty(record, expected)
    return dataclasses.replace(result, metrics=metrics | {"trust": grading}, uncertainty=uncertainty)


def expected_side(record: TrustRecord | None, atypical: float | None) -> float | None:
    """Returns the SIDE that a model's measured errors predict for a picture; None if unknown."""
    if record is None or atypical is None:
        return None
    constant, slope = record.side_line.astype(np.float64)
    return float(np.exp(constant + slope * max(atypical, 0.0)))


def depth_uncertainty(record: TrustRecord, expected: float | None) -> Float[np.ndarray, "s s"]:
    """Returns how far depth may be off (S, S), canonical frame, scene units: 80% of pixels are within this.

    It scales with the ratio of the expected SIDE to the usual one.
    """
    more = 1.0 if expected is None else expected / float(np.exp(record.side_line[0]))
    return np.asarray(more * record.level * record.usual_error, np.float32)


def detection_in_words(confidence: float, kind: str) -> str:
    """Returns what was detected, in a few words: the first verdict. `kind` is what the GAN draws."""
    a_kind = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if confidence < PERHAPS:
        return f"no {kind} found" if confidence < _UNLIKELY else f"not clearly {a_kind}"
    return a_kind if confidence >= SURE else f"perhaps {a_kind}"


def reason_of(
    confidence: float, expected: float | None, record: TrustRecord | None, metrics: Mapping[str, Any]
) -> Reason:
    """Returns what decides how far to trust a shape: the first that holds, from the gravest on.

    `confidence` says how certain it is that the picture shows what the GAN draws, 0 to 1; `expected` the expected SIDE.
    """
    if confidence < PERHAPS:
        return "not the kind"
    if metrics.get("far_from_category"):
        return "not explained"
    if metrics.get("worse_than_prior"):
        return "got worse"
    if metrics.get("model_l1", 0) / metrics.get("model_l1_p95", np.inf) > DOUBTED:
        return "poorly explained"
    if expected is None or record is None:
        return "not measured"
    return "coarse" if confidence < SURE or expected > record.side_range[1] else "usual"


def grade_of(reason: Reason, confidence: float) -> Grade:
    """Returns the grade: 'trust' where the error was measured on others like it, 'unmeasured' where it is unknown."""
    if reason == "not measured":
        return "unmeasured" if confidence >= SURE else "doubt"
    return _GRADES[reason]


def grade_in_words(
    confidence: float,
    expected: float | None,
    record: TrustRecord | None,
    metrics: Mapping[str, Any],
    *,
    kind: str,
    own: bool = False,
    surely: bool = False,
) -> dict[str, str]:
    """Returns three verdicts (`found`, `shape`, `invented`), all in one sentence (`verdict`), and a `grade`.

    `confidence`, `expected`, `record` and `metrics` as for `reason_of`; `kind` is what the GAN draws, in a word; `own`
    says whether the shape was fitted to this picture, `surely` whether the detection stands even if the model cannot
    explain the picture.
    """
    reason = reason_of(confidence, expected, record, metrics)
    far = bool(metrics.get("far_from_category")) and not surely
    detected = detection_in_words(min(confidence, PERHAPS) if far else confidence, kind)
    shape = _shape_words(reason, "its own shape" if own else f"the general shape of a {kind}, not this one's own")
    if reason in ("coarse", "usual"):
        shape += f" (SIDE about {expected or 0:.3f})"
    invented = "all of it is invented" if confidence < _UNLIKELY else "what is turned away is invented"
    sentence = f"{detected}: {shape}; {invented}"
    words = {"found": detected, "shape": shape, "invented": invented, "verdict": sentence}
    return words | {"grade": grade_of(reason, confidence)}


def _shape_words(reason: Reason, shape: str) -> str:
    """Returns how good a shape is, in words; `shape` says whose it is."""
    return {
        "not the kind": "the shape is a guess",
        "not explained": "the model cannot explain it, so the shape is a guess",
        "got worse": "training has not made the shape better, look at it before you use it",
        "poorly explained": f"{shape}, and the model explains this picture less well than usual",
        "not measured": f"{shape}; how exact it is has not been measured",
        "coarse": f"{shape}, coarser than usual",
        "usual": f"{shape}, as exact as usual",
    }[reason]


def assessments(grader: Grader, results: Sequence[Reconstruction]) -> list[Assessment | None]:
    """Returns what the image of each result shows; None where that cannot be determined."""
    by_name = {result.name: grader.assessed.get(result.name) for result in results}
    if grader.detector is not None:
        pictures = {result.name: _picture(grader.config, result) for result in results}
        there = {name: alignment.resized(picture) for name, picture in pictures.items() if picture is not None}
        by_name |= dict(zip(there, grader.detector.assess(np.stack([*there.values()])) if there else (), strict=True))
    return [by_name[result.name] for result in results]


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
    if metrics.get("far_from_category") or trust.get("grade") == "no":
        detected = trust.get("category", 0) >= SURE and not trust.get("found", "").startswith("perhaps")
        return [*notes, "the shape is a guess" if detected else trust.get("found", "far from what the GAN draws")]
    doubted = trust.get("grade") == "doubt" and not metrics.get("worse_than_prior")
    return [*notes, "doubtful"] if doubted else notes
