"""Names of checkpoint folders: no image's name clashes with another's, or with one of the run's own."""

from __future__ import annotations

import glob
import hashlib
import os
import pathlib

from gan2shape_jax.errors import UserError

__all__ = ["hidden_checkpoints", "own_checkpoints", "require_no_pattern"]


def own_checkpoints(stem: str) -> str:
    """Returns the name of an image's checkpoint folder: the stem, unless Orbax would read it as a glob pattern.

    Orbax finds its files by globbing the whole path, and would find none, or those of other images.
    """
    if not glob.has_magic(stem):
        return stem
    return f".image-{hashlib.sha256(stem.encode()).hexdigest()[:16]}"


def require_no_pattern(checkpoints: pathlib.PurePath) -> None:
    """Raises `UserError` if the path of a run's checkpoints has characters that Orbax reads as a glob pattern."""
    path = os.path.abspath(checkpoints) if isinstance(checkpoints, pathlib.Path) else str(checkpoints)
    if glob.has_magic(path):
        raise UserError(
            f"checkpoints cannot be kept in {path}: the library that writes them reads *, ? and [ as a pattern; name a "
            "folder without these (config.checkpoint.folder, or config.workdir)"
        )


def hidden_checkpoints(name: str) -> str:
    """Returns the name of the checkpoint folder of a group, or of all images; no image's name begins with a dot."""
    return f".{name.removeprefix('_')}"
