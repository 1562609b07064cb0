"""What an evaluation was made from: versions, configurations by hash, the files that were read."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

import gan2shape_jax
from gan2shape_jax.evaluation import intervals
from gan2shape_jax.evaluation.folders import FoundRun, config_hash

__all__ = ["manifest"]

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


def manifest(runs: Sequence[FoundRun], truth: pathlib.Path | None = None, **more: Any) -> dict[str, Any]:
    """Returns a record for JSON; the same results give the same one wherever they lie, but for `path` and `platform`.

    Args:
        runs: what was evaluated.
        truth: the folder of true depths that was asked for.
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
        digest.update(os.fsencode(name) + b"\0" + (folder / "result.json").read_bytes() + b"\0")
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
    """Returns the run's own record of versions; None where there is none that can be read."""
    try:
        return json.loads((home / "versions.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
