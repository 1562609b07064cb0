"""The folder of a run: resolved configuration, versions, what is finished and what failed.

config.json  versions.json  failures.json  results.csv  results.md
results/NAME/  checkpoints/NAME/  latents/NAME.npy  tensorboard/
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import platform
from typing import Any

from etils import epath
from ml_collections import ConfigDict

import gan2shape_jax
from gan2shape_jax.atomic_files import atomic_text
from gan2shape_jax.config import to_json
from gan2shape_jax.config.free_fields import result_fields
from gan2shape_jax.errors import UserError
from gan2shape_jax.run.checkpoint_folders import hidden_checkpoints, own_checkpoints, require_no_pattern
from gan2shape_jax.run.cluster import SINGLE, Team
from gan2shape_jax.run.result_folders import LAYOUT, is_result, results_root

__all__ = ["RunFolder", "checkpoint_root", "require_checkpoint_folder", "require_same_config"]

# May differ between two starts of one run although results depend on it: the list may grow.
_MAY_GROW = ("data.image_list",)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


class RunFolder:
    """Paths of a run and the small files that describe it."""

    def __init__(self, root: pathlib.Path, checkpoint_root: pathlib.PurePath | None = None, team: Team = SINGLE):
        self.root = root
        self.team = team
        self._checkpoints: Any = checkpoint_root or root / "checkpoints"

    @classmethod
    def open(cls, config: ConfigDict, team: Team = SINGLE) -> RunFolder:
        """Makes or reopens `config.workdir`, on every host of the team.

        Raises:
          UserError: the folder belongs to a run of another configuration, or cannot be written.
        """
        folder = cls(pathlib.Path(config.workdir), checkpoint_root(config), team)
        require_same_config(config)
        if team.leads:
            atomic_text(folder.root / "config.json", to_json(config) + "\n")
            atomic_text(folder.root / "versions.json", json.dumps(_versions(config), indent=2) + "\n")
        return folder

    def result(self, name: str) -> pathlib.Path:
        """Returns the folder of an image's results."""
        return results_root(self.root) / name

    def checkpoints(self, name: str) -> pathlib.PurePath:
        """Returns the folder of an image's checkpoints."""
        return self._checkpoints / own_checkpoints(name)

    def group_checkpoints(self, key: str) -> pathlib.PurePath:
        """Returns the folder of the checkpoints of a group of images."""
        return self._checkpoints / hidden_checkpoints(key)

    @property
    def shared_checkpoints(self) -> pathlib.PurePath:
        """Folder of the checkpoints of the networks that all images of a joint run train."""
        return self._checkpoints / hidden_checkpoints("all")

    @property
    def networks(self) -> pathlib.Path:
        """File of the networks that all images of a joint run have trained."""
        return self.root / "networks.safetensors"

    @property
    def latents(self) -> pathlib.Path:
        """Folder of the latents that the run finds itself."""
        return self.root / "latents"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Folder of the images' curves."""
        return self.root / "tensorboard"

    def is_finished(self, name: str) -> bool:
        """Returns whether the image's results are there; results folders appear whole or not at all."""
        return is_result(self.result(name))

    def write_failures(self, failures: dict[str, str]) -> dict[str, str]:
        """Writes `failures.json`, or removes it where there are none; returns those of all hosts since the start."""
        every = self._with_others(failures) if self.team.host.count > 1 else failures
        path = self.root / "failures.json"
        if every:
            atomic_text(path, json.dumps(every, indent=2) + "\n")
        else:
            path.unlink(missing_ok=True)
        return every

    def _with_others(self, failures: dict[str, str]) -> dict[str, str]:
        folder, team = self.root / ".hosts", self.team
        atomic_text(
            folder / f"failures-{team.host.index}.json", json.dumps({"start": team.start, "failures": failures}) + "\n"
        )
        every: dict[str, str] = {}
        for path in sorted(folder.glob("failures-*.json")):
            told = json.loads(path.read_text(encoding="utf-8"))
            every |= told["failures"] if told["start"] == team.start else {}
        return every


def require_checkpoint_folder(config: ConfigDict) -> None:
    """Raises `UserError` where a run that keeps checkpoints could not read them again from where they go."""
    if config.mode != "predict":
        require_no_pattern(checkpoint_root(config) or pathlib.Path(config.workdir) / "checkpoints")


def checkpoint_root(config: ConfigDict) -> pathlib.PurePath | None:
    """Returns where `config.checkpoint.folder` says that checkpoints go; None for the run's own folder."""
    folder = config.checkpoint.folder
    if not folder:
        return None
    return epath.Path(folder) if "://" in folder else pathlib.Path(folder)


def require_same_config(config: ConfigDict) -> None:
    """Raises `UserError` naming the fields in which the folder's former run had another configuration."""
    path = pathlib.Path(config.workdir) / "config.json"
    if not path.is_file():
        return
    try:
        before = result_fields(json.loads(path.read_text(encoding="utf-8")), but=_MAY_GROW)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); choose another --config.workdir") from error
    now = result_fields(json.loads(to_json(config)), but=_MAY_GROW)
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


def _versions(config: ConfigDict) -> dict[str, Any]:
    import jax

    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    device = jax.local_devices()[0]
    return {
        "gan2shape_jax": gan2shape_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform} {device.device_kind}",
        "seed": config.seed,
        "layout": LAYOUT,
        **versions,
    }
