"""The folder of a run: its paths, its configuration, what has finished and what has failed.

WORKDIR/config.json     the resolved configuration; results and checkpoints carry its hash
WORKDIR/versions.json   what the run was made with
WORKDIR/results/NAME/   an image's results, apart from the run's own files
WORKDIR/                failures.json  results.csv  results.md  index.html  latents/NAME.npy
WORKDIR/                checkpoints/NAME/  tensorboard/NAME/
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

import gan2shape_jax
from gan2shape_jax.config import to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.config.schema import result_fields
from gan2shape_jax.errors import UserError, one_line, refused
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_text, read_object
from gan2shape_jax.run.hosts import SINGLE, Team

__all__ = [
    "RunFolder",
    "SavedRun",
    "checkpoint_root",
    "config_hash",
    "find_run",
    "is_result",
    "open_run",
    "require_apart",
    "require_checkpoint_folder",
    "require_no_pattern",
    "require_same_config",
    "results_root",
    "run_above",
    "run_of",
    "write_config",
]

# May differ between two starts of one run although results depend on it: the image list may grow.
_MAY_GROW = ("data.image_list",)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


_ASSETS = "/gan2shape_jax/assets/"


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
            write_config(config, self.root)

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


def results_root(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of all images' results."""
    return run / "results"


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
    return above.parent if above.name == "results" and not (above / "config.json").is_file() else above


def run_above(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the run that contains a folder, directly or among its results; None if there is none."""
    runs = (above for above in folder.parents if (above / "config.json").is_file())
    return next((run for run in runs if run == folder.parent or folder.is_relative_to(results_root(run))), None)


def config_hash(config: ConfigDict) -> str:
    """Returns 16 hex digits that differ between configurations whose results may differ."""
    fields = _fields(json.loads(to_json(config)))
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def require_same_config(config: ConfigDict) -> None:
    """Raises `UserError` naming the fields in which the folder's existing run was configured differently.

    A `config.json` that cannot be read is ignored: it is written again, and results carry the hash of theirs.
    """
    try:
        before = _fields(read_object(pathlib.Path(config.workdir) / "config.json", "a run's configuration"))
    except (OSError, UserError):
        return
    now = _fields(json.loads(to_json(config)))
    changed = [
        f"{key} (was {before.get(key)!r}, is {now.get(key)!r})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            f"{config.workdir} holds results of another configuration: {', '.join(changed)}; "
            "choose another --config.workdir or delete that folder"
        )


def write_config(config: ConfigDict, root: pathlib.Path) -> None:
    """Writes the configuration and the versions of a run; raises `UserError` if the file system refuses."""
    import jax

    device = jax.local_devices()[0]
    versions = {
        "gan2shape_jax": gan2shape_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform} {device.device_kind}",
        "seed": config.seed,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    atomic_text(root / "config.json", to_json(config) + "\n")
    atomic_text(root / "versions.json", json.dumps(versions, indent=2) + "\n")


def _fields(tree: Mapping[str, Any]) -> dict[str, Any]:
    return result_fields(tree, but=_MAY_GROW)


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
