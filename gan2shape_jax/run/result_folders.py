"""Where the results of a run's images are: `WORKDIR/results/NAME/`, separate from the run's own files.

Version 0.1 put them in `WORKDIR/NAME/`. Code that only reads accepts both locations; a run that continues in such a
folder first moves them to the new one. `versions.json` says which layout a folder has.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.regular_files import MIB, read_text

__all__ = [
    "LAYOUT",
    "is_result",
    "layout_of",
    "read_object",
    "require_apart",
    "results_root",
    "run_above",
    "run_of",
    "saved_result",
]

LAYOUT = 2  # of a run's folder; version 0.1 had layout 1, and did not record it

_RESULTS = "results"
_LARGEST = 64 * MIB  # of a JSON file


def results_root(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of all images' results."""
    return run / _RESULTS


def saved_result(run: pathlib.Path, stem: str) -> pathlib.Path:
    """Returns where the results of an image are, or will be, in a run of any version."""
    there, former = results_root(run) / stem, run / stem
    return former if is_result(former) and not is_result(there) else there


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


def layout_of(run: pathlib.Path) -> int | None:
    """Returns the layout of a run's folder; None if its `versions.json` is missing or unreadable."""
    versions = read_object(run / "versions.json")
    if versions is None:
        return None
    layout = versions.get("layout", 1)
    return layout if isinstance(layout, int) else None


def read_object(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the object in a JSON file; None if there is none."""
    try:
        content = json.loads(read_text(path, limit=_LARGEST))
    except (OSError, ValueError, RecursionError, UserError):
        return None
    return content if isinstance(content, dict) else None
