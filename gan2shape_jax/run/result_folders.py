"""Where the results of a run's images lie: `WORKDIR/results/NAME/`, apart from the run's own files.

Runs of version 0.1 had them in `WORKDIR/NAME/`. Whoever only reads takes those as they are; a run that goes on in such
a folder first moves them to where it looks for them. `versions.json` says which layout a folder has.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from etils import epath

from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.regular_files import MIB, read_text

__all__ = [
    "LAYOUT",
    "hidden_checkpoints",
    "is_result",
    "layout_of",
    "move_former_results",
    "results_root",
    "run_above",
    "run_of",
    "saved_result",
]

LAYOUT = 2  # of a run's folder; version 0.1 had 1, and did not write it down

_RESULTS = "results"
_LARGEST = 64 * MIB  # of a JSON file
_ASIDE = ".former-results"  # the results of an image called `results`, while they move


def results_root(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of all images' results."""
    return run / _RESULTS


def saved_result(run: pathlib.Path, stem: str) -> pathlib.Path:
    """Returns where the results of an image lie in a run, of whatever version, or will lie."""
    there, former = results_root(run) / stem, run / stem
    return former if is_result(former) and not is_result(there) else there


def is_result(folder: pathlib.Path) -> bool:
    """Returns whether a folder holds the results of an image."""
    return os.path.isfile(folder / "result.json")


def run_of(result: pathlib.Path, stem: str) -> pathlib.Path:
    """Returns the folder of the run that the results of an image lie in, as its name tells."""
    above = result.resolve().joinpath(*[".."] * len(pathlib.PurePath(stem).parts)).resolve()
    return above.parent if above.name == _RESULTS and not (above / "config.json").is_file() else above


def run_above(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the run that a folder lies in directly or among its results; None where there is none."""
    runs = (above for above in folder.parents if (above / "config.json").is_file())
    return next((run for run in runs if run == folder.parent or folder.is_relative_to(results_root(run))), None)


def layout_of(run: pathlib.Path) -> int | None:
    """Returns how a run's folder is laid out, None where its `versions.json` is not there or not readable."""
    versions = _read(run / "versions.json")
    if versions is None:
        return None
    layout = versions.get("layout", 1)
    return layout if isinstance(layout, int) else None


def move_former_results(run: pathlib.Path, checkpoints: pathlib.PurePath) -> int:
    """Moves results of version 0.1, of whatever images, to where later versions look for them; likewise checkpoints.

    Each folder moves in one step, so that an interrupted move goes on with the next start; several hosts may do it at
    once. Folders that are no results of this program stay.

    Args:
        run: the folder of a run, or one that is yet to be made.
        checkpoints: the folder of its checkpoints, local or an `epath.Path`.

    Returns:
        How many results folders this call has moved.

    Raises:
        UserError: the file system refuses.
    """
    if not (run / "config.json").is_file() or (layout_of(run) or 0) >= LAYOUT:
        return 0
    _move_checkpoints(run, epath.Path(checkpoints))
    moves = [(run / stem, results_root(run) / stem) for stem in _former(run)]
    inner = results_root(run) / _RESULTS
    if (results_root(run), inner) in moves:  # which cannot go into itself
        moves.remove((results_root(run), inner))
        _move(results_root(run), run / _ASIDE)
    if is_result(run / _ASIDE):
        moves.append((run / _ASIDE, inner))
    return sum(_move(source, target) for source, target in moves)


def _move_checkpoints(run: pathlib.Path, checkpoints: epath.Path) -> None:
    """Hides the checkpoints that belong to no single image, whose names images may have."""
    names = [path.stem for path in sorted((run / ".groups").glob("group-*.json"))]
    names += ["_all"] if (run / "images.txt").is_file() else []  # of a joint run
    for name in names:
        hidden = checkpoints / hidden_checkpoints(name)
        if (checkpoints / name).exists() and not hidden.exists():
            (checkpoints / name).rename(hidden)


def hidden_checkpoints(name: str) -> str:
    """Returns what the checkpoints of a group, or of all images, are called: no name of an image begins with a dot."""
    return f".{name.removeprefix('_')}"


def _former(run: pathlib.Path) -> list[str]:
    """Returns the names of the images whose results lie where version 0.1 wrote them."""
    return [stem for stem in _results_below(run) if (_read(run / stem / "result.json") or {}).get("name") == stem]


def _results_below(run: pathlib.Path) -> Iterator[str]:
    for folder, below, files in os.walk(run):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if "result.json" in files and folder != os.fspath(run):
            below.clear()
            yield pathlib.Path(folder).relative_to(run).as_posix()


def _move(source: pathlib.Path, target: pathlib.Path) -> bool:
    """Renames a folder; returns False where another host was faster."""
    if is_result(target):
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refused(error, f"cannot move {source}, the results of an earlier version, to {target}") from error
    with contextlib.suppress(OSError):  # folders that hold something else by now stay
        source.parent.rmdir()
    return True


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the object in a JSON file, None where there is none."""
    try:
        content = json.loads(read_text(path, limit=_LARGEST))
    except (OSError, ValueError, RecursionError, UserError):
        return None
    return content if isinstance(content, dict) else None
