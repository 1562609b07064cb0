"""The folder of a run: resolved configuration, versions, what has finished and what has failed.

config.json  versions.json  failures.json  results.csv  results.md
results/NAME/  checkpoints/NAME/  latents/NAME.npy  tensorboard/
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError, refused
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.json_files import read_object
from gan2shape_jax.io.set_aside import Aside
from gan2shape_jax.run import same_config
from gan2shape_jax.run.hosts import SINGLE, Team
from gan2shape_jax.run.result_folders import is_result, results_root
from gan2shape_jax.run.same_config import require_same_config

__all__ = ["RunFolder", "checkpoint_root", "require_checkpoint_folder", "require_no_pattern"]


class RunFolder:
    """Paths of a run and the small files that describe it."""

    def __init__(
        self,
        root: pathlib.Path,
        checkpoint_root: pathlib.PurePath | None = None,
        team: Team = SINGLE,
        requires: tuple[Callable[[], None], ...] = (),
    ):
        self.root = root
        self.team = team
        self.checkpoint_root: Any = checkpoint_root or root / "checkpoints"
        self._requires = requires

    @classmethod
    def at(cls, config: ConfigDict, team: Team = SINGLE, requires: tuple[Callable[[], None], ...] = ()) -> RunFolder:
        """Returns the folder that the configuration names, as it is; nothing is written."""
        return cls(pathlib.Path(config.workdir), checkpoint_root(config), team, requires)

    @classmethod
    def open(cls, config: ConfigDict, team: Team = SINGLE) -> RunFolder:
        """Creates or reopens `config.workdir`, on every host of the team.

        Raises:
          UserError: the folder belongs to a run with another configuration, or cannot be written to.
        """
        folder = cls.at(config, team)
        require_same_config(config)
        folder.describe(config)
        return folder

    def describe(self, config: ConfigDict) -> None:
        """Has the first host write the configuration and the versions of this start."""
        if self.team.leads:
            same_config.write(config, self.root)

    def require(self) -> None:
        """Raises `FolderGoneError` if one of the folders that the run holds has been taken away from it."""
        for require in self._requires:
            require()

    def result(self, name: str) -> pathlib.Path:
        """Returns the folder of an image's results."""
        return results_root(self.root) / name

    def checkpoints(self, name: str) -> pathlib.PurePath:
        """Returns the folder of an image's checkpoints."""
        return self.checkpoint_root / _checkpoint_name(name)

    def group_checkpoints(self, key: str) -> pathlib.PurePath:
        """Returns the folder of the checkpoints of a group of images."""
        return self.checkpoint_root / f".{key}"

    @property
    def shared_checkpoints(self) -> pathlib.PurePath:
        """Folder of the checkpoints of the networks shared by all images of a joint run."""
        return self.checkpoint_root / ".all"

    @property
    def networks(self) -> pathlib.Path:
        """File of the trained networks shared by all images of a joint run."""
        return self.root / "networks.safetensors"

    @property
    def latents(self) -> pathlib.Path:
        """Folder of the latents that the run itself finds."""
        return self.root / "latents"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of the images' TensorBoard curves."""
        return self.root / "tensorboard"

    @property
    def aside(self) -> Aside:
        """Moves damaged files to the folder's `damaged`."""
        return Aside(self.root)

    def is_finished(self, name: str) -> bool:
        """Returns whether the image's results exist; results folders appear complete or not at all."""
        return is_result(self.result(name))

    def write_failures(self, failures: dict[str, str]) -> dict[str, str]:
        """Writes `failures.json`, or removes it if there are none; returns all hosts' failures since the start."""
        every = self._with_others(failures) if self.team.count > 1 else failures
        path = self.root / "failures.json"
        if every:
            atomic_text(path, json.dumps(every, indent=2) + "\n")
            return every
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise refused(error, f"cannot remove {path}") from error
        return every

    def _with_others(self, failures: dict[str, str]) -> dict[str, str]:
        folder, team = self.root / ".hosts", self.team
        atomic_text(
            folder / f"failures-{team.index}.json", json.dumps({"start": team.start, "failures": failures}) + "\n"
        )
        every: dict[str, str] = {}
        for path in sorted(folder.glob("failures-*.json")):
            with contextlib.suppress(OSError, UserError):  # another host's file, being rewritten
                told = read_object(path, "a host's failures")
                if told.get("start") == team.start and isinstance(told.get("failures"), dict):
                    every |= {str(name): str(why) for name, why in told["failures"].items()}
        return every


def require_checkpoint_folder(config: ConfigDict) -> None:
    """Raises `UserError` if a run that keeps checkpoints could not read them back from their folder."""
    if config.mode != "predict":
        require_no_pattern(checkpoint_root(config) or pathlib.Path(config.workdir) / "checkpoints")


def checkpoint_root(config: ConfigDict) -> pathlib.PurePath | None:
    """Returns the folder for checkpoints set by `config.checkpoint.folder`; None for the run's own folder."""
    folder = config.checkpoint.folder
    if not folder:
        return None
    return epath.Path(folder) if "://" in folder else pathlib.Path(folder)


def require_no_pattern(checkpoints: pathlib.PurePath) -> None:
    """Raises `UserError` if the path of a run's checkpoints has characters that Orbax reads as a glob pattern."""
    path = os.path.abspath(checkpoints) if isinstance(checkpoints, pathlib.Path) else str(checkpoints)
    if glob.has_magic(path):
        raise UserError(
            f"checkpoints cannot be kept in {path}: the library that writes them reads *, ? and [ as a pattern; name a "
            "folder without these (config.checkpoint.folder, or config.workdir)"
        )


def _checkpoint_name(stem: str) -> str:
    """Returns the name of an image's checkpoint folder: the stem, unless Orbax would read it as a glob pattern.

    Orbax finds its files by globbing the whole path, and would find none, or those of other images. No image's name
    begins with a dot.
    """
    return f".image-{hashlib.sha256(stem.encode()).hexdigest()[:16]}" if glob.has_magic(stem) else stem
