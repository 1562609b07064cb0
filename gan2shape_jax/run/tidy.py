"""Tidying up after earlier starts: done by a run's first host, while it holds the folder."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from ml_collections import ConfigDict

from gan2shape_jax.io.atomic_files import clear_leftovers
from gan2shape_jax.io.set_aside import to_stderr
from gan2shape_jax.lift.kept_samples import PROJECTED
from gan2shape_jax.results import folder_record
from gan2shape_jax.run import same_config
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.training import group_plan

__all__ = ["clear", "set_aside"]

# What lies directly in a run's folder: files and folders, by name.
_FILES = (
    *(same_config.CONFIG, same_config.VERSIONS, "failures.json", "results.csv", "results.md", "index.html"),
    *("images.txt", "joint.json", "networks.safetensors", "history.csv", "history.json"),
)
_HIDDEN = (".hosts", ".groups", ".joint", PROJECTED)
_FOLDERS = ("results", "checkpoints", "latents", "tensorboard", *_HIDDEN)


def clear(folder: RunFolder, stems: Iterable[str]) -> None:
    """Clears up after writes that were killed; raises `UserError` if the file system refuses."""
    names: dict[pathlib.Path, set[str]] = {folder.root: {pathlib.PurePath(name).stem for name in _FILES}}
    for stem in stems:
        for path in (folder.result(stem), folder.latents / stem):
            names.setdefault(path.parent, set()).add(path.name)
    hidden = dict.fromkeys(folder.root / name for name in _HIDDEN)
    for place, known in (names | hidden).items():
        for back in clear_leftovers(place, known):
            to_stderr(f"{back}: put back as it was, since its successor was not written to the end")


def set_aside(folder: RunFolder, config: ConfigDict, results: Mapping[str, str], unrecorded: Sequence[str]) -> None:
    """Moves damaged files to the folder's `damaged`, and adds records to results of earlier versions.

    Args:
      folder: the run's folder.
      config: the run's configuration.
      results: what is wrong with damaged results, by stem.
      unrecorded: stems of intact results that have no record of their files.

    Raises:
      UserError: the file system refuses.
    """
    _set_misplaced_aside(folder)
    for name, harm in (
        (same_config.CONFIG, same_config.harm_of_config(config)),
        (same_config.VERSIONS, same_config.harm_of_versions(folder.root)),
    ):
        if harm:
            folder.aside(folder.root / name, harm, "it is written again; results and checkpoints tell theirs too")
    for path in group_plan.damaged_notes(folder.root):
        folder.aside(path, f"{path} is damaged", "the checkpoints tell which images they are of")
    for stem, harm in results.items():
        folder.aside(folder.result(stem), harm, "the image is made again")
    made_by = {"configuration": same_config.config_hash(config)}
    for stem in unrecorded:
        folder_record.adopt(folder.result(stem), made_by)
    if unrecorded:
        to_stderr(
            f"{len(unrecorded)} of the results, {unrecorded[0]} for one, have no {folder_record.FILE} (earlier "
            "versions wrote none): their arrays are whole, their other files are taken as they are"
        )


def _set_misplaced_aside(folder: RunFolder) -> None:
    """Moves what the run cannot have written there: a folder in place of a file, or vice versa."""
    for name in (*_FILES, *_FOLDERS):
        path = folder.root / name
        if os.path.lexists(path) and not (path.is_dir() if name in _FOLDERS else path.is_file()):
            kind = "folder" if name in _FOLDERS else "file"
            folder.aside(path, f"{path} is no {kind}", "it is made again")
