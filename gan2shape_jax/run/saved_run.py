"""A finished run read back from its folder: the configuration it was made with, and where its files are now."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.bundled import asset
from gan2shape_jax.config.fields import flatten, load_config
from gan2shape_jax.errors import UserError

__all__ = ["SavedRun", "find_run", "open_run", "read_config"]

_ASSETS = "/gan2shape_jax/assets/"


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run's folder as it lies now, which need not be where it was made, and its resolved configuration."""

    root: pathlib.Path
    config: ConfigDict

    def locate(self, path: str) -> pathlib.Path:
        """Where a file or folder that the configuration names is now; the path as given if it is nowhere.

        Relative paths start at the folder that the run was started in, if the run's folder still tells it, or
        else at the present one. Files that come with the package are found in this installation too.
        """
        given = pathlib.Path(path)
        candidates = [given] if given.is_absolute() else [self._started_in() / given, given]
        _, inside, name = given.as_posix().rpartition(_ASSETS)
        if inside:
            candidates.append(pathlib.Path(asset(name)))
        return next((candidate for candidate in candidates if path and candidate.exists()), given)

    def _started_in(self) -> pathlib.Path:
        workdir = pathlib.PurePath(self.config.workdir)
        root, depth = self.root.resolve(), len(workdir.parts)
        if workdir.is_absolute() or root.parts[len(root.parts) - depth :] != workdir.parts:
            return pathlib.Path()
        return root.parents[depth - 1]


def find_run(result: pathlib.Path, name: str) -> SavedRun:
    """The run that a results folder lies in; `name` is the image's, whose folders a run repeats.

    Raises:
      UserError: there is no run around the folder, or its configuration cannot be read.
    """
    root = result.resolve().joinpath(*[".."] * len(pathlib.PurePath(name).parts)).resolve()
    return open_run(root)


def open_run(root: pathlib.Path) -> SavedRun:
    """The run of a folder; raises `UserError` where it holds no readable configuration."""
    if not (root / "config.json").is_file():
        raise UserError(
            f"{root} is not the folder of a run: {root / 'config.json'} is missing. The GAN's pictures need the "
            "configuration that the result was made with: leave the result in its run's folder, or name that folder "
            "with --run FOLDER (--version 3d needs none)"
        )
    return SavedRun(root, read_config(root / "config.json"))


def read_config(path: pathlib.Path) -> ConfigDict:
    """The resolved configuration that a run wrote as JSON; fields that were added since then have their defaults.

    Raises:
      UserError: the file cannot be read or is none.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a run's configuration: {error}") from error
    config = load_config("base").unlock()
    for field, default in flatten(config).items():
        *parents, last = field.split(".")
        owner, found = config, saved
        for parent in parents:
            owner, found = owner[parent], found.get(parent, {}) if isinstance(found, dict) else {}
        if isinstance(found, dict) and last in found:
            owner[last] = _typed(found[last], default, f"{path}: config.{field}")
    return config.lock()


def _typed(value: Any, default: Any, what: str) -> Any:
    """A JSON value as the field's type: lists are tuples, whole numbers may stand for others."""
    value = _tuples(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    optional = default is None and (value is None or isinstance(value, int))
    if optional or type(value) is type(default):
        return value
    raise UserError(f"{what} is {value!r}, which is no value of that field: the file is damaged")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
