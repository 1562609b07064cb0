"""What the worker does for a job: find the objects in a photo, or reconstruct one of them, reporting each stage."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.apps.photo import photo_run
from gan2shape_jax.apps.photo.framing import find_frames
from gan2shape_jax.apps.photo.preparation import FOLDER, LEAST, Framer, Prepared, Wish, prepare
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, scaled_box
from gan2shape_jax.io.image_files import open_upright
from gan2shape_jax.io.regular_files import MIB, read_text

__all__ = ["ARCHIVE", "FRAMING", "MASK", "PREVIEW", "SHAPE", "TEXTURES", "Request", "archive_files", "perform"]

# Stages, in order; the first is a separate job.
FRAMING, MASK, SHAPE, TEXTURES = "framing", "mask", "shape", "textures"
PREVIEW = "preview.jpg"  # of a photo that was framed
ARCHIVE = "all.zip"
_PREVIEW_SIDE = 1024  # pixels, at most
_LARGEST_METRICS = MIB

Tell = Callable[[str, dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Request:
    """A job, as sent to the worker.

    Attributes:
      photo: path of the file.
      folder: of the job, empty.
      name: under which results are filed.
      pixels: maximum number of pixels of the photo.
      box: x, y, side, roll_deg of the crop in the photo's pixels; None means to find the objects in the photo.
      refine: whether the model is refined on the photo.
    """

    photo: str
    folder: str
    name: str
    pixels: int
    box: tuple[float, float, float, float] | None = None
    refine: bool = False


def perform(request: Request, kind: ConfigDict, framer: Framer, tell: Tell) -> None:
    """Runs a job.

    Args:
      request: the job.
      kind: configuration of the model, see `kinds.load_kind`.
      framer: how crops and masks are found.
      tell: called with the name of each completed stage, and JSON-serialisable facts about it.

    Raises:
      UserError: the photo is unusable, or the reconstruction failed.
    """
    if request.box is None:
        tell(FRAMING, _frame(request, framer))
    else:
        _reconstruct(request, CropBox(*request.box), kind, framer, tell)


def _frame(request: Request, framer: Framer) -> dict[str, Any]:
    whole, _, reduction = open_upright(request.photo, least=LEAST)
    width, height = whole.width * reduction, whole.height * reduction
    if width * height > request.pixels:
        raise UserError(
            f"{request.photo} has {width} x {height} pixels, {width * height / 1e6:.0f} million: at most "
            f"{request.pixels / 1e6:g} million are taken here, make it smaller first"
        )
    import numpy as np

    frames = find_frames(np.asarray(whole), framer.alignment, framer.score, limit=framer.limit)
    preview = whole.copy()
    preview.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    preview.save(pathlib.Path(request.folder) / PREVIEW, quality=92)
    boxes = [dataclasses.asdict(scaled_box(frame.box, reduction)) for frame in frames]
    return {"width": width, "height": height, "boxes": boxes, "known": frames[0].atypicality <= framer.limit}


def _reconstruct(request: Request, box: CropBox, kind: ConfigDict, framer: Framer, tell: Tell) -> None:
    out = pathlib.Path(request.folder)
    config = photo_run.config_of(kind, out, refine=request.refine)
    made = prepare(pathlib.Path(request.photo), request.name, out, framer, Wish(box=box))
    tell(MASK, {"mask": made.mask_source, "known": made.frames[0].atypicality <= framer.limit})
    if photo_run.reconstruct(config, out, [made]):
        raise UserError(_failure(out, request.name))
    tell(SHAPE, {"verdict": _verdict(out, request.name)})
    photo_run.write_textures(out, [made])
    _archive(out, made)
    tell(TEXTURES, {})


def archive_files(out: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    """Returns the files of a result that visitors may download, by their names in the archive; none reveals a path."""
    files = {"index.html": out / "index.html"}
    for folder, prefix in ((out / "results" / name, ""), (out / FOLDER / "textured" / name, "textured/")):
        files |= {f"{prefix}{file.name}": file for file in sorted(folder.glob("*")) if file.is_file()}
    return {place: file for place, file in files.items() if file.is_file() and not file.name.startswith(".")}


def _archive(out: pathlib.Path, made: Prepared) -> None:
    with zipfile.ZipFile(out / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, file in archive_files(out, made.name).items():
            archive.write(file, f"{made.name}/{place}")


def _verdict(out: pathlib.Path, name: str) -> str:
    """Returns how far the shape can be trusted, in words; '' if the metrics do not say."""
    try:
        trust = json.loads(read_text(out / "results" / name / "metrics.json", limit=_LARGEST_METRICS)).get("trust", {})
        return str(trust.get("verdict") or "")
    except (OSError, UserError, ValueError, AttributeError):
        return ""


def _failure(out: pathlib.Path, name: str) -> str:
    """Returns the reason that the run gives for its failure."""
    try:
        told = json.loads(read_text(out / "failures.json", limit=_LARGEST_METRICS))
        return str(told[name])
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return "the reconstruction failed; the server's log says why"
