"""Measures how far a model's shapes are from the truth, and writes it beside the model: `NAME.trust.safetensors`.

    python benchmarks/quality/trust_record.py --data FACES --faces 0 24 [MODEL]
    python benchmarks/quality/trust_record.py --data HEADS --faces 0 64 --kind head

FACES has the folders `image`, `mask` and `depth`; `benchmarks/faces/committed.py unpack validation HEADS` writes
HEADS. Faces from the first number up to but excluding the second
are reconstructed as they are and wrongly framed (`disturbed`). The usual error is that of faces as they are, in the
canonical frame; the expected SIDE is a line fitted to log(SIDE) of all over their atypicality.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import jax.numpy as jnp
import known_faces
import numpy as np

from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import resample
from gan2shape_jax.io import data
from gan2shape_jax.io.data import Item
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.results import Reconstruction
from gan2shape_jax.run import predict, trust
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.run.predict import Predictor
from gan2shape_jax.run.trust import TrustRecord, beside, trust_bytes

_SOFT = 2 / 128  # of a side: the usual error is blurred by this much
_SHARE = 0.8  # of pixels within the spread
DISTURBANCES = ("none", "framing", "blur", "noise", "light", "grey")


class Measured(NamedTuple):
    """One face as a model reconstructs it.

    Attributes:
      result: the face's result.
      atypical: atypicality, in standard deviations of the GAN's samples.
      error: (S, S) error of depth up to a factor, in the input's view, scene units.
      error_canonical: (S, S) the same in the canonical frame.
      seen_canonical: (S, S) where that is known, in [0, 1].
      to_input: (S, S, 2) where each pixel of the input's view lies in the canonical frame.
    """

    result: Reconstruction
    atypical: float
    error: np.ndarray
    error_canonical: np.ndarray
    seen_canonical: np.ndarray
    to_input: np.ndarray


def networks_of(folder: pathlib.Path, model: str, kind: str = "ictface") -> Predictor:
    """Returns a model's networks, for a folder of faces."""
    config = known_faces.config_of(folder, kind)
    config.recipe = "predict"
    config.data.latent_root = ""
    config.networks.pretrained = model or config.networks.pretrained
    return predict.load_predictor(resolve(config.lock()), None)


def faces_of(networks: Predictor, numbers: Iterable[int], kinds: Iterable[str]) -> Iterator[tuple[str, Item]]:
    """Yields faces, each with every kind of disturbance, which is a function of the face's number."""
    config = networks.grader.config
    names = {int(path.stem): path.name for path in pathlib.Path(config.data.image_root).glob("*.png")}
    for number in numbers:
        item = data.load_item(config, names[number])
        for index, kind in enumerate(DISTURBANCES):
            if kind in kinds:
                yield kind, disturbed(np.random.default_rng([number, index]), item, kind)


def disturbed(rng: np.random.Generator, item: Item, kind: str) -> Item:
    """Returns a face with one of the `DISTURBANCES`."""
    image, side = item.image, len(item.image)
    if kind == "framing":
        turn = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, rng.uniform(-15, 15), np.exp(rng.uniform(-0.2, 0.2)))
        turn[:, 2] += rng.uniform(-0.12, 0.12, 2) * side

        def moved(values: np.ndarray, how: int) -> np.ndarray:
            return cv2.warpAffine(values, turn, (side, side), flags=how, borderMode=cv2.BORDER_REFLECT_101)

        mask = moved(item.mask, cv2.INTER_LINEAR)
        depth = moved(item.depth, cv2.INTER_NEAREST)
        inside = moved(np.ones_like(item.mask), cv2.INTER_LINEAR)
        return dataclasses.replace(item, image=moved(image, cv2.INTER_LINEAR), mask=mask * inside, depth=depth)
    if kind == "blur":
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 3) * side / 64)
    elif kind == "noise":
        image = image + rng.normal(0, rng.uniform(0.03, 0.25), image.shape)
    elif kind == "light":
        image = (image + 1) * np.exp(rng.uniform(-1.5, 0.5)) - 1 + rng.uniform(-0.2, 0.2, 3)
    elif kind == "grey":
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1) * rng.uniform(0.3, 1.5)
    return dataclasses.replace(item, image=np.clip(image, -1, 1).astype(np.float32))


def measured(networks: Predictor, item: Item) -> Measured:
    """Returns a face as a model reconstructs it."""
    prepared, grader = networks.prepared(item), networks.grader
    result = networks.reconstruct(prepared)
    inside = item.mask > 0.5
    off = np.log(result.input_depth) - np.log(item.depth)
    error = np.where(inside, (off - off[inside].mean()) * result.input_depth, 0)
    view, camera = jnp.asarray(result.view), networks.settings.camera
    to_canonical = cam.warped_grid(jnp.asarray(result.depth), view, camera)
    both = jnp.stack([jnp.asarray(error * inside), jnp.asarray(inside, jnp.float32)], -1)
    visible = np.asarray(resample.grid_sample(both, to_canonical))
    to_input = np.asarray(cam.inverse_warped_grid(jnp.asarray(result.input_depth), view, camera))
    (assessment,) = trust.assessments(grader, [result])
    assert assessment is not None, "the GAN has no detector"
    return Measured(result, assessment.atypicality, error, visible[..., 0], visible[..., 1], to_input)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="", help="by default the bundled one")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--kind", default="ictface", help="the model's configuration (default: ictface)")
    parser.add_argument("--faces", nargs=2, type=int, default=(0, 24), metavar=("FROM", "TO"))
    options = parser.parse_args(arguments)
    networks = networks_of(options.data, options.model, options.kind)
    faces = list(faces_of(networks, range(*options.faces), ("none", "framing")))
    graded_faces = [measured(networks, item) for _, item in faces]
    plain = [face for (kind, _), face in zip(faces, graded_faces, strict=True) if kind == "none"]
    model = pathlib.Path(networks.grader.config.networks.pretrained)
    record = record_of(plain, graded_faces)
    atomic_bytes(beside(model), trust_bytes(record, sha256(model)))
    line, span = np.round(record.side_line, 3).tolist(), np.round(record.side_range, 4).tolist()
    print(f"{beside(model)}: level {record.level:.3f}, line {line}, range {span}")


def record_of(plain: list[Measured], faces: list[Measured]) -> TrustRecord:
    """Returns what is measured on faces as they are, and on these and disturbed ones together."""
    weight = np.stack([face.seen_canonical for face in plain])
    squares = np.stack([np.square(face.error_canonical) for face in plain])  # where unseen, both are 0
    soft = _SOFT * weight.shape[-1]
    total = cv2.GaussianBlur(weight.sum(0), (0, 0), soft)
    mean = squares.sum() / weight.sum()
    # Where hardly any face was seen, the overall mean takes over.
    usual = np.sqrt((cv2.GaussianBlur(squares.sum(0), (0, 0), soft) + mean) / (total + 1))
    atypical = np.array([max(face.atypical, 0) for face in faces])
    sides = np.array([face.result.metrics["side"] for face in faces])
    slope, constant = np.polyfit(atypical, np.log(sides), 1)
    more = np.exp(slope * np.array([max(face.atypical, 0) for face in plain]))
    ratios = [ratios_of(face, usual * factor) for face, factor in zip(plain, more, strict=True)]
    usual_sides = np.array([face.result.metrics["side"] for face in plain])
    return TrustRecord(
        usual_error=usual,
        level=float(np.quantile(np.concatenate(ratios), _SHARE)),
        side_line=np.array([constant, slope]),
        side_range=np.percentile(usual_sides, [5, 95]),
    )


def ratios_of(face: Measured, uncertainty: np.ndarray) -> np.ndarray:
    """Returns errors in units of the spread, for each pixel of the object in the input's view."""
    there = np.asarray(resample.grid_sample(uncertainty[..., None].astype(np.float32), face.to_input))[..., 0]
    inside = face.result.input_mask > 0.5
    return np.abs(face.error[inside]) / np.maximum(there[inside], 1e-9)


if __name__ == "__main__":
    main()
