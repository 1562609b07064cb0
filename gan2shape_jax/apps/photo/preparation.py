"""Prepares one photo for a run: crop and mask as files, a drawing of what was chosen, and a record of it all.

OUT/photos/image/NAME.png     the crop, as the GAN frames such objects
OUT/photos/mask/NAME.png      the object in it
OUT/photos/latent/NAME.npy    its latent, if one was given
OUT/photos/framing/NAME.jpg   the photo with the crop and the mask's outline drawn into it
OUT/photos/NAME.json          where all of it comes from
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan2shape_jax.apps.photo import alignment
from gan2shape_jax.apps.photo.drawing import draw_framing
from gan2shape_jax.apps.photo.framing import Frame, Score, find_frames
from gan2shape_jax.apps.photo.masking import mask_of_crop
from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.io.array_files import load_latent
from gan2shape_jax.io.atomic_files import atomic_bytes, atomic_text
from gan2shape_jax.io.image_files import open_upright
from gan2shape_jax.io.regular_files import MIB, read_text
from gan2shape_jax.io.weights.digest import sha256
from gan2shape_jax.method.models import Params

__all__ = ["FOLDER", "LEAST", "Framer", "Prepared", "Wish", "prepare", "record_of", "records_in"]

FOLDER = "photos"
_FORMAT = 1
LEAST = 16  # pixels of a photo's shorter side
_ENLARGED = 1.5  # beyond this factor, the user is told that the crop is enlarged
_DARK = 64  # of 255: the user is told if 99% of a crop's pixels are darker; the darkest of 112 test pictures has 91
_LARGEST_RECORD = MIB


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
    """

    side: int
    style_dim: int
    alignment: Params
    usual_mask: Float[np.ndarray, "s s"]
    finds_masks: bool
    score: Score
    limit: float


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
    whole, alpha, reduction = open_upright(path, least=LEAST)
    photo = np.asarray(whole)
    frames = _frames(photo, reduction, framer, wish)
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
    files = {
        f"image/{name}.png": _png(crop),
        f"mask/{name}.png": _png(np.round(mask.values * 255).astype(np.uint8)),
        f"framing/{name}.jpg": draw_framing(
            photo, [scaled_box(other.box, 1 / reduction) for other in frames], wish.which - 1, mask.values
        ),
    }
    if wish.latent is not None:
        files[f"latent/{name}.npy"] = _latent(wish.latent, framer.style_dim)
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
    changed = _write(out / FOLDER, name, files, record)
    notes = _notes(path, box, crop, framer, frames, wish)
    return Prepared(name, path, tuple(frames), wish.which - 1, mask.source, notes, changed)


def record_of(out: pathlib.Path, name: str) -> dict[str, Any] | None:
    """Returns the record of a prepared photo in a folder, or None if there is none that can be read."""
    try:
        record = json.loads(read_text(out / FOLDER / f"{name}.json", limit=_LARGEST_RECORD))
        return record if record["format"] == _FORMAT and isinstance(record["photo"]["path"], str) else None
    except (OSError, UserError, ValueError, KeyError, TypeError, RecursionError):
        return None


def records_in(out: pathlib.Path) -> dict[str, str]:
    """Returns the names of a folder's photos, with the photos' real paths."""
    names = sorted(file.stem for file in (out / FOLDER).glob("*.json"))
    records = {name: record_of(out, name) for name in names}
    return {name: record["photo"]["path"] for name, record in records.items() if record is not None}


def _frames(photo: UInt8[np.ndarray, "h w 3"], reduction: int, framer: Framer, wish: Wish) -> list[Frame]:
    """Returns the objects in a photo, with boxes in the pixels of its file."""
    if wish.box is None:
        found = find_frames(photo, framer.alignment, framer.score, limit=framer.limit)
        return [Frame(scaled_box(frame.box, reduction), frame.atypicality) for frame in found]

    crop = sample_crop(photo, scaled_box(wish.box, 1 / reduction), alignment.SIDE)
    return [Frame(wish.box, float(framer.score(crop[None])[0]))]


def _latent(path: pathlib.Path, style_dim: int) -> bytes:
    content = io.BytesIO()
    np.save(content, load_latent(path, style_dim))
    return content.getvalue()


def _png(picture: UInt8[np.ndarray, "..."]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def _notes(
    path: pathlib.Path,
    box: CropBox,
    crop: UInt8[np.ndarray, "s s 3"],
    framer: Framer,
    frames: list[Frame],
    wish: Wish,
) -> tuple[str, ...]:
    """Returns the notes on a crop for the user."""
    told = []
    if len(frames) > 1:
        told.append(
            f"{path.name}: {_objects(len(frames))} found, number {wish.which} is taken"
            + (" (the most typical)" if wish.which == 1 else "")
            + "; --which chooses another"
        )
    if box.side * _ENLARGED < framer.side:
        told.append(
            f"{path.name}: the object has {box.side:.0f} pixels and is enlarged to {framer.side}: expect a soft result"
        )
    light = int(np.percentile(np.asarray(Image.fromarray(crop).convert("L")), 99))
    if light < _DARK:
        told.append(
            f"{path.name}: what was cut out is very dark (99% of it is below {light + 1} of 255): lighten it, or "
            "expect a shape that is mostly guessed"
        )
    return tuple(told)


def _objects(count: int) -> str:
    return f"{count} object{'s were' if count > 1 else ' was'}"


def _write(folder: pathlib.Path, name: str, files: dict[str, bytes], record: dict[str, Any]) -> bool:
    """Writes a photo's files, the record last; returns whether they differ from before."""
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    place = folder / f"{name}.json"
    try:
        same = read_text(place, limit=_LARGEST_RECORD) == text and all((folder / file).is_file() for file in files)
    except (OSError, UserError, ValueError):
        same = False
    if same:
        return False
    try:
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            atomic_bytes(folder / file, content)
        atomic_text(place, text)
    except OSError as error:
        raise refused(error, f"{folder} cannot hold what is made of {name}") from error
    return True
