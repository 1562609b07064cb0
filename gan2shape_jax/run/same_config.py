"""Guards against mixing configurations in one folder.

    WORKDIR/config.json     the resolved configuration
    WORKDIR/versions.json   what the run was made with

Results, checkpoints and kept latents also carry the hash of their configuration.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import gan2shape_jax
from gan2shape_jax.config import to_json
from gan2shape_jax.config.schema import result_fields
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.json_files import read_object

__all__ = ["config_hash", "require_same_config", "write"]

# May differ between two starts of one run although results depend on it: the image list may grow.
_MAY_GROW = ("data.image_list",)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


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


def write(config: ConfigDict, root: pathlib.Path) -> None:
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
