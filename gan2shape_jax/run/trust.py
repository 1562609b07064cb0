"""How far to trust a result, in figures and in words: `metrics["trust"]`, and the uncertainty of its depth.

What a picture shows, and how well, is assessed by a detector (`detection`) and by the photo itself; how good the shape
is then, by the model's errors as measured against true depth, kept beside the model in `NAME.trust.safetensors`
(`benchmarks/quality/verdicts.py` writes it), and by whether training has made things better. `verdict` makes
sentences of both. What is unknown is not reported. docs/reports/trust.md shows how reliable the answers are.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.detection import weights
from gan2shape_jax.detection.alignment import resized
from gan2shape_jax.detection.assessment import Assessment, assessed
from gan2shape_jax.detection.detector import SIDE, SURE, Detector
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import categories, data, image_files
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.weights import open_safetensors, safetensors_bytes
from gan2shape_jax.results import AWAITS, Reconstruction, Row, load_metrics
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.run.verdict import MEASURES, WORDS, SideModel, certainty, measured, verdict
from gan2shape_jax.stylegan2 import Architecture

_FORMAT = {"format": "gan2shape_jax trust", "version": "2"}


@dataclasses.dataclass(frozen=True, eq=False)
class TrustRecord:
    """The errors to expect of a model.

    Attributes:
      usual_error: (S, S) root mean square depth error, canonical frame, scene units, up to a factor of depth.
      level: multiple of `usual_error` that 80% of pixels' errors stay within when SIDE is as usual.
      side: the SIDE to expect of a picture.
    """

    usual_error: Float[np.ndarray, "s s"]
    level: float
    side: SideModel


def beside(model: pathlib.Path) -> pathlib.Path:
    """Returns the path of a model's trust record."""
    return model.with_name(f"{model.stem}.trust.safetensors")


def trust_bytes(record: TrustRecord, model_sha256: str) -> bytes:
    """Returns a record's file content; the same record gives the same bytes."""
    tensors: dict[str, np.ndarray] = {
        "usual_error": np.ascontiguousarray(record.usual_error, np.float16),
        "level": np.array([record.level], np.float32),
        "side_weights": np.ascontiguousarray(record.side.weights, np.float32),
        "side_interval": np.ascontiguousarray(record.side.interval, np.float32),
    }
    return safetensors_bytes(tensors, _FORMAT | {"measures": " ".join(MEASURES), "model_sha256": model_sha256})


def read_trust(model: pathlib.Path, image_size: int) -> TrustRecord | None:
    """Returns a model's trust record; None if there is none, or it cannot be read or belongs to another model."""
    path = beside(model)
    shapes = {"usual_error": (image_size, image_size), "level": (1,)}
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
    if not all(np.isfinite(value).all() for value in tensors.values()) or tensors["usual_error"].min() < 0:
        return None
    side = SideModel(tensors["side_weights"], tensors["side_interval"])
    return TrustRecord(tensors["usual_error"], float(tensors["level"][0]), side)


@dataclasses.dataclass(frozen=True, eq=False)
class Grader:
    """Grades a run's results; created by `load_grader`.

    Attributes:
      config: the run's configuration.
      detector: what scores crops of pictures; None if there is none for the GAN, or everything is known.
      assessed: what pictures show, and how well, by the results' names, where that is known already.
      record: what is known about the model's errors; None if nothing is.
      by_model: whether a lifted model explains the pictures.
      mask: (S, S) where the model's objects are in the canonical frame; None if the run uses no model that says so.
    """

    config: ConfigDict
    detector: Detector | None = None
    assessed: Mapping[str, Assessment] = dataclasses.field(default_factory=dict)
    record: TrustRecord | None = None
    by_model: bool = False
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
    by_model = plan.model is not None and plan.recipe.name != "joint"
    record = read_trust(pathlib.Path(config.networks.pretrained), config.image_size) if by_model else None
    return Grader(config, detector, assessed or {}, record, by_model, plan.mask)


def graded(grader: Grader, results: Sequence[Reconstruction]) -> list[Reconstruction]:
    """Returns results with their grades added: `metrics["trust"]` and `uncertainty`."""
    return list(map(functools.partial(_graded, grader), results, assessments(grader, results)))


def _graded(grader: Grader, result: Reconstruction, assessment: Assessment | None) -> Reconstruction:
    metrics = result.metrics
    if assessment is None and "unlikeness" in metrics:  # without a detector, the model alone says what there is
        unlike = MEASURES["unlike"]
        assessment = Assessment(float(not unlike.beyond(metrics["unlikeness"], unlike.no)))
    if assessment is None:
        return result
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
    by_name = {result.name: grader.assessed.get(result.name) for result in results}
    if grader.detector is not None:
        pictures = {result.name: (_picture(grader.config, result), result.input_mask) for result in results}
        there = {
            name: (resized(picture), np.asarray(Image.fromarray(mask).resize((SIDE, SIDE))) > 0.5)
            for name, (picture, mask) in pictures.items()
            if picture is not None
        }
        scores = grader.detector.scores(np.stack([crop for crop, _ in there.values()])) if there else []
        by_name |= {
            name: assessed(crop, score, mask) for (name, (crop, mask)), score in zip(there.items(), scores, strict=True)
        }
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
    if trust.get("grade") not in ("doubt", "no"):
        return notes
    if trust["grade"] == "no" and trust.get("category", 1.0) < SURE:
        return [*notes, trust.get("found", "far from what the GAN draws")]
    why = [warning for warning in trust.get("warnings", ()) if warning != WORDS["worse"]]
    doubted = "the shape is a guess" if trust["grade"] == "no" else "doubtful"
    if not why and metrics.get("worse_than_prior"):
        return notes
    return [*notes, f"{doubted}: {', '.join(why)}" if why else doubted]
