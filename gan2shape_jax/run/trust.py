"""How far to trust a result, in figures and in one sentence: `metrics["trust"]`, and the spread of its depth.

There are two questions. First, is the picture of the kind that the GAN draws? This is judged by the discriminator's
features (`stylegan2.typicality`), if the GAN has a guide, and by how well the model explains the picture: no rendered
face exceeded `FAR_RATIO`, all photographs of cats did (docs/reports/lift.md). Second, how good is the shape then? This
is judged by the model's errors as measured against true depth, kept beside the model in `NAME.trust.safetensors`
(`benchmarks/quality/trust_record.py` writes it), and by whether training has made things better. What is unknown is not
reported. docs/reports/trust.md shows how reliable the answers are.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import categories, data, image_files
from gan2shape_jax.io.files import sha256
from gan2shape_jax.io.weights.tensors import open_safetensors
from gan2shape_jax.lift import model_file
from gan2shape_jax.results import Result
from gan2shape_jax.stylegan2 import Architecture, typicality
from gan2shape_jax.training.network_files import in_order

# L1 by the model, in units of what 95% of samples stay below: beyond this a picture is far from the GAN's kind, and
# membership is one half here.
FAR_RATIO, _FAR_WIDTH = 1.5, 0.1
_DOUBTED = 1.25  # same units: 8 of 64 cats and 5 of 48 faces are above, and so is a spoon that a search takes for a cat
_LIKELY = 0.8  # membership below which a picture is doubted
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
    return in_order(safetensors.numpy.save(tensors, metadata=_FORMAT | {"model_sha256": model_sha256}))


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
            found = {name: np.asarray(file.read(name), np.float32) for name in shapes}
    except UserError:
        return None
    if not all(np.isfinite(value).all() for value in found.values()) or found["usual_error"].min() < 0:
        return None
    return TrustRecord(found["usual_error"], float(found["level"][0]), found["side_line"], found["side_range"])


@dataclasses.dataclass(frozen=True)
class Judge:
    """Judges a run's results; created by `load_judge`.

    Attributes:
      config: the run's configuration.
      scorer: the GAN's guide, its discriminator's parameters and its architecture, which score typicality; None if the
        GAN has no guide.
      record: what is known about the model's errors; None if nothing is.
      typical_l1: the L1 that 95% of the GAN's samples stay below, from the model; None if the run uses no model.
    """

    config: ConfigDict
    scorer: tuple[typicality.Typicality, dict[str, Any], Architecture] | None = None
    record: TrustRecord | None = None
    typical_l1: float | None = None

    def without_files(self) -> Judge:
        """Returns a judge for pictures that are not files in the run's list: it cannot see beyond their crop."""
        return dataclasses.replace(self, scorer=None) if self.config.data.crop else self


def load_judge(
    config: ConfigDict, gan: tuple[Architecture, dict[str, Any]] | None = None, *, checkpoint: str | None = None
) -> Judge:
    """Returns the judge of a run's results, as far as the files for it exist.

    `gan` has the architecture and the discriminator's parameters, if already loaded; `checkpoint` is the GAN's file, if
    it is another than the configuration's.
    """
    file = config.gan.checkpoint if checkpoint is None else checkpoint
    known = typicality.read_typicality(pathlib.Path(file)) if file else None
    if known is not None and gan is None:
        architecture, weights = stylegan2.load(file)
        gan = architecture, weights["discriminator"]
    scorer = None if known is None or gan is None else (known, gan[1], gan[0])
    # Joint training moves the networks away from the model that they start from, and from what is known about it.
    typical = None if config.mode == "joint" else model_file.typical_l1(config)
    record = None if typical is None else read_trust(pathlib.Path(config.networks.pretrained), config.image_size)
    return Judge(config, scorer, record, typical)


def nearness(l1_p95: float, l1: float) -> dict[str, Any]:
    """Returns the metrics that say how well the unrefined model explains an image, by its L1 and the samples'."""
    return {"model_l1": l1, "model_l1_p95": l1_p95, "far_from_category": l1 > FAR_RATIO * l1_p95}


def judged(judge: Judge, result: Result) -> Result:
    """Returns a result with its verdict added: `metrics["trust"]` and `depth_spread`."""
    atypical = atypicality_of(judge, result)
    share = category_of(atypical, result.metrics)
    if share is None:
        return result
    # Nothing can be predicted for pictures that the model does not know.
    record = judge.record if share >= 0.5 else None
    expected = expected_side(record, atypical)
    typical = atypical is not None and atypical <= typicality.LIMIT
    kind = str(categories.category_of(judge.config.category))
    grade, sentence = word_on(share, expected, record, result.metrics, kind=kind, typical=typical)
    verdict = {"category": round(share, 4), "expected_side": expected, "grade": grade, "verdict": sentence}
    if atypical is not None:
        verdict["atypicality"] = round(atypical, 3)
    spread = None if record is None else spread_of(record, expected)
    return dataclasses.replace(result, metrics=result.metrics | {"trust": verdict}, depth_spread=spread)


def category_of(atypical: float | None, metrics: Mapping[str, Any]) -> float | None:
    """Returns how likely a picture is of the GAN's kind, from 0 to 1: the lower of two measures; None if unknown.

    `atypical` is in standard deviations, see `typicality.atypicality`; a model's `nearness` is in the metrics.
    """
    shares = [] if atypical is None else [float(typicality.belonging(atypical))]
    if "model_l1" in metrics:
        away = (metrics["model_l1"] / max(metrics["model_l1_p95"], 1e-6) - FAR_RATIO) / _FAR_WIDTH
        shares.append(float(1 / (1 + np.exp(np.clip(away, -50, 50)))))
    return min(shares, default=None)


def expected_side(record: TrustRecord | None, atypical: float | None) -> float | None:
    """Returns the SIDE that a model's measured errors predict for a picture; None if unknown."""
    if record is None or atypical is None:
        return None
    constant, slope = record.side_line.astype(np.float64)
    return float(np.exp(constant + slope * max(atypical, 0.0)))


def spread_of(record: TrustRecord, expected: float | None) -> Float[np.ndarray, "s s"]:
    """Returns how far depth may be off (S, S), canonical frame, scene units: 80% of pixels are within this.

    It scales with the ratio of the expected SIDE to the usual one.
    """
    more = 1.0 if expected is None else expected / float(np.exp(record.side_line[0]))
    return np.asarray(more * record.level * record.usual_error, np.float32)


def word_on(
    share: float,
    expected: float | None,
    record: TrustRecord | None,
    metrics: Mapping[str, Any],
    *,
    kind: str,
    typical: bool = False,
) -> tuple[str, str]:
    """Returns a grade ('trust', 'doubt' or 'no') and one plain sentence on how far to trust a shape.

    `share` is that of `category_of`, `expected` the expected SIDE, `kind` what the GAN draws, in a word; `typical` says
    whether the discriminator considers the picture to be of that kind.
    """
    alike, side = "looks like what this GAN draws", f"(SIDE about {expected or 0:.3f})"
    if share < 0.5 or metrics.get("far_from_category"):
        if typical:
            return "no", f"{alike}, but its model cannot explain this picture: the shape is a guess"
        return "no", f"this does not look like a {kind} to this GAN: the shape is a guess"
    if metrics.get("worse_than_prior"):
        return "doubt", f"{alike}, but training has not made the shape better: look at it before you use it"
    if share < _LIKELY:
        return "doubt", f"looks only partly like what this GAN draws: the shape of this {kind} may be off"
    if metrics.get("model_l1", 0) > _DOUBTED * metrics.get("model_l1_p95", np.inf):
        return "doubt", f"{alike}, but its model explains this picture less well than usual: the shape may be off"
    if expected is not None and record is not None and expected > record.side_range[1]:
        return "doubt", f"{alike}, but less clearly than usual: expect a coarser shape {side}"
    hidden = "what is turned away is invented"
    if expected is not None:
        return "trust", f"{alike}: the shape should be as good as usual {side}; {hidden}"
    return "trust", f"{alike}; how exact the shape is has not been measured for this GAN, and {hidden}"


def atypicality_of(judge: Judge, result: Result) -> float | None:
    """Returns how unlike the GAN's samples an image is, in standard deviations; None if that cannot be determined."""
    if judge.scorer is None:
        return None
    known, discriminator, architecture = judge.scorer
    image = result.image
    if judge.config.data.crop:  # the GAN draws more than the crop
        try:
            picture = data.open_picture(judge.config, f"{result.name}.png").picture
        except UserError:
            return None
        side = typicality.side_of(architecture)
        image = np.asarray(image_files.crop_and_resize(picture, None, side), np.float32) / 127.5 - 1
    return float(typicality.atypicality(known, discriminator, jnp.asarray(image)[None], arch=architecture)[0])


def compare_with_prior(metrics: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the metrics that compare the end of an image's training with its beginning.

    If true depth is known, SIDE decides. If not, nothing measures the shape itself; what can be checked is whether step
    3 worked: whether the networks explain the samples that the GAN projected (`l1_samples`) better at the end than when
    it was first logged. Samples held out of a refinement are better evidence than those trained on.

    Args:
      metrics: final metrics, with those of the fitted prior under `prior` or, if weights were given instead, under
        `start`; both contain `side` if true depth is known. A refinement adds `kept_out_l1`, for the model and for
        steps on the way from it.
      history: the image's own.

    Returns:
      `samples_l1` with `start` and `end`, if step 3 logged it; `worse_than_prior`, if there is something to compare.
    """
    errors = [row["l1_samples"] for row in history if "l1_samples" in row]
    measured: dict[str, Any] = {"samples_l1": {"start": errors[0], "end": errors[-1]}} if errors else {}
    pair = _sides(metrics)
    if pair is None and metrics.get("kept_out_l1") and metrics.get("refinement_share") is not None:
        pair = metrics["kept_out_l1"]["0.0"], metrics["kept_out_l1"][str(metrics["refinement_share"])]
    if pair is None and len(errors) > 1:
        pair = errors[0], errors[-1]
    return measured if pair is None else measured | {"worse_than_prior": bool(pair[1] > pair[0])}


def _sides(metrics: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns SIDE before and after training, if both are known."""
    before = next((metrics[name].get("side") for name in ("prior", "start") if name in metrics), None)
    return None if before is None or "side" not in metrics else (before, metrics["side"])


def sentence_of(name: str, metrics: Mapping[str, Any]) -> str | None:
    """Returns the line that says how far to trust an image's result; None if nothing is known."""
    found = metrics.get("trust")
    warning = "warning: " if found and found["grade"] == "no" else ""
    return f"{warning}{name}: {found['verdict']}" if found else None


def remarks(metrics: Mapping[str, Any]) -> list[str]:
    """Returns remarks on a finished image, short enough for a table; [] if there are none."""
    found: list[str] = []
    if metrics.get("worse_than_prior"):
        start = "prior" if "prior" in metrics else "start"
        found.append(f"worse than its {start}" if _sides(metrics) else "explains its samples ever worse")
    grade = metrics["trust"].get("grade") if isinstance(metrics.get("trust"), dict) else None
    if metrics.get("far_from_category") or grade == "no":
        return [*found, "far from what the GAN draws"]
    return [*found, "doubtful"] if grade == "doubt" and not found else found
