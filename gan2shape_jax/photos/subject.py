"""One object of a photo: its crop and mask, how well it is seen there, and how light the networks are to see it.

Masks have the frame of the crop.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan2shape_jax.detection.detector import SIDE, Detection, exposed, exposure_gain
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, crop_to_photo, sample_crop, scaled_box
from gan2shape_jax.io.grabcut import grabcut_mask
from gan2shape_jax.io.image_files import Picture, grey_mask, inverted_fault
from gan2shape_jax.photos.find import Finder
from gan2shape_jax.photos.judge import Assessment, assessed

SOURCES = {
    "file": "a file",
    "alpha": "the photo's alpha channel",
    "grabcut": "GrabCut",
    "mean": "the same for all photos",
}
LEAST_SIDE = 16  # pixels of the shorter side of a photo, or a mask's file
_LEAST_OBJECT = 0.01  # share of a crop


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
    return Subject(name, detection, box, crop, eight_bits(values), source, mask_fault, assessment)


def eight_bits(mask: Float[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s"]:
    """Returns a mask in [0, 1] as its file has it."""
    return np.round(mask * 255).astype(np.uint8)


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
    rows, columns = np.nonzero(usual)
    x, y = crop_to_photo(np.stack([columns, rows], axis=1) + 0.5, box, SIDE).T
    outside = float(np.mean((x < 0) | (y < 0) | (x > width) | (y > height)))
    crop = sample_crop(pixels, box, SIDE)
    return assessed(crop, detection.score, usual, pixels=detection.box.side, outside=outside)
