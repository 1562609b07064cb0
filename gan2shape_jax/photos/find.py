"""Finding: where in a photo the objects are that a model knows, and what else the photo may show."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.detection import weights
from gan2shape_jax.detection.alignment import CROPS
from gan2shape_jax.detection.detector import PERHAPS, SIDE, SURE, Detection, Detector, exposed
from gan2shape_jax.detection.gan_detector import GanDetector, crops_of
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.io.bundled import DEFAULT, GAN, MODEL, names_of
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mask, mean_mask_file
from gan2shape_jax.io.image_files import Picture

_SAME = 0.03  # sides that boxes differ by that show the same; a degree for each hundredth
_MOVES, _OTHERS = 6, 3  # of candidates that are looked at as another kind, and how many of them are
_AROUND, _LOOKED_AT = 2.0, 320  # of a crop in which a person is looked for: sides of the object's, pixels


class NoDetectionError(UserError):
    """A photo does not show what the GAN draws; `candidate` says whether something came near."""

    def __init__(self, message: str, *, candidate: bool):
        super().__init__(message)
        self.candidate = candidate


@dataclasses.dataclass(frozen=True)
class Finder:
    """What finds, crops and masks objects of one kind; made by `load_finder`."""

    category: str  # the model's
    kind: str  # what its GAN draws, in a word
    side: int  # of crops, pixels
    detector: Detector
    mean_mask: Float[np.ndarray, "s s"]  # how often the object covers each pixel of a crop, in [0, 1]
    segments: bool  # whether GrabCut finds a crop's mask from the mean one; else that is every crop's

    def limit_words(self, count: int) -> str:
        """Returns what to say behind a number of objects if there may be more; '' if not."""
        return f"; more than {self.detector.most} are not taken from one photo" if count >= self.detector.most else ""


def load_finder(config: ConfigDict, gan: tuple[stylegan2.Architecture, dict], *, log: Callable[[str], None]) -> Finder:
    """Returns what finds the objects that a GAN draws; one without a detector yet teaches one, and logs that."""
    category = category_of(config.category)
    known = weights.weights_of(pathlib.Path(config.gan.checkpoint), *gan, category.detector, log=log)
    side = config.lift.cropped_from if config.data.crop else config.gan.size
    if config.lift.mean_mask:
        mask = load_mask(pathlib.Path(config.lift.mean_mask), side)
    else:
        mask = np.asarray(Image.fromarray(known.mean_mask).resize((side, side), Image.Resampling.BILINEAR))
    detector = weights.detector_by(known, *gan, batch=CROPS)
    return Finder(config.category, str(category), side, detector, mask, not mean_mask_file(config))


def find(picture: Picture, finder: Finder, box: CropBox | None = None) -> list[Detection]:
    """Returns the objects in a photo, from left to right, with their boxes in the pixels of its file.

    Where there are none, the best candidate is returned, if there is one, see `is_found`. `box`, in the pixels of the
    file, is the only object if the user names it.
    """
    pixels = np.asarray(picture.picture)
    found = [
        detection._replace(box=scaled_box(detection.box, picture.reduction))
        for detection in finder.detector.detect(pixels)
    ]
    if box is None:
        return found
    if known := [one for one in found if _hardly_differ(one.box, box)]:
        return [known[0]._replace(box=box)]  # a square that was found before keeps its verdict
    crop = exposed(sample_crop(pixels, scaled_box(box, 1 / picture.reduction), SIDE))
    return [Detection(box, finder.detector.scores(crop[None])[0])]


def is_found(detections: Sequence[Detection]) -> bool:
    """Whether there is an object of the kind among the candidates."""
    return any(detection.score >= PERHAPS for detection in detections)


def _hardly_differ(first: CropBox, other: CropBox) -> bool:
    """Whether two boxes hardly differ in place, size and turn."""
    near = np.hypot(first.x - other.x, first.y - other.y) < _SAME * first.side
    turned = abs((first.roll_deg - other.roll_deg + 180) % 360 - 180)
    return bool(near and abs(first.side - other.side) < _SAME * first.side and turned < 100 * _SAME)


def absence(name: str, picture: Picture, detections: Sequence[Detection], finder: Finder) -> str:
    """Returns that the photo of this name has no object of the kind, and which model is for what it shows."""
    pixels = np.asarray(picture.picture)
    boxes = [scaled_box(detection.box, 1 / picture.reduction) for detection in detections]
    elsewhere = _elsewhere(other_kind(pixels, boxes, finder.category))
    return f"{name}: no {finder.kind} found, so it has no 3D result{elsewhere and f'; {elsewhere}'}"


def person_note(picture: Picture, detection: Detection, finder: Finder) -> str:
    """Returns that what was detected may be a person, for models of other kinds where they are unsure; '' if not."""
    if detection.score >= SURE or category_of(finder.category).detector == "face":
        return ""
    box = scaled_box(detection.box, 1 / picture.reduction)
    wider = dataclasses.replace(box, side=_AROUND * box.side)
    around = sample_crop(np.asarray(picture.picture), wider, _LOOKED_AT)
    return _elsewhere(other_kind(around, (), finder.category))


def _elsewhere(other: tuple[str, str] | None) -> str:
    """Returns which model is for what a photo shows; '' if none is known."""
    return f"it shows {other[1]}: use --model {other[0]}" if other else ""


def other_kind(photo: UInt8[np.ndarray, "h w 3"], boxes: Sequence[CropBox], category: str) -> tuple[str, str] | None:
    """Returns model and kind of what a photo shows, if a bundled model is for that: people, or what these boxes show.

    A model of people names no other model of people, and others none but those.
    """
    own = category_of(category).detector
    for name, gan_file in sorted(names_of(GAN).items(), key=lambda item: item[0] != DEFAULT):
        kind = category_of(name)
        if kind.detector == own or name not in names_of(MODEL):
            continue
        if (detector_weights := weights.stored_weights(gan_file, kind.detector)) is not None:
            detector = weights.detector_by(detector_weights, *stylegan2.load(gan_file))
            if isinstance(detector, GanDetector):
                scores = _scores_near(detector, exposed(photo), boxes[:_OTHERS])
            else:
                scores = [one.score for one in detector.detect(photo)]
            if max(scores, default=0) >= SURE:
                return name, f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind}"
    return None


def _scores_near(detector: GanDetector, photo: np.ndarray, boxes: Sequence[CropBox]) -> list[float]:
    """Returns how certainly a photo shows the detector's kind near each of these boxes."""
    aligned = [detector.aligned(photo, [box], _MOVES, upright=box.roll_deg)[0] for box in boxes]
    return detector.scores(crops_of(photo, aligned)) if aligned else []
