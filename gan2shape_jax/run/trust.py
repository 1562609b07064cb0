"""How far to trust a result, in figures and in one sentence: `metrics["trust"]`, and the spread of its depth.

There are two questions. First, is the picture of the kind that the GAN draws? This is judged by the discriminator's
features (`stylegan2.typicality`), if the GAN has a guide, and by how well the model explains the picture. Second, how
good is the shape then? This is judged by the model's errors, as measured against true depth (`training.trust_file`).
What is unknown is not reported. docs/reports/trust.md shows how reliable both answers are.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import categories, data, image_files
from gan2shape_jax.results import Result
from gan2shape_jax.run.verdict import FAR, MODEL_L1, TRUST, TYPICAL_L1, WORSE
from gan2shape_jax.stylegan2 import Architecture, guide_file, typicality
from gan2shape_jax.training.trust_file import TrustRecord, read_trust

__all__ = [
    "Judge",
    "atypicality_of",
    "category_of",
    "expected_side",
    "judged",
    "load",
    "sentence_of",
    "spread_of",
    "word_on",
]

# L1 by the model, in units of what 95% of samples stay below: membership is one half here, see `verdict.is_far`.
_FAR, _FAR_WIDTH = 1.5, 0.1
_DOUBTED = 1.25  # same units: 8 of 64 cats and 5 of 48 faces are above, and so is a spoon that a search takes for a cat
_LIKELY = 0.8  # membership below which a picture is doubted
_LEAST = 1e-6  # lower limit of the typical L1, as a divisor


class Scorer(NamedTuple):
    """Scores how typical pictures are of a GAN."""

    known: typicality.Typicality
    discriminator: dict[str, Any]
    architecture: Architecture


@dataclasses.dataclass(frozen=True)
class Judge:
    """Judges a run's results; created by `load`.

    Attributes:
      config: the run's configuration.
      scorer: scores typicality; None if the GAN has no guide.
      record: what is known about the model's errors; None if nothing is.
      model: whether the run uses a lifted GAN's model.
    """

    config: ConfigDict
    scorer: Scorer | None
    record: TrustRecord | None
    model: bool

    def without_files(self) -> Judge:
        """Returns a judge for pictures that are not files in the run's list: it cannot see beyond their crop."""
        return dataclasses.replace(self, scorer=None) if self.config.data.crop else self


def load(
    config: ConfigDict,
    gan: tuple[Architecture, dict[str, Any]] | None = None,
    *,
    model: bool,
    checkpoint: str | None = None,
) -> Judge:
    """Returns the judge of a run's results, as far as the files for it exist.

    Args:
      config: the run's configuration.
      gan: the GAN's architecture and its discriminator's parameters, if already loaded.
      model: whether the run uses a lifted GAN's model.
      checkpoint: the GAN's file, if it differs from the configuration's.
    """
    file = config.gan.checkpoint if checkpoint is None else checkpoint
    known = guide_file.read_typicality(pathlib.Path(file)) if file else None
    scorer = None
    if known is not None:
        if gan is None:
            architecture, weights = stylegan2.load(file)
            gan = architecture, weights["discriminator"]
        scorer = Scorer(known, gan[1], gan[0])
    record = read_trust(pathlib.Path(config.networks.pretrained), config.image_size) if model else None
    return Judge(config, scorer, record, model)


def judged(judge: Judge, result: Result) -> Result:
    """Returns a result with its verdict added: `metrics["trust"]` and `depth_spread`.

    Args:
      judge: the run's judge.
      result: an image's result; if a model explains it, its metrics have `model_l1`.
    """
    atypical = atypicality_of(judge, result)
    share = category_of(atypical, result.metrics)
    if share is None:
        return result
    # Nothing can be predicted for pictures that the model does not know.
    record = judge.record if share >= 0.5 else None
    expected = expected_side(record, atypical)
    spread = None if record is None else spread_of(record, expected)
    typical = atypical is not None and atypical <= typicality.LIMIT
    kind = str(categories.category_of(judge.config.category))
    grade, sentence = word_on(share, expected, record, result.metrics, kind=kind, typical=typical)
    told = {"category": round(share, 4), "expected_side": expected, "grade": grade, "verdict": sentence}
    if atypical is not None:
        told["atypicality"] = round(atypical, 3)
    return dataclasses.replace(result, metrics=result.metrics | {TRUST: told}, depth_spread=spread)


def category_of(atypical: float | None, metrics: dict[str, Any]) -> float | None:
    """Returns how likely a picture is of the GAN's kind, from 0 to 1: the lower of two measures.

    Args:
      atypical: in standard deviations, see `typicality.atypicality`; None if unknown.
      metrics: contains `model_l1` and `model_l1_p95` if a model explains the picture.

    Returns:
      The lower measure; None if neither is known.
    """
    shares = [] if atypical is None else [float(typicality.belonging(atypical))]
    if MODEL_L1 in metrics and TYPICAL_L1 in metrics:
        away = (metrics[MODEL_L1] / max(metrics[TYPICAL_L1], _LEAST) - _FAR) / _FAR_WIDTH
        shares.append(float(1 / (1 + np.exp(np.clip(away, -50, 50)))))
    return min(shares) if shares else None


def expected_side(record: TrustRecord | None, atypical: float | None) -> float | None:
    """Returns the expected SIDE; None if unknown.

    Args:
      record: what is known about the model's errors.
      atypical: see `typicality.atypicality`.
    """
    if record is None or atypical is None:
        return None
    constant, slope = record.side_line.astype(np.float64)
    return float(np.exp(constant + slope * max(atypical, 0.0)))


def spread_of(record: TrustRecord, expected: float | None) -> Float[np.ndarray, "s s"]:
    """Returns how far depth may be off (S, S), canonical frame, scene units: 80% of pixels are within this.

    Args:
      record: what is known about the model's errors.
      expected: the expected SIDE; the spread scales with its ratio to the usual one.
    """
    more = 1.0 if expected is None else expected / float(np.exp(record.side_line[0]))
    return np.asarray(more * record.level * record.usual_error, np.float32)


def word_on(
    share: float,
    expected: float | None,
    record: TrustRecord | None,
    metrics: dict[str, Any],
    *,
    kind: str,
    typical: bool = False,
) -> tuple[str, str]:
    """Returns a grade ('trust', 'doubt' or 'no') and one plain sentence on how far to trust a shape.

    Args:
      share: see `category_of`.
      expected: the expected SIDE.
      record: what is known about the model's errors.
      metrics: the result's metrics.
      kind: what the GAN draws, in a word.
      typical: whether the discriminator considers the picture to be of the GAN's kind.
    """
    alike = "looks like what this GAN draws"
    if (share < 0.5 or metrics.get(FAR)) and typical:
        return "no", f"{alike}, but its model cannot explain this picture: the shape is a guess"
    if share < 0.5 or metrics.get(FAR):
        return "no", f"this does not look like a {kind} to this GAN: the shape is a guess"
    if metrics.get(WORSE):
        return "doubt", f"{alike}, but training has not made the shape better: look at it before you use it"
    if share < _LIKELY:
        return "doubt", f"looks only partly like what this GAN draws: the shape of this {kind} may be off"
    if MODEL_L1 in metrics and metrics[MODEL_L1] > _DOUBTED * metrics.get(TYPICAL_L1, np.inf):
        return "doubt", f"{alike}, but its model explains this picture less well than usual: the shape may be off"
    if expected is not None and record is not None and expected > record.side_range[1]:
        return "doubt", f"{alike}, but less clearly than usual: expect a coarser shape (SIDE about {expected:.3f})"
    hidden = "what is turned away is invented"
    if expected is not None:
        return "trust", f"{alike}: the shape should be as good as usual (SIDE about {expected:.3f}); {hidden}"
    return "trust", f"{alike}; how exact the shape is has not been measured for this GAN, and {hidden}"


def sentence_of(name: str, metrics: dict[str, Any]) -> str | None:
    """Returns the line that tells a user how far to trust an image's result; None if nothing is known."""
    told = metrics.get(TRUST)
    if not isinstance(told, dict) or not isinstance(told.get("verdict"), str):
        return None
    return f"{'warning: ' if told.get('grade') == 'no' else ''}{name}: {told['verdict']}"


def atypicality_of(judge: Judge, result: Result) -> float | None:
    """Returns how unlike the GAN's samples an image is, in standard deviations; None if that cannot be determined."""
    if judge.scorer is None:
        return None
    known, discriminator, architecture = judge.scorer
    image = _as_the_gan_draws(judge.config, result, typicality.side_of(architecture))
    if image is None:
        return None
    return float(typicality.atypicality(known, discriminator, jnp.asarray(image)[None], arch=architecture)[0])


def _as_the_gan_draws(config: ConfigDict, result: Result, side: int) -> np.ndarray | None:
    """Returns an image (SIDE, SIDE, 3) as its GAN frames it; None if only its crop is available."""
    if not config.data.crop:
        return result.image
    try:
        picture = data.open_picture(config, f"{result.name}.png")
    except UserError:
        return None
    return np.asarray(image_files.crop_and_resize(picture, None, side), np.float32) / 127.5 - 1
