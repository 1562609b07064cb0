"""Finding the results below the folders that a user names, and what is known of the runs that made them.

A folder is a run's (`config.json` beside the images' folders), that of one image (`result.json`), or any folder above
such ones. An image's name is its folder's path below the run's, with `/`.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config import saved
from gan2shape_jax.config.free_fields import result_fields
from gan2shape_jax.errors import UserError

__all__ = ["FoundRun", "config_hash", "find_runs", "read_config"]


@dataclasses.dataclass(frozen=True)
class FoundRun:
    """One run and its results.

    Attributes:
        label: the shortest end of its path that tells it from the others.
        root: the folder that was named.
        home: the folder of the whole run: `root`, or the one above it where `root` is one image's.
        images: result folders by image name, sorted by name.
        failures: reasons by name, of the images that the run gave up on.
        config: the run's configuration as its `config.json` has it, or None where there is no such file.
    """

    label: str
    root: pathlib.Path
    home: pathlib.Path
    images: dict[str, pathlib.Path]
    failures: dict[str, str]
    config: dict[str, Any] | None


def find_runs(paths: Sequence[pathlib.Path]) -> list[FoundRun]:
    """Returns the runs at `paths`, in their order.

    Raises:
        UserError: a path that does not exist, holds no result or is named twice; a damaged `config.json`.
    """
    resolved = [path.resolve() for path in paths]
    for path in resolved:
        if resolved.count(path) > 1:
            raise UserError(f"{path} is named twice: name each result folder once")
    labels = _labels(resolved)
    return [_find(path, root, label) for path, root, label in zip(paths, resolved, labels, strict=True)]


def _find(given: pathlib.Path, root: pathlib.Path, label: str) -> FoundRun:
    if not root.is_dir():
        raise UserError(f"{given} is not a results folder: there is no such folder")
    single = (root / "result.json").is_file()
    home = root.parent if single else root
    images = {root.name: root} if single else _below(root)
    failures = {} if single else _read_json(root / "failures.json") or {}
    if not images and not failures:
        raise UserError(
            f"{given} holds no results: name a run's folder, or one with a result.json in it (a run writes an "
            "image's folder when the image is finished)"
        )
    return FoundRun(label, root, home, images, failures, _read_json(home / "config.json"))


def _below(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns result folders by name, without those being written, whose names are hidden, and what was set aside."""
    folders = sorted(path.parent for path in root.rglob("result.json"))
    names = {folder.relative_to(root).as_posix(): folder for folder in folders}
    names = {name: folder for name, folder in names.items() if not name.startswith("damaged/")}
    return {name: folder for name, folder in names.items() if not any(p.startswith(".") for p in name.split("/"))}


def _labels(paths: list[pathlib.Path]) -> list[str]:
    """Returns the last parts of each path, as many as make the paths differ."""
    for count in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        labels = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _read_json(path: pathlib.Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); restore or delete it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object; restore or delete it")
    return content


def config_hash(config: dict[str, Any] | None) -> str | None:
    """SHA-256 of the fields that can change a result's numbers, data paths and precision among them.

    Returns:
        16 hex digits; None for None.
    """
    if config is None:
        return None
    fields = result_fields(config, but=("outputs",))
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def read_config(run: FoundRun) -> ConfigDict:
    """Returns the run's configuration as a run takes it; fields that its file lacks get their defaults.

    Raises:
        UserError: the run has no `config.json`, or one with values of the wrong type.
    """
    if run.config is None:
        raise UserError(f"{run.home} has no config.json: without it nothing says how the run's networks were made")
    return saved.from_json(run.config, run.home / "config.json")
