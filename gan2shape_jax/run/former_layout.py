"""Migrating run folders of version 0.1, which kept image results alongside the run's own files."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from etils import epath

from gan2shape_jax.errors import refused
from gan2shape_jax.run.checkpoint_folders import hidden_checkpoints
from gan2shape_jax.run.result_folders import LAYOUT, is_result, layout_of, read_object, results_root

__all__ = ["move_former_results"]

_ASIDE = ".former-results"  # the results of an image called `results`, while they move


def move_former_results(run: pathlib.Path, checkpoints: pathlib.PurePath) -> int:
    """Moves all results of version 0.1 to where later versions look for them, and checkpoints likewise.

    Each folder moves in one step, so that the next start resumes an interrupted move; several hosts may do this at
    once. Folders that are not results of this program stay.

    Args:
        run: the run's folder, which need not exist yet.
        checkpoints: the run's checkpoint folder, local or an `epath.Path`.

    Returns:
        How many results folders this call has moved.

    Raises:
        UserError: the file system refuses.
    """
    if not (run / "config.json").is_file() or (layout_of(run) or 0) >= LAYOUT:
        return 0
    _move_checkpoints(run, epath.Path(checkpoints))
    moves = [(run / stem, results_root(run) / stem) for stem in _former(run)]
    inner = results_root(run) / results_root(run).name
    if (results_root(run), inner) in moves:  # which cannot be moved into itself
        moves.remove((results_root(run), inner))
        _move(results_root(run), run / _ASIDE)
    if is_result(run / _ASIDE):
        moves.append((run / _ASIDE, inner))
    return sum(_move(source, target) for source, target in moves)


def _move_checkpoints(run: pathlib.Path, checkpoints: epath.Path) -> None:
    """Hides the checkpoints that belong to no single image, since their names may clash with those of images."""
    names = [path.stem for path in sorted((run / ".groups").glob("group-*.json"))]
    names += ["_all"] if (run / "images.txt").is_file() else []  # of a joint run
    for name in names:
        source, target = checkpoints / name, checkpoints / hidden_checkpoints(name)
        try:
            if source.exists() and not target.exists():
                source.rename(target)
        except FileNotFoundError:
            continue  # another host was faster
        except OSError as error:
            raise refused(error, f"cannot move {source}, checkpoints of an earlier version, to {target}") from error


def _former(run: pathlib.Path) -> list[str]:
    """Returns the names of the images whose results are where version 0.1 wrote them."""
    return [stem for stem in _results_below(run) if (read_object(run / stem / "result.json") or {}).get("name") == stem]


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
    with contextlib.suppress(OSError):  # folders that still contain something else stay
        source.parent.rmdir()
    return True
