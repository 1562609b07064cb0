"""Whether a run's output folders are writable, checked without writing; used by `--check` and the run itself."""

import importlib.util

from ml_collections import ConfigDict

from gan2shape_jax.config.validation import OBJECT_STORAGE
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.writable import folder_fault

__all__ = ["require_places"]


def require_places(config: ConfigDict) -> None:
    """Raises `UserError` if results or checkpoints cannot be written to the folders in the configuration."""
    faults = [_fault("workdir", config.workdir)]
    folder = config.checkpoint.folder
    if "://" in folder:
        faults.append(_storage_fault(folder))
    elif folder:
        faults.append(_fault("checkpoint.folder", folder))
    if any(faults):
        raise UserError("\n".join(filter(None, faults)))


def _fault(field: str, path: str) -> str:
    fault = folder_fault(path)
    return f"config.{field} {path} {fault}" if fault else ""


def _storage_fault(folder: str) -> str:
    """Returns a sentence naming the library that object storage needs and that is not installed, or ''."""
    library = OBJECT_STORAGE.get(folder.partition("://")[0])
    if library is None:  # already among the problems of the values
        return ""
    if importlib.util.find_spec(library) or importlib.util.find_spec("tensorflow"):
        return ""
    return f"config.checkpoint.folder {folder} needs the library {library}: pip install {library}"
