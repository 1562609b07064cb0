"""Whether people are found in photographs, and nobody where there is nobody.

    python benchmarks/quality/detection.py --people PEOPLE --out FOLDER
    python benchmarks/quality/detection.py --without THINGS [--model cat]

Copies are searched too: grey, darker, in warm light; of the photographs of people also rotated, upside down and resized
ones. What counts is how many persons are found of those that PEOPLE/persons.json gives, {"name.jpg": number}, and how
far crops of copies are from those of the originals; and in how many pictures of other things the detector of a model
finds what is not there. FOLDER gets a sheet of the crops, to be looked at.
"""

import argparse
import json
import math
import pathlib
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageOps

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.detection import faces, weights
from gan2shape_jax.detection.detector import SURE, Detection
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop
from gan2shape_jax.io.categories import category_of

_TILE, _ACROSS, _MIDDLE = 96, 12, np.array([[0.5, 0.5]])
_Copy = Callable[[np.ndarray], tuple[np.ndarray, Callable[[CropBox], CropBox]]]


def _recoloured(change: Callable[[np.ndarray], np.ndarray]) -> _Copy:
    def copy(photo: np.ndarray) -> tuple[np.ndarray, Callable[[CropBox], CropBox]]:
        return np.clip(change(photo.astype(np.float32)), 0, 255).astype(np.uint8), lambda box: box

    return copy


def _rotated(degrees: float) -> _Copy:
    """Returns what rotates a photo's content clockwise in a canvas that holds all of it."""

    def copy(photo: np.ndarray) -> tuple[np.ndarray, Callable[[CropBox], CropBox]]:
        height, width = photo.shape[:2]
        side = math.ceil(math.hypot(height, width))
        canvas = CropBox(width / 2, height / 2, side, -degrees)

        def back(box: CropBox) -> CropBox:
            (x, y) = crop_to_photo(np.array([[box.x, box.y]]), canvas, side)[0]
            return CropBox(x, y, box.side, box.roll_deg - degrees)

        return sample_crop(photo, canvas, side), back

    return copy


def _sized(longer: int) -> _Copy:
    def copy(photo: np.ndarray) -> tuple[np.ndarray, Callable[[CropBox], CropBox]]:
        factor = longer / max(photo.shape[:2])
        size = round(photo.shape[1] * factor), round(photo.shape[0] * factor)
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        return cv2.resize(photo, size, interpolation=how), lambda box: CropBox(
            box.x / factor, box.y / factor, box.side / factor, box.roll_deg
        )

    return copy


_COLOURS: dict[str, _Copy] = {
    "as it is": _recoloured(lambda photo: photo),
    "grey": _recoloured(lambda photo: np.repeat(photo.mean(-1, keepdims=True), 3, -1)),
    "half as bright": _recoloured(lambda photo: photo / 2),
    "a third as bright": _recoloured(lambda photo: photo / 3),
    "warm light": _recoloured(lambda photo: photo * (1.15, 0.9, 0.6)),
}
_COPIES = _COLOURS | {
    "rotated by 20 degrees": _rotated(20),
    "upside down": _rotated(180),
    "400 pixels": _sized(400),
    "4,000 pixels": _sized(4000),
}


def _photo(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _pictures(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]


def _sure(detections: Sequence[Detection]) -> list[Detection]:
    return [detection for detection in detections if detection.score >= SURE]


def _people(
    folder: pathlib.Path, paths: Sequence[pathlib.Path], detector: faces.FaceDetector
) -> dict[str, list[np.ndarray]]:
    """Prints, for every kind of copy, how many persons are found and how their crops differ; returns the crops."""
    persons = json.loads((folder / "persons.json").read_text())
    crops: dict[str, list[np.ndarray]] = {}
    originals: dict[pathlib.Path, list[CropBox]] = {}
    for name, copy in _COPIES.items():
        hits = expected = 0
        began, off = time.monotonic(), list[tuple[float, float, float]]()
        for path in paths:
            photo, back = copy(_photo(path))
            detections = _sure(detector.detect(photo))
            boxes = [back(detection.box) for detection in detections]
            crops.setdefault(name, []).extend(sample_crop(photo, detection.box, _TILE) for detection in detections)
            hits, expected = hits + min(len(boxes), persons[path.name]), expected + persons[path.name]
            for box in originals.setdefault(path, boxes):
                near = min(boxes, key=lambda other: math.dist((box.x, box.y), (other.x, other.y)), default=None)
                if near is not None and math.dist((box.x, box.y), (near.x, near.y)) < 0.5 * box.side:
                    turn = (near.roll_deg - box.roll_deg + 180) % 360 - 180
                    shift = math.dist((box.x, box.y), (near.x, near.y)) / box.side
                    off.append((shift, abs(math.log(near.side / box.side)), abs(turn)))
        shift, scale, turn = np.quantile(np.array(off or [(0, 0, 0)]), 0.9, axis=0)
        seconds = (time.monotonic() - began) / max(len(paths), 1)
        print(f"| {name} | {hits} of {expected} | {shift:.3f} | {scale:.3f} | {turn:.1f} | {seconds:.2f} |", flush=True)
    return crops


def _sheet(crops: Sequence[np.ndarray]) -> np.ndarray:
    """Returns crops side by side, in rows."""
    blank = np.full((_TILE, _TILE, 3), 255, np.uint8)
    rows = [crops[start : start + _ACROSS] for start in range(0, len(crops), _ACROSS)]
    return np.concatenate([np.concatenate([*row, *[blank] * (_ACROSS - len(row))], axis=1) for row in rows])


def _without(paths: Sequence[pathlib.Path], model: str) -> None:
    """Prints, for every change of colours, in how many pictures something is found, and the highest scores."""
    gan_file, kind = pathlib.Path(load_config(model).gan.checkpoint), category_of(model).detector
    detector_weights = weights.stored_weights(gan_file, kind)
    assert detector_weights is not None
    detector = weights.detector_by(detector_weights, *stylegan2.load(gan_file))
    print(f"| copy of {len(paths)} pictures | detected by `{model}` | highest scores |\n|---|---:|---|")
    for name, copy in _COLOURS.items():
        best = {
            path.stem: max((one.score for one in detector.detect(copy(_photo(path))[0])), default=0.0) for path in paths
        }
        highest = sorted(best.items(), key=lambda pair: -pair[1])[:5]
        said = ", ".join(f"{stem} {score:.2f}" for stem, score in highest)
        print(f"| {name} | {sum(score >= SURE for score in best.values())} | {said} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=pathlib.Path, help="folder of photographs, with persons.json")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/detection"), help="for the sheets")
    parser.add_argument("--without", type=pathlib.Path, help="folder of pictures of other things")
    parser.add_argument("--model", default="people", help="whose detector searches these (default: people)")
    options = parser.parse_args()
    if options.people:
        detector_weights = weights.stored_weights(pathlib.Path(load_config("people").gan.checkpoint), "face")
        assert detector_weights is not None and detector_weights.framing is not None
        detector = faces.FaceDetector(detector_weights.framing)
        options.out.mkdir(parents=True, exist_ok=True)
        print("| copy | persons found | shift, sides, 90% | log scale, 90% | degrees, 90% | seconds |")
        print("|---|---:|---:|---:|---:|---:|")
        for name, crops in _people(options.people, _pictures(options.people), detector).items():
            Image.fromarray(_sheet(crops)).save(options.out / f"{name}.png")
    if options.without:
        _without(_pictures(options.without), options.model)


if __name__ == "__main__":
    main()
