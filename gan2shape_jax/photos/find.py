"""Finding: where in a photo the objects are that a model knows, what else it may show, and each object's crop and mask.

Masks have the frame of the crop.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.detection import weights
from gan2shape_jax.detection.detector import PERHAPS, SIDE, SURE, Detection, Detector, exposed, exposure_gain
from gan2shape_jax.detection.gan_detector import CROPS, GanDetector, crops_of
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, crop_to_photo, sample_crop, scaled_box
from gan2shape_jax.io.bundled import DEFAULT, GAN, MODEL, names_of
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mask, mean_mask_file
from gan2shape_jax.io.grabcut import grabcut_mask
from gan2shape_jax.io.image_files import Picture, grey_mask, inverted_fault, open_upright
from gan2shape_jax.photos.judge import CORE, Assessment, assessed

SOURCES = {
    "file": "a file",
    "alpha": "the photo's alpha channel",
    "grabcut": "GrabCut",
    "mean": "the same for all photos",
}
LEAST_SIDE = 16  # pixels of the shorter side of a photo, or a mask's file
_LEAST_OBJECT = 0.01  # share of a crop
_SAME = 0.03  # sides that boxes differ by that show the same; a degree for each hundredth
_MOVES, _OTHERS = 6, 3  # of candidates that are looked at as another kind, and how many of them are
_AROUND, _LOOKED_AT = 2.0, 320  # of a crop in which a person is looked for: sides of the object's, pixels


class NoDetectionError(UserError):
    """A photo does not show what the GAN draws; `boxes` are those that came near, in the pixels of `picture`."""

    def __init__(self, message: str, boxes: Sequence[CropBox] = (), picture: Picture | None = None):
        super().__init__(message)
        self.boxes, self.picture = boxes, picture


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


@dataclasses.dataclass(frozen=True)
class Request:
    """A photo and what the user says of it; by default, everything in it is searched for."""

    path: pathlib.Path
    name: str  # what everything is filed under, see `naming.names_for`; of several objects the first is NAME-1
    box: CropBox | None = None  # the crop, in the pixels of the photo's file
    which: int | None = None  # the only object that is wanted, numbered from left to right
    mask: pathlib.Path | None = None  # white on the object, with the photo's proportions, or square, showing the crop
    latent: pathlib.Path | None = None  # of the crop
    anyway: bool = False  # whether there is to be a result though nothing is found: of the box, or the best candidate
    source: str = ""  # where the photo is from, if `path` is a copy that was fetched from there
    foreign: bool = False  # whether it comes from a stranger, see `open_upright`

    def opened(self) -> Picture:
        """Returns the photo, upright and possibly reduced."""
        return open_upright(self.path, least=LEAST_SIDE, foreign=self.foreign)

    def label(self, subject: "Subject") -> str:
        """Returns what messages call an object of it."""
        return self.path.name if subject.name == self.name else subject.name


class Found(NamedTuple):
    """What a photo shows."""

    picture: Picture
    detections: list[Detection]  # all, from left to right
    subjects: list["Subject"]  # those that are wanted
    notes: dict[str, list[str]]  # what the user should read of each, by its name


def search(request: Request, finder: Finder) -> Found:
    """Finds, crops and masks the objects of a photo.

    Raises:
      NoDetectionError: nothing was found.
      UserError: the photo or the mask is unusable, or the photo has no object with the chosen number.
    """
    picture = request.opened()
    detections = find(picture, finder, request.box)
    if request.box is None and not (is_found(detections) or (request.anyway and detections)):
        near = [scaled_box(detection.box, 1 / picture.reduction) for detection in detections]
        raise NoDetectionError(absence(request.path.name, picture, detections, finder), near, picture)
    mask = None if request.mask is None else (str(request.mask), open_upright(request.mask, least=LEAST_SIDE))
    how: dict[str, Any] = {"photo": str(request.path), "which": request.which, "mask": mask}
    subjects = subjects_of(request.name, picture, detections, finder, **how)
    notes = {}
    for subject in subjects:
        own = filter(None, [subject.mask_fault, person_note(picture, subject.detection, finder)])
        notes[subject.name] = [f"{request.label(subject)}: {note}" for note in own]
    return Found(picture, detections, subjects, notes)


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


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """An object of a photo, cropped as the model's GAN frames its pictures."""

    name: str
    detection: Detection  # with its box in the pixels of the photo's file
    box: CropBox  # the same in those of the photo as it was read, upright and possibly reduced
    crop: UInt8[np.ndarray, "s s 3"]
    mask: UInt8[np.ndarray, "s s"]  # 255 on the object
    mask_source: str  # one of `SOURCES`
    mask_fault: str  # what the user should read of the mask, or ""
    assessment: Assessment

    @functools.cached_property
    def gain(self) -> float:
        """By how much the networks see the crop lightened: 1 for most, see `detection.detector`."""
        return exposure_gain(self.crop)

    @property
    def exposed(self) -> UInt8[np.ndarray, "s s 3"]:
        """The crop as the networks see it."""
        return exposed(self.crop)


def subjects_of(
    name: str,
    picture: Picture,
    detections: Sequence[Detection],
    finder: Finder,
    *,
    photo: str,
    which: int | None = None,
    mask: tuple[str, Picture] | None = None,
) -> list[Subject]:
    """Crops and masks the objects of a photo, or only the one with the number `which`, from left to right.

    They are called NAME-1, NAME-2, ... if there are several, else NAME. `photo` and `mask` as for `subject_of`. Raises
    `UserError` as that does, or if there is no object of this number, or if it is open whose the mask is.
    """
    count = len(detections)
    if which is not None and which > count:
        raise UserError(
            f"{photo}: {count} object{'s were' if count > 1 else ' was'} found, so there is no number {which}; "
            "without --which, a picture shows their numbers; --box sets the crop itself"
        )
    if which is None and count > 1 and mask:
        raise UserError(f"{photo}: {count} objects were found: name the mask's with --which")
    return [
        subject_of(
            f"{name}-{number}" if count > 1 else name, picture, detections[number - 1], finder, photo=photo, mask=mask
        )
        for number in (range(1, count + 1) if which is None else [which])
    ]


def subject_of(
    name: str,
    picture: Picture,
    detection: Detection,
    finder: Finder,
    *,
    photo: str,
    mask: tuple[str, Picture] | None = None,
) -> Subject:
    """Crops and masks an object of a photo.

    `photo` is what messages call the photo's file, `mask` the name of a mask's file and what it shows: white on the
    object, with the photo's proportions, or square and of the crop. The mask is the first available of that, the
    photo's alpha channel, GrabCut's and the mean one. Raises `UserError` if it is unusable or shows no object.
    """
    box, side = scaled_box(detection.box, 1 / picture.reduction), finder.side
    pixels = np.asarray(picture.picture)
    crop = sample_crop(pixels, box, side)
    if mask is not None:
        values, source, where = _from_file(mask, picture, box, side), "file", f"the mask {mask[0]}"
    elif picture.alpha is not None:
        values, source = sample_crop(np.asarray(picture.alpha), box, side).astype(np.float32) / 255, "alpha"
        where = f"the alpha channel of {photo}"
    elif finder.segments:
        values, source, where = grabcut_mask(crop.astype(np.float32) / 127.5 - 1, finder.mean_mask), "grabcut", photo
    else:
        values, source, where = finder.mean_mask, "mean", photo
    if (values > 0.5).mean() < _LEAST_OBJECT:
        raise UserError(f"{where} shows no object inside the crop: name another --mask or --box")
    fault = inverted_fault(values) if source in ("file", "alpha") else ""
    mask_fault, assessment = fault and f"{where} {fault}", assess(pixels, detection, box, finder)
    return Subject(name, detection, box, crop, np.round(values * 255).astype(np.uint8), source, mask_fault, assessment)


def _from_file(mask: tuple[str, Picture], photo: Picture, box: CropBox, side: int) -> Float[np.ndarray, "s s"]:
    """Returns the mask that a picture of the whole photo, or a square one of the crop, shows."""
    name, shown = mask
    picture, (width, height) = grey_mask(shown, f"the mask {name}"), photo.picture.size
    factor = picture.width / width
    whole = abs(picture.height - factor * height) <= 1
    if not whole and picture.width != picture.height:
        raise UserError(
            f"the mask {name} has {picture.width} x {picture.height} pixels: it must have the photo's proportions, "
            f"{width} x {height}, or be square and show the crop"
        )
    place = scaled_box(box, factor) if whole else centred_box(*picture.size)
    return sample_crop(np.asarray(picture), place, side).astype(np.float32) / 255


def assess(pixels: UInt8[np.ndarray, "h w 3"], detection: Detection, box: CropBox, finder: Finder) -> Assessment:
    """Returns what the crop of an object shows, and how well; `box` is its place in the pixels."""
    height, width = pixels.shape[:2]
    mask = Image.fromarray(finder.mean_mask).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    usual = np.asarray(mask) >= 0.5
    places = np.argwhere(usual)[:, ::-1] + 0.5
    places = places[(abs(places / SIDE - 0.5) <= CORE / 2).all(axis=1)]
    x, y = crop_to_photo(places, box, SIDE).T
    outside = float(np.mean((x < 0) | (y < 0) | (x > width) | (y > height)))
    crop = sample_crop(pixels, box, SIDE)
    return assessed(crop, detection.score, usual, pixels=detection.box.side, outside=outside)
