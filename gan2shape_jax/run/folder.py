"""The folder of a run: its paths, what is there, its configuration, and what has failed.

WORKDIR/config.json     the resolved configuration and the run's identity; results and checkpoints carry its fingerprint
WORKDIR/versions.json   what the run was made with
WORKDIR/results/NAME/   an image's results, apart from the run's own files
WORKDIR/                .gan2shape_jax.json (see `io.output_folders`)
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

import jax
from etils import epath
from ml_collections import ConfigDict

import gan2shape_jax
from gan2shape_jax.config import to_json
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import atomic_text, read_object, spare_unreadable
from gan2shape_jax.results import AWAITS, examine, load_metrics
from gan2shape_jax.run.hosts import Team
from gan2shape_jax.run.identity import Identity, read_identity
from gan2shape_jax.training.decision import INPUTS, State, There

TRAINED = ("networks.safetensors", "history.json", "history.csv")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and what has failed."""

    root: pathlib.Path  # the run's folder
    # Where checkpoints are kept, possibly in object storage; None is in the run's folder.
    checkpoint_folder: pathlib.PurePath | None = None
    team: Team = Team()  # this host among those of the run
    # Functions that raise `FatalRunError` if a folder is this run's no longer.
    requires: tuple[Callable[[], None], ...] = ()

    @classmethod
    def at(cls, config: ConfigDict) -> RunFolder:
        """Returns the folder that the configuration names; nothing is written."""
        kept = config.checkpoint.folder
        place: Any = epath.Path(kept) if "://" in kept else pathlib.Path(kept) if kept else None
        return cls(pathlib.Path(config.workdir), place)

    def describe(self, config: ConfigDict, identity: Identity, plan: Mapping[str, Any] | None = None) -> None:
        """Writes the configuration and the versions of this start; `UserError` if that fails.

        `plan` is what the file says of what the run does, see `Plan.record`; it is not read again.
        """
        device = jax.local_devices()[0]
        versions = {
            "gan2shape_jax": gan2shape_jax.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": f"{device.platform} {device.device_kind}",
            "seed": config.seed,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        }
        tree = json.loads(to_json(config)) | {"identity": identity.record()} | ({"plan": dict(plan)} if plan else {})
        spare_unreadable(self.root / "config.json", read_config)
        atomic_text(self.root / "config.json", json.dumps(tree, indent=2, sort_keys=True) + "\n")
        atomic_text(self.root / "versions.json", json.dumps(versions, indent=2) + "\n")

    def require(self) -> None:
        """Raises `FatalRunError` if one of the folders that the run has locked was taken away from it."""
        for require in self.requires:
            require()

    def result(self, name: str) -> pathlib.Path:
        """Returns the folder of an image's results."""
        return results_root(self.root) / name

    @property
    def checkpoint_root(self) -> Any:
        """Folder of the checkpoints."""
        return self.checkpoint_folder or self.root / "checkpoints"

    def checkpoints(self, name: str) -> pathlib.PurePath:
        """Returns the folder of an image's checkpoints: its name, or a hash of one that Orbax takes for a pattern."""
        pattern = glob.has_magic(name)
        return self.checkpoint_root / (f".image-{text_digest(name)}" if pattern else name)

    def group_checkpoints(self, key: str) -> pathlib.PurePath:
        """Returns the folder of the checkpoints of a group of images; `all` for networks that all images share."""
        return self.checkpoint_root / f".{key}"

    @property
    def networks(self) -> pathlib.Path:
        """File of the trained networks shared by all images of a joint run."""
        return self.root / "networks.safetensors"

    @property
    def latents(self) -> pathlib.Path:
        """Folder of the latents that the run itself finds."""
        return self.root / "latents"

    def kept(self) -> tuple[ConfigDict, Identity] | None:
        """Returns the configuration and the identity of the run that is there; None if there is none.

        Raises `UserError`: `config.json` cannot be read.
        """
        path = self.root / "config.json"
        return read_identity(path) if path.exists() else None

    def there(self, name: str) -> There:
        """Returns what is there of an image's result."""
        if not is_result(folder := self.result(name)):
            return There()
        try:
            made_with = examine(folder)
            state: State = "complete" if self.is_finished(name) else "provisional"
        except UserError as error:
            return There(fault=str(error))
        facts = {key: made_with[key] for key in ("configuration", *INPUTS) if made_with.get(key) is not None}
        return There(state, facts, str(made_with.get("drawing", "")))

    @property
    def joint(self) -> dict[str, Any]:
        """What a run that trains one set of networks has noted in `joint.json`; {} if none can be read."""
        try:
            return read_object(self.root / "joint.json", "the record of a joint run")
        except (OSError, UserError):
            return {}

    def note_joint(self, **facts: Any) -> None:
        """Adds facts, such as the images that networks are trained on, to `joint.json`."""
        spare_unreadable(self.root / "joint.json", lambda path: read_object(path, "the record of a joint run"))
        atomic_text(self.root / "joint.json", json.dumps(self.joint | facts, indent=2) + "\n")

    @property
    def networks_there(self) -> There:
        """What is there of networks that are trained together; each of their files appears whole."""
        facts: dict[str, Any] = {key: self.joint[key] for key in ("configuration", "images") if key in self.joint}
        trained = all((self.root / name).is_file() for name in TRAINED)
        return There("complete" if trained else "begun" if facts else "nothing", facts)

    def is_finished(self, name: str) -> bool:
        """Returns whether the image's results exist, and are no prediction that a refinement is to replace.

        Results folders appear complete or not at all; one that cannot be read is finished.
        """
        folder = self.result(name)
        if not is_result(folder):
            return False
        with contextlib.suppress(OSError, UserError):
            return not load_metrics(folder).get(AWAITS)
        return True

    def write_failures(self, failures: dict[str, str]) -> dict[str, str]:
        """Writes `failures.json`, or removes it if there are none; returns the failures of all hosts of the run."""
        every, path, team, inside = dict(failures), self.root / "failures.json", self.team, self.root / ".hosts"
        if team.count > 1:
            atomic_text(inside / f"failures{team.suffix}.json", json.dumps(failures) + "\n")
            for other in sorted(inside.glob(f"failures-*-of-{team.count}.json")):
                with contextlib.suppress(OSError, UserError):  # another host's file, being rewritten
                    told = read_object(other, "a host's failures")
                    every |= {name: why for name, why in told.items() if not self.is_finished(name)}
        if every:
            atomic_text(path, json.dumps(every, indent=2) + "\n")
        else:
            path.unlink(missing_ok=True)
        return every


def require_no_pattern(checkpoints: pathlib.PurePath) -> None:
    """Raises `UserError` if the path of a run's checkpoints has characters that Orbax reads as a glob pattern."""
    path = os.path.abspath(checkpoints) if isinstance(checkpoints, pathlib.Path) else str(checkpoints)
    if glob.has_magic(path):
        raise UserError(
            f"checkpoints cannot be stored in {path}: their library treats *, ? and [ as a pattern; name a "
            "folder without these (config.checkpoint.folder, or config.workdir)"
        )


def results_root(run: pathlib.Path) -> pathlib.Path:
    """Returns the folder of all images' results."""
    return run / "results"


def is_result(folder: pathlib.Path) -> bool:
    """Returns whether a folder contains the results of an image."""
    return os.path.isfile(folder / "result.json")


def require_apart(run: pathlib.Path, stems: Iterable[str]) -> None:
    """Raises `UserError` if images' results would replace, or be inside, those of images in an earlier list."""
    for stem in stems:
        folder = results_root(run) / stem
        places = list(folder.parents[: stem.count("/")])
        if folder.is_dir() and not is_result(folder):
            places += [path.parent for path in folder.rglob("result.json")]
        if other := next(filter(is_result, places), None):
            raise UserError(
                f"the results of {one_line(stem)} would go to {folder}, but an earlier list wrote them to "
                f"{other}: rename the image, or choose another --config.workdir"
            )


def run_above(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the run that contains a folder, directly or among its results; None if there is none."""
    runs = (above for above in folder.parents if (above / "config.json").is_file())
    return next((run for run in runs if run == folder.parent or folder.is_relative_to(results_root(run))), None)


def text_digest(text: str) -> str:
    """Returns 16 hex digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        stored_path, workdir, root = pathlib.Path(path), pathlib.Path(self.config.workdir), self.root.resolve()
        places = [stored_path]
        if not stored_path.is_absolute() and root.parts[-len(workdir.parts) :] == workdir.parts:
            places.insert(0, root.parents[len(workdir.parts) - 1] / stored_path)
        _, inside, name = stored_path.as_posix().rpartition("/gan2shape_jax/assets/")
        if inside:
            places.append(pathlib.Path(asset(name)))
        return next((place for place in places if path and place.exists()), stored_path)


def find_run(result: pathlib.Path, run: str | pathlib.Path | None = None) -> SavedRun:
    """Returns the run that a results folder belongs to: `run`, or where none is named the one that contains it.

    A result that says itself what it was made with, such as one of `gan2shape-jax photo`, need not be like the others.
    Raises `UserError`: there is no run, or its configuration cannot be read.
    """
    root = pathlib.Path(run) if run is not None else run_above(result.resolve()) or result.resolve().parents[1]
    config = next((place / "config.json" for place in (result, root) if (place / "config.json").is_file()), None)
    if config is None:
        raise UserError(
            f"{root} is not the folder of a run: {root / 'config.json'} is missing. The GAN's pictures need the "
            "configuration of the result: leave the result in its run's folder, or name that folder "
            "with --run FOLDER (--version 3d needs none)"
        )
    return SavedRun(root, read_config(config))
