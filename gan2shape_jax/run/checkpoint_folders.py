"""What the folders of checkpoints are called: no name of an image is another's, or one of the run's own."""

from __future__ import annotations

import glob
import hashlib
import os
import pathlib

from gan2shape_jax.errors import UserError

__all__ = ["hidden_checkpoints", "own_checkpoints", "require_no_pattern"]


def own_checkpoints(stem: str) -> str:
    """Returns what the checkpoints of an image are called: as it is, unless Orbax would read a pattern in that.

    It looks for its files by a glob of the whole path, and would find none, or those of other images.
    """
    if not glob.has_magic(stem):
        return stem
    return f".image-{hashlib.sha256(stem.encode()).hexdigest()[:16]}"


def require_no_pattern(checkpoints: pathlib.PurePath) -> None:
    """Raises `UserError` where the path of a run's checkpoints has characters that Orbax reads as a pattern."""
    path = os.path.abspath(checkpoints) if isinstance(checkpoints, pathlib.Path) else str(checkpoints)
    if glob.has_magic(path):
        raise UserError(
            f"checkpoints cannot be kept in {path}: the library that writes them reads *, ? and [ as a pattern; name a "
            "folder without these (config.checkpoint.folder, or config.workdir)"
        )


def hidden_checkpoints(name: str) -> str:
    """Returns what the checkpoints of a group, or of all images, are called: no name of an image begins with a dot."""
    return f".{name.removeprefix('_')}"
