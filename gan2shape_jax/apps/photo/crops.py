"""Where the objects in a photo are: what crops photos, and a search through one."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.photo.files import version_of
from gan2shape_jax.detection import weights
from gan2shape_jax.detection.alignment import CROPS
from gan2shape_jax.detection.assessment import Assessment, assessed
from gan2shape_jax.detection.detector import SIDE, SURE, Detection, Detector, exposed
from gan2shape_jax.detection.gan_detector import GanDetector, crops_of
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop, scaled_box
from gan2shape_jax.io.bundled import DEFAULT, GAN, MODEL, names_of
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mask, mean_mask_file
from gan2shape_jax.io.image_files import Picture, open_upright
from gan2shape_jax.run import prepare as run_prepare
from gan2shape_jax.run import runtime

LEAST_SIDE = 16  # pixels of the shorter side of a photo, or a mask's file
_SAME = 0.03  # sides that boxes differ by that show the same; a degree for each hundredth
_MOVES, _OTHERS = 6, 3  # of candidates that are looked at as another kind, and how many of them are


@dataclasses.dataclass(frozen=True)
class Cropper:
    """What finding crops and masks relies on."""

    side: int  # of the written crops, pixels
    style_dim: int  # of the GAN's latents
    detector: Detector
    kind: str  # what the GAN draws, in a word
    mean_mask: Float[np.ndarray, "s s"]  # how often the object covers each pixel of a crop, in [0, 1]
    finds_masks: bool  # whether GrabCut finds a crop's mask from the mean one; else that is every crop's
    foreign: bool = False  # whether photos come from strangers, see `open_upright`

    def opened(self, path: pathlib.Path) -> Picture:
        """Returns a photo, upright and possibly reduced."""
        return open_upright(path, least=LEAST_SIDE, foreign=self.foreign)

    def detect(self, photo: UInt8[np.ndarray, "h w 3"], reduction: int) -> list[Detection]:
        """Returns the objects in a photo, see `Detector.detect`, with boxes in the pixels of its file.

        `reduction` is that of `Picture`.
        """
        detections = self.detector.detect(photo)
        return [detection._replace(box=scaled_box(detection.box, reduction)) for detection in detections]

    def limit_words(self, count: int) -> str:
        """Returns what to say behind a number of objects if there may be more; '' if not."""
        return f"; more than {self.detector.most} are not taken from one photo" if count >= self.detector.most else ""


def load_cropper(config: ConfigDict, *, say: Callable[[str], None], foreign: bool = False) -> Cropper:
    """Starts the runtime, loads the GAN and returns what crops photos; raises `UserError` if the GAN is unusable."""
    runtime.set_up_runtime(config)
    gan, category = run_prepare.load_gan(config), category_of(config.category)
    detector_weights = weights.weights_of(pathlib.Path(config.gan.checkpoint), *gan, category.detector, say=say)
    side = config.lift.cropped_from if config.data.crop else config.gan.size
    if config.lift.mean_mask:
        mask = load_mask(pathlib.Path(config.lift.mean_mask), side)
    else:
        mask = np.asarray(Image.fromarray(detector_weights.mean_mask).resize((side, side), Image.Resampling.BILINEAR))
    detector = weights.detector_by(detector_weights, *gan, batch=CROPS)
    return Cropper(side, config.gan.style_dim, detector, str(category), mask, not mean_mask_file(config), foreign)


@dataclasses.dataclass(frozen=True)
class Searched:
    """A photo in which objects were detected, or whose box the user has named."""

    path: pathlib.Path
    picture: Picture
    pixels: UInt8[np.ndarray, "h w 3"]  # of the picture
    detections: list[Detection]  # from left to right, boxes in the pixels of the photo's file
    version: tuple[int, int] | None  # of the photo's file, see `files.version_of`

    @property
    def boxes(self) -> list[CropBox]:
        """The boxes in the pixels of the picture, which may be reduced."""
        return [scaled_box(detection.box, 1 / self.picture.reduction) for detection in self.detections]


def search(path: pathlib.Path, cropper: Cropper, box: CropBox | None = None) -> Searched:
    """Returns a photo with the objects in it; `box`, in the pixels of its file, is the only one if it is named.

    Raises `UserError`: the file is unusable.
    """
    version, picture = version_of(path), cropper.opened(path)
    pixels = np.asarray(picture.picture)
    detections = cropper.detect(pixels, picture.reduction)
    if box is not None and (known := [one for one in detections if _hardly_differ(one.box, box)]):
        detections = [known[0]._replace(box=box)]  # a square that was found before keeps its verdict
    elif box is not None:
        crop = exposed(sample_crop(pixels, scaled_box(box, 1 / picture.reduction), SIDE))
        detections = [Detection(box, cropper.detector.scores(crop[None])[0])]
    return Searched(path, picture, pixels, detections, version)


def _hardly_differ(first: CropBox, other: CropBox) -> bool:
    """Whether two boxes hardly differ in place, size and turn."""
    near = np.hypot(first.x - other.x, first.y - other.y) < _SAME * first.side
    turned = abs((first.roll_deg - other.roll_deg + 180) % 360 - 180)
    return bool(near and abs(first.side - other.side) < _SAME * first.side and turned < 100 * _SAME)


def assessed_in(searched: Searched, number: int, cropper: Cropper) -> Assessment:
    """Returns what the crop of an object shows, and how well; `number` is the object's, from 1."""
    detection, box = searched.detections[number - 1], searched.boxes[number - 1]
    height, width = searched.pixels.shape[:2]
    mask = Image.fromarray(cropper.mean_mask).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    usual = np.asarray(mask) >= 0.5
    rows, columns = np.nonzero(usual)
    x, y = crop_to_photo(np.stack([columns, rows], axis=1) + 0.5, box, SIDE).T
    outside = float(np.mean((x < 0) | (y < 0) | (x > width) | (y > height)))
    crop = sample_crop(searched.pixels, box, SIDE)
    return assessed(crop, detection.score, usual, pixels=detection.box.side, outside=outside)


def other_kind(photo: np.ndarray, boxes: Sequence[CropBox], config: ConfigDict) -> tuple[str, str] | None:
    """Returns model and kind of what a photo shows, if a bundled model is for that: people, or what these boxes show.

    A model of people names no other model of people, and others none but those.
    """
    own = category_of(config.category).detector
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
