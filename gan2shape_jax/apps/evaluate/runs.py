"""Finding the results below the folders that a user names, and what is known about the runs that made them.

A folder is that of a run (`config.json` beside the folder of all results), that of one image (`result.json`), or any
folder above these. An image's name is its folder's path below the folder of its run's results, with `/`, prefixed by
the run's own path if a folder above the run was named.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

import gan2shape_jax
from gan2shape_jax.apps.evaluate import tables
from gan2shape_jax.config import load
from gan2shape_jax.config.schema import result_fields
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import data
from gan2shape_jax.io.files import MIB, read_bytes, read_object
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.run.folder import is_result, results_root, run_above

__all__ = ["FoundRun", "config_hash", "find_runs", "listed_entry", "manifest", "read_config"]


_MOST_FAILURES = 16 * MIB  # bytes: a line for each of 100,000 images


@dataclasses.dataclass(frozen=True)
class FoundRun:
    """One run and its results.

    Attributes:
        label: the shortest end of its path that distinguishes it from the others.
        root: the folder that was named.
        home: the folder of the whole run: `root`, or the run around it if `root` is the folder of one image.
        images: result folders by image name, sorted by name.
        failures: reasons by name, for the images that the run gave up on.
        config: the run's configuration as in its `config.json`, or None if there is no such file.
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
        UserError: a path does not exist, holds no result or is named twice; or a `config.json` is damaged.
    """
    resolved = [_run_itself(path.resolve()) for path in paths]
    for path in resolved:
        if resolved.count(path) > 1:
            raise UserError(f"{path} is named twice: name each result folder once")
    labels = _labels(resolved)
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
    failures = {} if single else _failures(root / "failures.json")
    if not images and not failures:
        raise UserError(
            f"{given} holds no results: name a run's folder, or one with a result.json in it (a run writes an "
            "image's folder when the image is finished)"
        )
    return FoundRun(label, root, home, images, failures, _config(home / "config.json"))


def _below(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns result folders by name.

    Folders being written have hidden names. In a run, only those in the folder of its results count.

    Raises:
        UserError: two folders hold the results of one image.
    """
    found: dict[str, pathlib.Path] = {}
    for folder in sorted(path.parent for path in root.rglob("result.json") if path.is_file()):
        name = _name_of(folder, root)
        if name in found:
            raise UserError(f"{found[name]} and {folder} are both results of {name}: move one of them elsewhere")
        if name is not None:
            found[name] = folder
    return dict(sorted(found.items()))


def _name_of(folder: pathlib.Path, root: pathlib.Path) -> str | None:
    """Returns the name of a results folder below `root`; None if it does not count.

    Args:
        folder: one that holds a `result.json`.
        root: the folder that was named.
    """
    parts = folder.relative_to(root).parts
    if any(part.startswith(".") for part in parts):
        return None
    for depth in range(len(parts)):
        run = root.joinpath(*parts[:depth])
        if (run / "config.json").is_file():
            inside = run / parts[depth] == results_root(run) and depth + 1 < len(parts)
            return "/".join((*parts[:depth], *parts[depth + 1 :])) if inside else None
    return "/".join(parts)


def _labels(paths: list[pathlib.Path]) -> list[str]:
    """Returns the last parts of each path, as many as needed to tell the paths apart."""
    for count in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        labels = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _failures(path: pathlib.Path) -> dict[str, str]:
    content = _read_json(path, "a run's failures", limit=_MOST_FAILURES) or {}
    if not all(isinstance(reason, str) for reason in content.values()):
        raise UserError(f"{path} is damaged: reasons are text; restore or delete it")
    return content


def _config(path: pathlib.Path) -> dict[str, Any] | None:
    content = _read_json(path, "a run's configuration", limit=load.LARGEST_JSON)
    if content is not None:
        load.from_json(content, path)  # raises for a configuration that no run could have had
    return content


def _read_json(path: pathlib.Path, kind: str, *, limit: int) -> dict[str, Any] | None:
    try:
        return read_object(path, kind, limit=limit)
    except FileNotFoundError:
        return None
    except UserError as error:
        raise UserError(f"{error}; restore or delete it") from error


def config_hash(config: dict[str, Any] | None) -> str | None:
    """Returns the SHA-256 of the fields that can change a result's numbers, including data paths and precision.

    Returns:
        16 hex digits; None for None.
    """
    if config is None:
        return None
    fields = result_fields(config, but=("outputs",))
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def read_config(run: FoundRun) -> ConfigDict:
    """Returns the run's configuration; fields missing from its file get their defaults.

    Raises:
        UserError: the run has no `config.json`, or it holds values of the wrong type.
    """
    if run.config is None:
        raise UserError(f"{run.home} has no config.json: without it nothing says how the run's networks were made")
    return load.from_json(run.config, run.home / "config.json")


def listed_entry(config: ConfigDict, name: str) -> str:
    """Returns the line of a run's image list that names an image.

    Args:
        config: of the run.
        name: of the image, as results folders are named.

    Raises:
        UserError: the list no longer names it.
    """
    listed = {stem_of(entry): entry for entry in data.read_names(config.data.image_list, config.data.image_root)}
    if name not in listed:
        raise UserError(f"{config.data.image_list}, the image list of the run, does not name {name} any more")
    return listed[name]


_PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


def manifest(runs: Sequence[FoundRun], truth: pathlib.Path | None = None, **more: Any) -> dict[str, Any]:
    """Returns a record for JSON; apart from `path` and `platform`, it does not depend on where the results are.

    Args:
        runs: what was evaluated.
        truth: the given folder of true depths.
        more: further entries.
    """
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "gan2shape_jax": gan2shape_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **versions,
        "truth": None if truth is None else str(truth),
        "intervals": {
            "level": tables.LEVEL,
            "mean": "Student's t over images",
            "median": f"percentile bootstrap, {tables.DRAWS} draws, seed {tables.SEED}",
        },
        "runs": [_run(run) for run in runs],
        **more,
    }


def _run(run: FoundRun) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name, folder in run.images.items():
        digest.update(os.fsencode(name) + b"\0" + _record(folder / "result.json") + b"\0")
    return {
        "label": run.label,
        "path": str(run.root),
        "images": len(run.images),
        "failed": len(run.failures),
        "config_sha256": config_hash(run.config),
        "results_sha256": digest.hexdigest()[:16],
        "made_with": _made_with(run.home),
    }


def _made_with(home: pathlib.Path) -> dict[str, Any] | None:
    """Returns the run's own record of versions; None if there is no readable one."""
    try:
        return read_object(home / "versions.json", "a run's record of versions")
    except (OSError, UserError):
        return None


def _record(path: pathlib.Path) -> bytes:
    """Returns a result's record; empty if it cannot be read, which its score reports."""
    try:
        return read_bytes(path, limit=4 * MIB)
    except (OSError, UserError):
        return b""
