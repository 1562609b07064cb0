"""Prepares one photo for a run: crop and mask as files, a drawing of what was chosen, and a record of it all.

OUT/photos/image/NAME.png     the crop, as the GAN frames such objects
OUT/photos/mask/NAME.png      the object in it
OUT/photos/latent/NAME.npy    its latent, if one was given
OUT/photos/framing/NAME.jpg   the photo with the crop and the mask's outline drawn into it
OUT/photos/NAME.json          where all of it comes from

Masks are (s, s) float32 in [0, 1], in the frame of the crop.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan2shape_jax.apps.photo import alignment
from gan2shape_jax.apps.photo.framing import Frame, Score, draw_framing, find_frames
from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop, scaled_box
from gan2shape_jax.io.arrays import load_latent
from gan2shape_jax.io.files import atomic_bytes, atomic_text, sha256
from gan2shape_jax.io.found_masks import found_mask
from gan2shape_jax.io.image_files import Upright, open_upright
from gan2shape_jax.method.models import Params

__all__ = ["FOLDER", "CropMask", "Framer", "Prepared", "Wish", "mask_of_crop", "opened", "prepare", "records_in"]

FOLDER = "photos"
_FORMAT = 1
_LEAST = 16  # pixels of the shorter side of a photo, or a mask's file
_LEAST_OBJECT = 0.01  # share of a crop
_ENLARGED = 1.5  # factor of enlargement of a crop above which the user is warned
_DARK = 64  # of 255: the user is warned if 99% of a crop's pixels are darker; the darkest of 112 test pictures has 91


@dataclasses.dataclass(frozen=True)
class Framer:
    """What finding crops and masks relies on.

    Attributes:
      side: side of the written crops, pixels.
      style_dim: length of the GAN's latents.
      alignment: weights of the alignment network.
      usual_mask: (s, s) how often the object covers each pixel of a crop, in [0, 1].
      finds_masks: whether GrabCut finds a crop's mask from the usual one; else the usual one is every crop's mask.
      score: scores crops, see `framing.Score`.
      limit: atypicality above which a crop shows no such object.
      foreign: whether photos come from strangers, see `open_upright`.
    """

    side: int
    style_dim: int
    alignment: Params
    usual_mask: Float[np.ndarray, "s s"]
    finds_masks: bool
    score: Score
    limit: float
    foreign: bool = False


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the user gives instead of what would be searched for.

    Attributes:
      box: the crop, in the photo's pixels.
      which: the number of the object, 1 for the most typical.
      mask: file, white on the object, with the photo's proportions, or square, showing the crop.
      latent: file of the crop's latent.
    """

    box: CropBox | None = None
    which: int = 1
    mask: pathlib.Path | None = None
    latent: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What was made of a photo.

    Attributes:
      name: the name its results are filed under.
      path: the photo's path.
      frames: the objects found, most typical first; one if the crop was given.
      chosen: index of the frame that was taken, from 0.
      mask_source: where the mask comes from.
      notes: sentences that the user should read.
      changed: whether the files differ from those there before.
    """

    name: str
    path: pathlib.Path
    frames: tuple[Frame, ...]
    chosen: int
    mask_source: str
    notes: tuple[str, ...]
    changed: bool


class CropMask(NamedTuple):
    """A crop's mask, and where it comes from."""

    values: Float[np.ndarray, "s s"]
    source: Literal["file", "alpha", "found", "usual"]


def opened(path: pathlib.Path, framer: Framer) -> Upright:
    """Returns a photo; raises `UserError` if it is unusable."""
    return open_upright(path, least=_LEAST, foreign=framer.foreign)


def prepare(path: pathlib.Path, name: str, out: pathlib.Path, framer: Framer, wish: Wish) -> Prepared:
    """Finds the object in a photo and writes what a run reads.

    Args:
      path: the photo's path.
      name: the name everything is filed under, see `sources.names_for`.
      out: the results folder.
      framer: finds crops and masks.
      wish: what the user gives instead.

    Raises:
      UserError: the photo, mask or latent is unusable, or the photo has no object with the chosen number.
    """
    whole, alpha, reduction = opened(path, framer)
    photo = np.asarray(whole)
    frames = _frames(photo, reduction, framer, wish.box)
    if not 1 <= wish.which <= len(frames):
        raise UserError(
            f"{path}: {_objects(len(frames))} found, so --which={wish.which} names none; look at the numbers in the "
            "drawing that a run without --which leaves, or give the square itself with --box"
        )
    frame = frames[wish.which - 1]
    box = scaled_box(frame.box, 1 / reduction)
    crop = sample_crop(photo, box, framer.side)
    mask = mask_of_crop(
        crop,
        path=path,
        box=box,
        photo_size=whole.size,
        alpha=None if alpha is None else np.asarray(alpha),
        file=wish.mask,
        usual=framer.usual_mask,
        found=framer.finds_masks,
    )
    boxes = [scaled_box(other.box, 1 / reduction) for other in frames]
    files = {
        f"image/{name}.png": _png(crop),
        f"mask/{name}.png": _png(np.round(mask.values * 255).astype(np.uint8)),
        f"framing/{name}.jpg": draw_framing(photo, boxes, wish.which - 1, mask.values),
    }
    if wish.latent is not None:
        content = io.BytesIO()
        np.save(content, load_latent(wish.latent, framer.style_dim))
        files[f"latent/{name}.npy"] = content.getvalue()
    record = {
        "format": _FORMAT,
        "photo": {
            "path": os.path.realpath(path),
            "sha256": sha256(path),
            "width": whole.width * reduction,
            "height": whole.height * reduction,
        },
        "box": dataclasses.asdict(frame.box),
        "given": wish.box is not None,
        "atypicality": frame.atypicality,
        "others": [dataclasses.asdict(other.box) for other in frames if other is not frame],
        "mask": mask.source,
        "files": {place: hashlib.sha256(content).hexdigest() for place, content in files.items()},
    }
    changed = _write(out / FOLDER, name, files, json.dumps(record, indent=1, sort_keys=True) + "\n")
    notes = _notes(path.name, box.side, crop, framer.side, len(frames), wish.which)
    return Prepared(name, path, tuple(frames), wish.which - 1, mask.source, notes, changed)


def records_in(out: pathlib.Path) -> dict[str, str]:
    """Returns the names of a folder's photos, with the photos' real paths; records that cannot be read are left out."""
    found = {}
    for file in sorted((out / FOLDER).glob("*.json")):
        try:
            record: dict[str, Any] = json.loads(file.read_text("utf-8"))
            if record["format"] == _FORMAT:
                found[file.stem] = str(record["photo"]["path"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


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
    side = len(crop)
    if file is not None:
        mask = CropMask(_from_file(file, photo_size, box, side), "file")
    elif alpha is not None:
        mask = CropMask(sample_crop(alpha, box, side).astype(np.float32) / 255, "alpha")
    else:
        if len(usual) != side:
            usual = np.asarray(Image.fromarray(usual).resize((side, side), Image.Resampling.BILINEAR))
        mask = (
            CropMask(found_mask(crop.astype(np.float32) / 127.5 - 1, usual), "found")
            if found
            else CropMask(usual, "usual")
        )
    if (mask.values > 0.5).mean() < _LEAST_OBJECT:
        where = {"file": f"the mask {file}", "alpha": f"the alpha channel of {path}"}.get(mask.source, str(path))
        raise UserError(f"{where} shows no object inside the crop: give another --mask or --box")
    return mask


def _from_file(path: pathlib.Path, photo_size: tuple[int, int], box: CropBox, side: int) -> Float[np.ndarray, "s s"]:
    picture = open_upright(path, least=_LEAST).picture
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


def _frames(photo: UInt8[np.ndarray, "h w 3"], reduction: int, framer: Framer, box: CropBox | None) -> list[Frame]:
    """Returns the objects in a photo, with boxes in the pixels of its file."""
    if box is None:
        found = find_frames(photo, framer.alignment, framer.score, limit=framer.limit)
        return [Frame(scaled_box(frame.box, reduction), frame.atypicality) for frame in found]
    crop = sample_crop(photo, scaled_box(box, 1 / reduction), alignment.SIDE)
    return [Frame(box, float(framer.score(crop[None])[0]))]


def _png(picture: UInt8[np.ndarray, "..."]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def _notes(
    photo: str, box_side: float, crop: UInt8[np.ndarray, "s s 3"], side: int, count: int, which: int
) -> tuple[str, ...]:
    """Returns the notes on a crop for the user."""
    notes = []
    if count > 1:
        typical = " (the most typical)" if which == 1 else ""
        notes.append(f"{_objects(count)} found, number {which} is taken{typical}; --which chooses another")
    if box_side * _ENLARGED < side:
        notes.append(f"the object has {box_side:.0f} pixels and is enlarged to {side}: expect a soft result")
    light = int(np.percentile(np.asarray(Image.fromarray(crop).convert("L")), 99))
    if light < _DARK:
        notes.append(
            f"what was cut out is very dark (99% of it is below {light + 1} of 255): lighten it, or expect a shape "
            "that is mostly guessed"
        )
    return tuple(f"{photo}: {note}" for note in notes)


def _objects(count: int) -> str:
    return f"{count} object{'s were' if count > 1 else ' was'}"


def _write(folder: pathlib.Path, name: str, files: dict[str, bytes], record: str) -> bool:
    """Writes a photo's files, the record last; returns whether they differ from before."""
    place = folder / f"{name}.json"
    try:
        same = place.read_text("utf-8") == record and all((folder / file).is_file() for file in files)
    except (OSError, ValueError):
        same = False
    if same:
        return False
    try:
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            atomic_bytes(folder / file, content)
        atomic_text(place, record)
    except OSError as error:
        raise refused(error, f"{folder} cannot hold what is made of {name}") from error
    return True
