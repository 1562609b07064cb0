"""What a visitor sees of a crop: the photo with the square drawn on it, and what the square cuts out."""

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from gan2shape_jax.apps.photo.drawing import framing_picture
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.io.image_files import open_upright

__all__ = ["crop_picture", "drawn", "place_of_click"]

_CROP_SIDE = 256  # pixels of the preview
_NO_MASK = np.zeros((2, 2), np.float32)


def drawn(preview: pathlib.Path, boxes: Sequence[CropBox], chosen: int, width: int) -> Image.Image:
    """Returns a photo with its crops drawn on it.

    Args:
      preview: file of the reduced photo.
      boxes: in the photo's pixels.
      chosen: index of the selected one.
      width: of the photo, pixels.
    """
    picture = _opened(preview)
    factor = picture.shape[1] / width
    return framing_picture(picture, [scaled_box(box, factor) for box in boxes], chosen, _NO_MASK)


def crop_picture(preview: pathlib.Path, box: CropBox, width: int) -> Image.Image:
    """Returns what a box cuts out; `box` is in the pixels of the photo, which is `width` pixels wide."""
    picture = _opened(preview)
    return Image.fromarray(sample_crop(picture, scaled_box(box, picture.shape[1] / width), _CROP_SIDE))


def place_of_click(place: Sequence[float], drawing_width: int, width: int) -> tuple[float, float]:
    """Returns the position in a photo, in pixels, of a pixel of its drawing."""
    factor = width / drawing_width
    return (place[0] + 0.5) * factor, (place[1] + 0.5) * factor


def _opened(preview: pathlib.Path) -> np.ndarray:
    picture, _, _ = open_upright(preview, least=1)
    return np.asarray(picture)
