"""Guards against mixing configurations in one folder.

    WORKDIR/config.json     the resolved configuration
    WORKDIR/versions.json   what the run was made with, and the checksum of `config.json`

Results, checkpoints and kept latents also carry the hash of their configuration. So nothing else is lost if
`config.json` is damaged or missing: it is set aside and rewritten, and files made with another configuration are still
refused.
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
from gan2shape_jax.io import json_files, records
from gan2shape_jax.io.atomic_files import atomic_text
from gan2shape_jax.io.records import Damaged
from gan2shape_jax.io.regular_files import read_bytes
from gan2shape_jax.run.result_folders import LAYOUT

__all__ = ["CONFIG", "VERSIONS", "config_hash", "harm_of_config", "harm_of_versions", "require_same_config", "write"]

CONFIG, VERSIONS = "config.json", "versions.json"
# May differ between two starts of one run although results depend on it: the image list may grow.
_MAY_GROW = ("data.image_list",)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


def config_hash(config: ConfigDict) -> str:
    """Returns 16 hex digits that differ between configurations whose results may differ."""
    fields = _fields(json.loads(to_json(config)))
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def require_same_config(config: ConfigDict) -> bool:
    """Raises `UserError` naming the fields in which the folder's existing run was configured differently.

    Returns:
      Whether the folder records its configuration; False if the file is missing or damaged.
    """
    root = pathlib.Path(config.workdir)
    try:
        content = _read(root)
    except (FileNotFoundError, Damaged):
        return False
    changed = _changed(content, config)
    if not changed:
        return True
    if harm_of_config(config):
        return False
    raise UserError(
        f"{config.workdir} holds results of another configuration: {', '.join(changed)}; "
        "choose another --config.workdir or delete that folder"
    )


def harm_of_config(config: ConfigDict) -> str:
    """Returns what is wrong with the folder's `config.json`, in words; '' if it is intact or missing."""
    root = pathlib.Path(config.workdir)
    try:
        content = _read(root)
        if not _changed(content, config):
            return ""
        versions = records.unseal(records.read(root / VERSIONS, "the versions of a run"), root / VERSIONS)
        if versions.get(CONFIG) not in (None, records.checksum(read_bytes(root / CONFIG, limit=json_files.LARGEST))):
            return f"{root / CONFIG} is damaged: it has another checksum than when it was written"
    except FileNotFoundError:
        return ""
    except Damaged as error:
        return str(error) if str(root / VERSIONS) not in str(error) else ""  # without versions.json nothing is known
    return ""


def harm_of_versions(root: pathlib.Path) -> str:
    """Returns what is wrong with the folder's `versions.json`, in words; '' if it is intact or missing."""
    try:
        versions = records.read(root / VERSIONS, "the versions of a run")
        if CONFIG in versions or "checksum" in versions:  # earlier versions wrote neither
            records.unseal(versions, root / VERSIONS)
    except FileNotFoundError:
        pass
    except Damaged as error:
        return str(error)
    return ""


def write(config: ConfigDict, root: pathlib.Path) -> None:
    """Writes the configuration and the versions of a run; raises `UserError` if the file system refuses."""
    text = to_json(config) + "\n"
    versions = _versions(config) | {CONFIG: records.checksum(text.encode())}
    atomic_text(root / CONFIG, text)
    records.write(root / VERSIONS, versions)


def _read(root: pathlib.Path) -> dict[str, Any]:
    content = records.read(root / CONFIG, "a run's configuration")
    if "workdir" not in content or "seed" not in content:
        raise Damaged(f"{root / CONFIG} is damaged: it holds no configuration")
    return content


def _fields(tree: Mapping[str, Any]) -> dict[str, Any]:
    return result_fields(tree, but=_MAY_GROW)


def _changed(content: Mapping[str, Any], config: ConfigDict) -> list[str]:
    before, now = _fields(content), _fields(json.loads(to_json(config)))
    return [
        f"{key} (was {before.get(key)!r}, is {now.get(key)!r})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


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
