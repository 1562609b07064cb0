"""What an evaluation was made from: versions, hashes of configurations, and the files that were read."""

import hashlib
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

import gan2shape_jax
from gan2shape_jax.apps.evaluate import intervals
from gan2shape_jax.apps.evaluate.folders import FoundRun, config_hash
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.json_files import LARGEST, read_object
from gan2shape_jax.io.regular_files import read_bytes

__all__ = ["manifest"]

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
            "level": intervals.LEVEL,
            "mean": "Student's t over images",
            "median": f"percentile bootstrap, {intervals.DRAWS} draws, seed {intervals.SEED}",
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
        return read_bytes(path, limit=LARGEST)
    except (OSError, UserError):
        return b""
