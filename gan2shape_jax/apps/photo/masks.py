"""The object mask of a photo's crop; masks are (s, s) float32 in [0, 1], in the frame of the crop."""

import pathlib

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.apps.photo.crops import LEAST_SIDE, Cropper
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io.grabcut import grabcut_mask
from gan2shape_jax.io.image_files import Picture, grey_mask, inverted_fault, open_upright

SOURCES = {"file": "given", "alpha": "the photo's alpha channel", "grabcut": "found", "mean": "the same for all photos"}
_LEAST_OBJECT = 0.01  # share of a crop


def mask_of_crop(
    crop: UInt8[np.ndarray, "s s 3"],
    photo: Picture,
    box: CropBox,
    cropper: Cropper,
    path: pathlib.Path,
    file: pathlib.Path | None,
) -> tuple[Float[np.ndarray, "s s"], str, str]:
    """Returns a crop's mask, its source and what the user should read of it, or "".

    The source is the first available of: file, alpha channel, GrabCut, the mean mask. `box` is the crop's place in
    the photo. Raises `UserError` if the file is unusable or the mask shows no object.
    """
    side, where = len(crop), str(path)
    if file is not None:
        values, source, where = _from_file(file, photo, box, side), "file", f"the mask {file}"
    elif photo.alpha is not None:
        values, source = sample_crop(np.asarray(photo.alpha), box, side).astype(np.float32) / 255, "alpha"
        where = f"the alpha channel of {path}"
    elif cropper.finds_masks:
        values, source = grabcut_mask(crop.astype(np.float32) / 127.5 - 1, cropper.mean_mask), "grabcut"
    else:
        values, source = cropper.mean_mask, "mean"
    if (values > 0.5).mean() < _LEAST_OBJECT:
        raise UserError(f"{where} shows no object inside the crop: name another --mask or --box")
    fault = inverted_fault(values) if source in ("file", "alpha") else ""
    return values, source, fault and f"{where} {fault}"


def _from_file(file: pathlib.Path, photo: Picture, box: CropBox, side: int) -> Float[np.ndarray, "s s"]:
    """Returns the mask that a picture of the whole photo, or a square one of the crop, shows."""
    picture, (width, height) = grey_mask(open_upright(file, least=LEAST_SIDE), f"the mask {file}"), photo.picture.size
    factor = picture.width / width
    whole = abs(picture.height - factor * height) <= 1
    if not whole and picture.width != picture.height:
        raise UserError(
            f"the mask {file} has {picture.width} x {picture.height} pixels: it must have the photo's proportions, "
            f"{width} x {height}, or be square and show the crop"
        )
    place = scaled_box(box, factor) if whole else centred_box(*picture.size)
    return sample_crop(np.asarray(picture), place, side).astype(np.float32) / 255
