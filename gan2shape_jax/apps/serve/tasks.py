"""What the worker does for a job: find the objects in a photo, or reconstruct one of them, reporting each stage."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.apps.photo import photo_run, sources
from gan2shape_jax.apps.photo.framing import find_frames
from gan2shape_jax.apps.photo.preparation import FOLDER, Framer, Wish, opened, prepare
from gan2shape_jax.apps.serve.device import Perform
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, scaled_box

__all__ = ["ARCHIVE", "FRAMING", "MASK", "PREVIEW", "SHAPE", "TEXTURES", "performer", "result_files"]

# Stages, in order; the first is a separate job.
FRAMING, MASK, SHAPE, TEXTURES = "framing", "mask", "shape", "textures"
PREVIEW = "preview.jpg"  # of a photo that was framed
ARCHIVE = "all.zip"
_PREVIEW_SIDE = 1024  # pixels, at most

Report = Callable[[str, dict[str, Any]], None]  # takes the name of a completed stage, and JSON facts about it


def performer(model: str) -> Perform:
    """Loads what a model's jobs need; returns what performs them, in the worker.

    A task has these fields: `photo`, path of the file; `folder` of the job, empty; `name` under which results are
    filed; `pixels`, maximum number of pixels of the photo. With `box` (x, y, side, roll_deg of the crop in the photo's
    pixels) and `refine` (whether the model is refined on the photo), the crop is reconstructed; without, the objects in
    the photo are found.

    Args:
      model: as for `sources.load_kind`.

    Raises:
      UserError: there is no such model, or its files are unusable.
    """
    kind = sources.load_kind(model)
    config = photo_run.config_of(kind, pathlib.Path("unused"), refine=False)
    framer = photo_run.start(config, say=lambda line: print(line, file=sys.stderr), foreign=True)

    def perform(task: dict[str, Any], report: Report) -> None:
        photo, folder = pathlib.Path(task["photo"]), pathlib.Path(task["folder"])
        if "box" in task:
            _reconstruct(photo, folder, task, kind, framer, report)
        else:
            report(FRAMING, _frame(photo, folder, task["pixels"], framer))

    return perform


def result_files(out: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    """Returns the files of a result that visitors may download, by their names in the archive; none reveals a path."""
    files = {"index.html": out / "index.html"}
    for folder, prefix in ((out / "results" / name, ""), (out / FOLDER / "textured" / name, "textured/")):
        files |= {f"{prefix}{file.name}": file for file in sorted(folder.glob("[!.]*"))}
    return {place: file for place, file in files.items() if file.is_file()}


def _frame(photo: pathlib.Path, folder: pathlib.Path, pixels: int, framer: Framer) -> dict[str, Any]:
    whole, _, reduction = opened(photo, framer)
    width, height = whole.width * reduction, whole.height * reduction
    if width * height > pixels:
        raise UserError(
            f"{photo} has {width} x {height} pixels, {width * height / 1e6:.0f} million: at most {pixels / 1e6:g} "
            "million are taken here, make it smaller first"
        )
    frames = find_frames(np.asarray(whole), framer.alignment, framer.score, limit=framer.limit)
    preview = whole.copy()
    preview.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    preview.save(folder / PREVIEW, quality=92)
    boxes = [dataclasses.asdict(scaled_box(frame.box, reduction)) for frame in frames]
    return {"width": width, "height": height, "boxes": boxes, "known": frames[0].atypicality <= framer.limit}


def _reconstruct(
    photo: pathlib.Path, out: pathlib.Path, task: dict[str, Any], kind: ConfigDict, framer: Framer, report: Report
) -> None:
    config = photo_run.config_of(kind, out, refine=task["refine"])
    made = prepare(photo, task["name"], out, framer, Wish(box=CropBox(*task["box"])))
    report(MASK, {"mask": made.mask_source, "known": made.frames[0].atypicality <= framer.limit})
    if photo_run.reconstruct(config, out, [made]):
        failures = json.loads((out / "failures.json").read_text()) if (out / "failures.json").is_file() else {}
        raise UserError(failures.get(made.name, "the reconstruction failed; the server's log says why"))
    metrics = json.loads((out / "results" / made.name / "metrics.json").read_text())
    report(SHAPE, {"verdict": metrics.get("trust", {}).get("verdict", "")})
    photo_run.write_textures(out, [made], framer)
    with zipfile.ZipFile(out / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, file in result_files(out, made.name).items():
            archive.write(file, f"{made.name}/{place}")
    report(TEXTURES, {})
