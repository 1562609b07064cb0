"""A finished run read back from its folder: its configuration, and where its files are now."""

from __future__ import annotations

import dataclasses
import pathlib

from ml_collections import ConfigDict

from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.run.result_folders import run_of

__all__ = ["SavedRun", "find_run", "open_run"]

_ASSETS = "/gan2shape_jax/assets/"


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run's folder at its current location, which may not be where it was made, and its resolved configuration."""

    root: pathlib.Path
    config: ConfigDict

    def locate(self, path: str) -> pathlib.Path:
        """Returns where a file or folder named in the configuration is now; the path as given if it is not found.

        Relative paths are resolved against the folder that the run was started in, if it can still be told from the
        run's folder, or else the current one. Files that come with the package are also looked up in this installation.
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
    """Returns the run that a results folder belongs to; `name` is the image's, and may contain subfolders.

    Raises:
      UserError: the folder is not inside a run, or the run's configuration cannot be read.
    """
    return open_run(run_of(result, name))


def open_run(root: pathlib.Path) -> SavedRun:
    """Returns the run in a folder; raises `UserError` if it holds no readable configuration."""
    if not (root / "config.json").is_file():
        raise UserError(
            f"{root} is not the folder of a run: {root / 'config.json'} is missing. The GAN's pictures need the "
            "configuration that the result was made with: leave the result in its run's folder, or name that folder "
            "with --run FOLDER (--version 3d needs none)"
        )
    return SavedRun(root, read_config(root / "config.json"))
