"""A run over every image of the list: each with its own networks, all with one set, or without any training."""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
from collections.abc import Callable

from ml_collections import ConfigDict

from gan2shape_jax.config.validation import OBJECT_STORAGE, validate
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import image_lists, required_files
from gan2shape_jax.io.files import folder_fault

__all__ = ["prepared", "require_places", "run"]


def run(config: ConfigDict) -> int:
    """Reconstructs every image of the list, in the mode set by `config.mode`.

    An image that fails is reported in `failures.json` and does not stop the others; an image that already
    has results is skipped; a run that was interrupted resumes from its last checkpoint.

    Returns:
      0, or 1 if an image failed.

    Raises:
      ConfigError: a value, or a pair of values, is unusable in any run.
      UserError: a file, the GAN or the folder is unusable, so that no image could succeed.
    """
    return prepared(config)()


def prepared(config: ConfigDict) -> Callable[[], int]:
    """Checks what can be checked before anything is computed; returns the call that does the work of `run`."""
    validate(config)
    require_places(config)
    names = _names_with_files(config)
    # After the checks, since these import JAX and everything built on it, which takes seconds.
    from gan2shape_jax.lift import refinement
    from gan2shape_jax.run import folder, joint, lift, predict, runner, runtime

    config = refinement.as_refinement(config)
    folder.require_same_config(config)  # before devices start
    folder.require_checkpoint_folder(config)
    folder.require_apart(pathlib.Path(config.workdir), map(image_lists.stem_of, names))
    runtime.set_up_runtime(config)
    runs = {"instance": runner.run, "joint": joint.run, "predict": predict.run, "lift": lift.run}
    return functools.partial(runs[config.mode], config, names)


def require_places(config: ConfigDict) -> None:
    """Raises `UserError` if results or checkpoints cannot be written to the folders in the configuration."""
    places = {"workdir": config.workdir, "checkpoint.folder": config.checkpoint.folder}
    faults = [
        f"config.{field} {path} {fault}" for field, path in places.items() if (fault := _place_fault(field, path))
    ]
    if faults:
        raise UserError("\n".join(faults))


def _place_fault(field: str, path: str) -> str:
    if "://" not in path:
        return folder_fault(path) if path or field == "workdir" else ""
    library = OBJECT_STORAGE.get(path.partition("://")[0])
    known = library is None or any(map(importlib.util.find_spec, (library, "tensorflow")))
    return "" if known else f"needs the library {library}: pip install {library}"  # of others `validate` complains


def _names_with_files(config: ConfigDict) -> list[str]:
    """Returns the image list's names; raises `UserError` if a file that the run reads is missing."""
    if config.mode == "lift":  # it uses no images
        required_files.require_files(config, [])
        return []
    names = image_lists.names_of(config) if os.path.exists(config.data.image_list) else []
    required_files.require_files(config, names)
    required_files.require_images(config, names)
    return names
