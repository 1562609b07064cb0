"""What the worker does for a job: finds the objects in a photo, or reconstructs one of them, reporting each stage."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import zipfile
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.apps.photo import photo_run
from gan2shape_jax.apps.serve.worker import Perform, Report
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox

# Stages, in order; the first is a separate job.
FRAMING, MASK, SHAPE, TEXTURES = "framing", "mask", "shape", "textures"
PREVIEW = "preview.jpg"  # of a photo that was framed
ARCHIVE = "all.zip"
_PREVIEW_SIDE = 1024  # pixels, at most


def performer(model: str) -> Perform:
    """Loads what jobs of a model, see `photo_run.load_kind`, need; returns what performs them, in the worker.

    A task has these fields: `photo`, path of the file; `folder` of the job, empty; `name` under which results are
    filed; `pixels`, maximum number of pixels of the photo. With `box` (x, y, side, roll_deg of the crop in the photo's
    pixels) and `refine` (whether the model is refined on the photo), the crop is reconstructed; without, the objects in
    the photo are found.
    """
    kind = photo_run.load_kind(model)
    config = photo_run.config_of(kind, pathlib.Path("unused"), refine=False)
    framer = photo_run.load_framer(config, say=lambda line: print(line, file=sys.stderr), foreign=True)

    def perform(task: dict[str, Any], report: Report) -> None:
        if "box" in task:
            _reconstruct(task, kind, framer, report)
        else:
            _frame(task, framer, report)

    return perform


def _frame(task: dict[str, Any], framer: photo_run.Framer, report: Report) -> None:
    photo = framer.opened(pathlib.Path(task["photo"]))
    width, height = (side * photo.reduction for side in photo.picture.size)
    if width * height > task["pixels"]:
        raise UserError(
            f"{task['photo']} has {width} x {height} pixels, {width * height / 1e6:.0f} million: at most "
            f"{task['pixels'] / 1e6:g} million are taken here, make it smaller first"
        )
    frames = framer.frames(photo)
    photo.picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    photo.picture.save(pathlib.Path(task["folder"], PREVIEW), quality=92)
    boxes = [dataclasses.asdict(frame.box) for frame in frames]
    report(FRAMING, {"width": width, "height": height, "boxes": boxes, "known": frames[0].known})


def _reconstruct(task: dict[str, Any], kind: ConfigDict, framer: photo_run.Framer, report: Report) -> None:
    out = pathlib.Path(task["folder"])
    config = photo_run.config_of(kind, out, refine=task["refine"])
    box = CropBox(*task["box"])
    photo = photo_run.prepare(pathlib.Path(task["photo"]), task["name"], out, framer, box=box)
    report(MASK, {"mask": photo.mask_source})
    if photo_run.run_over(config, out):
        failures = out / "failures.json"
        why = json.loads(failures.read_text()) if failures.is_file() else {}
        raise UserError(why.get(photo.name, "the reconstruction failed; the server's log says why"))
    metrics = json.loads((out / "results" / photo.name / "metrics.json").read_text())
    report(SHAPE, {"verdict": metrics.get("trust", {}).get("verdict", "")})
    photo_run.write_textures(out, [photo], framer)
    with zipfile.ZipFile(out / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, file in result_files(out, photo.name).items():
            archive.write(file, f"{photo.name}/{place}")
    report(TEXTURES, {})


def result_files(out: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    """Returns the files of a result that visitors may download, by their names in the archive; none reveals a path."""
    files = {"index.html": out / "index.html"}
    for folder, prefix in ((out / "results" / name, ""), (out / photo_run.FOLDER / "textured" / name, "textured/")):
        files |= {f"{prefix}{file.name}": file for file in sorted(folder.glob("[!.]*"))}
    return {place: file for place, file in files.items() if file.is_file()}
