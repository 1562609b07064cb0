"""From any photo to the method's input: finds the object and its mask, and runs over the crops."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Sequence

from gan2shape_jax.errors import ArgumentError, UserError, one_line
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.io.bundled import DEFAULT
from gan2shape_jax.results.reconstruction import Reconstruction, load


def photo(
    path: str | os.PathLike[str],
    model: str | os.PathLike[str] = DEFAULT,
    *,
    box: Sequence[float] | None = None,
    which: int | None = None,
    mask: str | os.PathLike[str] | None = None,
    refine: bool = False,
    anyway: bool = False,
) -> Reconstruction:
    """Finds the object in a photo of any size and reconstructs it, as `gan2shape-jax photo` does; writes no files.

    Args:
      path: the photo's file.
      model: what it shows, see `load_model`.
      box: x, y, side of the crop, its centre and side in pixels of the upright photo, and perhaps its turn, degrees
        clockwise; without it the object is searched for.
      which: the number of the object from left to right, if several are found; without it, the surest is taken.
      mask: a picture's file, white on the object: of the photo's proportions, or square and of the crop.
      refine: whether light and colours, and the shape of some models, are fitted to the photo, which takes minutes.
      anyway: whether the best candidate is reconstructed where nothing is found.

    Returns:
      The reconstruction, with the photo's own texture on its mesh. `metrics` has `frame`, where the object was found
      (x, y, side, roll_deg), and `trust`, how far to trust the shape.

    Raises:
      ArgumentError: a box of another length or range (a `ValueError` too).
      UserError: a file or the model is unusable, nothing is found, or there is no object of this number.
    """
    # Here, as OpenCV changes the process's environment.
    from gan2shape_jax.apps.photo import crops, naming, photo_run

    if box is not None and len(box) not in (3, 4):
        raise ArgumentError(f"box has {len(box)} numbers: it must be x, y, side or x, y, side, roll")
    file, mask_path = pathlib.Path(path), None if mask is None else pathlib.Path(mask)
    crop, (name,) = None if box is None else CropBox(*box), naming.names_for([file], {})
    request = photo_run.Request(file, name, box=crop, which=which, mask=mask_path, anyway=anyway)
    with tempfile.TemporaryDirectory() as folder:
        config = photo_run.config_of(photo_run.load_kind(model), pathlib.Path(folder), refine=refine)
        cropper = crops.load_cropper(config, say=lambda line: print(one_line(line), file=sys.stderr))
        prepared = photo_run.prepare(request, config, cropper)
        done = max(prepared, key=lambda photo: photo.detection.score)
        count = len(prepared)
        found = f"{count} {cropper.kind}s were found, {done.name} is used{cropper.limit_words(count)}"
        others = [found] if count > 1 else []
        for note in [*others, *done.notes[1:]]:
            warnings.warn(note, stacklevel=2)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            failed = photo_run.run_over(config, [done], cropper)
        if failed:
            raise UserError(failed[done.name])
        result = load(pathlib.Path(folder, "results", done.name))
    metrics = result.metrics | {"frame": dataclasses.asdict(done.detection.box)}
    return dataclasses.replace(result, metrics=metrics)
