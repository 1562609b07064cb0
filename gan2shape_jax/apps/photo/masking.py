"""The object's mask in a photo's crop: from a file, from the photo's alpha channel, found by GrabCut, or the usual one.

Masks are (s, s) float32 in [0, 1], in the frame of the crop.
"""

import pathlib
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io.found_masks import found_mask
from gan2shape_jax.io.image_files import open_upright

__all__ = ["CropMask", "mask_of_crop"]

_LEAST = 16  # pixels of a mask file's shorter side
_OBJECT = 0.5  # threshold on a mask's values
_LEAST_OBJECT = 0.01  # share of a crop


class CropMask(NamedTuple):
    """A crop's mask, and where it comes from."""

    values: Float[np.ndarray, "s s"]
    source: Literal["file", "alpha", "found", "usual"]


def mask_of_crop(
    crop: UInt8[np.ndarray, "s s 3"],
    *,
    path: pathlib.Path,
    box: CropBox,
    photo_size: tuple[int, int],
    alpha: UInt8[np.ndarray, "h w"] | None,
    file: pathlib.Path | None,
    usual: Float[np.ndarray, "m m"],
    found: bool = True,
) -> CropMask:
    """Returns the mask of a crop, from the first available of: file, alpha channel, GrabCut, the usual mask.

    Args:
      crop: the photo's crop.
      path: the photo's path, for messages.
      box: the crop's place in the photo.
      photo_size: the photo's width and height.
      alpha: its alpha channel, or None.
      file: a picture, white on the object, with the photo's proportions, or square, showing the crop; or None.
      usual: how often an object covers each pixel of a crop, which GrabCut starts from.
      found: whether to use GrabCut; else the usual mask is taken as is.

    Raises:
      UserError: the file is unusable, or the mask shows no object.
    """
    if file is not None:
        mask = CropMask(_from_file(file, photo_size, box, len(crop)), "file")
    elif alpha is not None:
        mask = CropMask(sample_crop(alpha, box, len(crop)).astype(np.float32) / 255, "alpha")
    elif found:
        mask = CropMask(found_mask(crop.astype(np.float32) / 127.5 - 1, _sized(usual, len(crop))), "found")
    else:
        mask = CropMask(_sized(usual, len(crop)), "usual")
    if (mask.values > _OBJECT).mean() < _LEAST_OBJECT:
        where = {"file": f"the mask {file}", "alpha": f"the alpha channel of {path}"}.get(mask.source, str(path))
        raise UserError(f"{where} shows no object inside the crop: give another --mask or --box")
    return mask


def _from_file(path: pathlib.Path, photo_size: tuple[int, int], box: CropBox, side: int) -> Float[np.ndarray, "s s"]:
    picture, _, _ = open_upright(path, least=_LEAST)
    grey, factor = np.asarray(picture.convert("L")), picture.width / photo_size[0]
    if abs(picture.height - factor * photo_size[1]) <= 1:
        place = scaled_box(box, factor)
    elif picture.width == picture.height:
        place = centred_box(*picture.size)
    else:
        raise UserError(
            f"the mask {path} has {picture.width} x {picture.height} pixels: it must have the photo's proportions, "
            f"{photo_size[0]} x {photo_size[1]}, or be square and show the crop"
        )
    return sample_crop(grey, place, side).astype(np.float32) / 255


def _sized(mask: Float[np.ndarray, "m m"], side: int) -> Float[np.ndarray, "s s"]:
    if len(mask) == side:
        return mask
    return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR))
