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
from gan2shape_jax.detection.detector import SIDE, SURE, Detection, Detector, exposed
from gan2shape_jax.detection.gan_detector import GanDetector, crops_of
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.io.bundled import GAN, MODEL, names_of
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mask, mean_mask_file
from gan2shape_jax.io.image_files import Picture, open_upright
from gan2shape_jax.run import prepare as run_prepare
from gan2shape_jax.run import runtime

LEAST_SIDE = 16  # pixels of the shorter side of a photo, or a mask's file
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
    if box is None:
        detections = cropper.detect(pixels, picture.reduction)
    else:
        crop = exposed(sample_crop(pixels, scaled_box(box, 1 / picture.reduction), SIDE))
        detections = [Detection(box, *cropper.detector.assess(crop[None])[0])]
    return Searched(path, picture, pixels, detections, version)


def other_kind(photo: np.ndarray, boxes: Sequence[CropBox], config: ConfigDict) -> tuple[str, str] | None:
    """Returns model and kind of what a photo shows in one of these boxes, if a bundled model is for that."""
    if category_of(config.category).detector != "face":
        return None
    photo = exposed(photo)
    for name, gan_file in names_of(GAN).items():
        kind = category_of(name)
        if kind.detector == "face" or name not in names_of(MODEL) or not boxes:
            continue
        if (detector_weights := weights.stored_weights(gan_file, kind.detector)) is not None:
            detector = weights.detector_by(detector_weights, *stylegan2.load(gan_file))
            assert isinstance(detector, GanDetector)
            aligned = [detector.aligned(photo, [box], _MOVES, upright=box.roll_deg)[0] for box in boxes[:_OTHERS]]
            if max(assessment.score for assessment in detector.assess(crops_of(photo, aligned))) >= SURE:
                return name, f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind}"
    return None
