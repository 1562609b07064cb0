"""Finding the results below the folders that a user names, and what is known about the runs that they are of.

A folder is that of a run (`config.json` beside the folder of all results), that of one image (`result.json`), or any
folder above these. An image's name is its folder's path below the folder of its run's results, with `/`, prefixed by
the run's own path if a folder above the run was named.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

from gan2shape_jax.config import load
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB, read_object
from gan2shape_jax.io.image_lists import read_names, stem_of
from gan2shape_jax.run.folder import is_result, results_root, run_above


@dataclasses.dataclass(frozen=True)
class FoundRun:
    """One run and its results; `home` is its folder, or, if `root` is that of one image, the run around it."""

    label: str  # the shortest end of its path that distinguishes it from the others
    root: pathlib.Path  # the folder that was named
    home: pathlib.Path
    images: dict[str, pathlib.Path]  # result folders by image name, sorted by name
    failures: dict[str, str]  # reasons by name, for the images that the run gave up on

    @functools.cached_property
    def config(self) -> ConfigDict | None:
        """Its configuration; None if it has no `config.json`. Raises `UserError` if that is damaged."""
        path = self.home / "config.json"
        return load.read_config(path) if path.exists() else None


def find_runs(paths: Sequence[pathlib.Path]) -> list[FoundRun]:
    """Returns the runs at `paths`, in their order.

    Raises:
        UserError: a path does not exist, holds no result or is named twice; or a file of a run is damaged.
    """
    resolved = [_run_itself(path.resolve()) for path in paths]
    for path in resolved:
        if resolved.count(path) > 1:
            raise UserError(f"{path} is named twice: name each result folder once")
    counts = range(1, max(len(path.parts) for path in resolved))  # as many of the last parts as tell them apart
    ends = (["/".join(path.parts[-count:]) for path in resolved] for count in counts)
    labels = next((each for each in ends if len(set(each)) == len(each)), list(map(str, resolved)))
    return [_find(path, root, label) for path, root, label in zip(paths, resolved, labels, strict=True)]


def _run_itself(folder: pathlib.Path) -> pathlib.Path:
    """Returns the run if a folder is that of all its results; otherwise the folder itself."""
    run = folder.parent
    of_run = folder == results_root(run) and not is_result(folder) and (run / "config.json").is_file()
    return run if of_run else folder


def _find(given: pathlib.Path, root: pathlib.Path, label: str) -> FoundRun:
    if not root.is_dir():
        raise UserError(f"{given} is not a results folder: there is no such folder")
    single = is_result(root)
    home = run_above(root) or root.parent if single else root
    images = {root.name: root} if single else _below(root)
    failures: dict[str, str] = {}
    if not single and (path := root / "failures.json").exists():
        failures = read_object(path, "a run's failures", limit=16 * MIB)  # 100,000 lines
    if not images and not failures:
        raise UserError(
            f"{given} holds no results: name a run's folder, or one with a result.json in it (a run writes an "
            "image's folder when the image is finished)"
        )
    return FoundRun(label, root, home, images, failures)


def _below(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns result folders by name; hidden folders do not count."""
    found: dict[str, pathlib.Path] = {}
    for folder in sorted(path.parent for path in root.rglob("result.json") if path.is_file()):
        below, run = folder.relative_to(root), run_above(folder)
        if any(part.startswith(".") for part in below.parts):
            continue
        if run is not None and run.is_relative_to(root) and folder.is_relative_to(results_root(run)):
            below = run.relative_to(root) / folder.relative_to(results_root(run))
        if (name := below.as_posix()) in found:
            raise UserError(f"{found[name]} and {folder} are both results of {name}: move one of them elsewhere")
        found[name] = folder
    return dict(sorted(found.items()))


def read_config(run: FoundRun) -> ConfigDict:
    """Returns the run's configuration; raises `UserError` if it has none."""
    if run.config is None:
        raise UserError(f"{run.home} has no config.json: without it nothing says which networks the run used")
    return run.config


def listed_entry(config: ConfigDict, name: str) -> str:
    """Returns the line of a run's image list that names an image; `UserError` if the list no longer does."""
    listed = {stem_of(entry): entry for entry in read_names(config.data.image_list, config.data.image_root)}
    if name not in listed:
        raise UserError(f"{config.data.image_list}, the image list of the run, does not name {name} any more")
    return listed[name]
