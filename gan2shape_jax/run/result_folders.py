"""Where the results of a run's images are: `WORKDIR/results/NAME/`, separate from the run's own files."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

from gan2shape_jax.errors import UserError, one_line

__all__ = [
    "is_result",
    "require_apart",
    "results_root",
    "run_above",
    "run_of",
    "saved_result",
]

_RESULTS = "results"


def results_root(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of all images' results."""
    return run / _RESULTS


def saved_result(run: pathlib.Path, stem: str) -> pathlib.Path:
    """Returns where the results of an image are, or will be."""
    return results_root(run) / stem


def is_result(folder: pathlib.Path) -> bool:
    """Returns whether a folder contains the results of an image."""
    return os.path.isfile(folder / "result.json")


def require_apart(run: pathlib.Path, stems: Iterable[str]) -> None:
    """Refuses images whose results would replace, or be inside, those of images in an earlier list.

    Raises:
      UserError: names both folders.
    """
    root = results_root(run)
    if not root.is_dir():
        return
    for stem in stems:
        folder = root / stem
        if folder.is_dir() and not is_result(folder):
            other = next((path.parent for path in folder.rglob("result.json") if path.is_file()), None)
        else:
            above = folder.parents[: stem.count("/")] if "/" in stem else ()
            other = next((path for path in above if is_result(path)), None)
        if other is not None:
            raise UserError(
                f"the results of {one_line(stem)} would go to {folder}, but an earlier list has its results in "
                f"{other}: rename the image, or choose another --config.workdir"
            )


def run_of(result: pathlib.Path, stem: str) -> pathlib.Path:
    """Returns the run's folder that an image's results are in, judging by the image's name."""
    above = result.resolve().joinpath(*[".."] * len(pathlib.PurePath(stem).parts)).resolve()
    return above.parent if above.name == _RESULTS and not (above / "config.json").is_file() else above


def run_above(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the run that contains a folder, directly or among its results; None if there is none."""
    runs = (above for above in folder.parents if (above / "config.json").is_file())
    return next((run for run in runs if run == folder.parent or folder.is_relative_to(results_root(run))), None)
