"""A run over every image of the list: each with its own networks, all with one set, or without any training."""

import functools
import importlib.util
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from gan2shape_jax.config.schema import OBJECT_STORAGE, validate
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import image_lists, required_files
from gan2shape_jax.io.files import folder_fault
from gan2shape_jax.io.output_folders import CHECKPOINTS, RUN, require_output_folder

if TYPE_CHECKING:
    from gan2shape_jax.run.runner import Handover


def run(config: ConfigDict, handover: "Handover | None" = None) -> int:
    """Reconstructs every image of the list, in the mode set by `config.mode`.

    An image that fails is reported in `failures.json` and does not stop the others; an image that already
    has results is skipped; a run that was interrupted resumes from its last checkpoint. Where images have results
    in turn, `handover` takes them, and table and page of all images are left to it.

    Returns:
      0, or 1 if an image failed.

    Raises:
      ConfigError: a value, or a pair of values, is unusable in any run.
      UserError: a file, the GAN or the folder is unusable, so that no image could succeed.
    """
    return prepared(config, handover)()


def prepared(config: ConfigDict, handover: "Handover | None" = None) -> Callable[[], int]:
    """Checks what can be checked before anything is computed; returns the call that does the work of `run`."""
    validate(config)
    require_places(config)
    names = image_lists.names_of(config) if config.mode != "lift" and os.path.exists(config.data.image_list) else []
    required_files.require_files(config, names)
    if config.mode != "lift":
        required_files.require_images(config, names)
    # After the checks, since these import JAX and everything built on it, which takes seconds.
    from gan2shape_jax.lift import refinement
    from gan2shape_jax.run import joint, lift, predict, runner, runtime

    config = refinement.as_refinement(config)
    require_folder(config, names)  # before devices start
    runtime.set_up_runtime(config)
    if config.mode in ("joint", "lift"):
        return functools.partial(joint.run if config.mode == "joint" else lift.run, config, names)
    module = runner if config.mode == "instance" else predict
    return functools.partial(module.run, config, names, handover or runner.Handover())


def require_folder(config: ConfigDict, names: Sequence[str]) -> None:
    """Raises `UserError` if what the run's folder holds, or its name, does not go with this run."""
    from gan2shape_jax.run import folder

    require_output_folder(pathlib.Path(config.workdir), RUN, "config.workdir")
    folder.require_same_config(config)
    if config.mode != "predict":
        if (kept := config.checkpoint.folder) and "://" not in kept:
            require_output_folder(pathlib.Path(kept), CHECKPOINTS, "config.checkpoint.folder")
        folder.require_no_pattern(folder.RunFolder.at(config).checkpoint_root)
    folder.require_apart(pathlib.Path(config.workdir), map(image_lists.stem_of, names))


def require_places(config: ConfigDict) -> None:
    """Raises `UserError` if results or checkpoints cannot be written to the folders in the configuration."""
    faults = []
    for field, path in (("workdir", config.workdir), ("checkpoint.folder", config.checkpoint.folder)):
        library = OBJECT_STORAGE.get(path.partition("://")[0]) if "://" in path else None
        if library and not any(map(importlib.util.find_spec, (library, "tensorflow"))):
            faults.append(f"config.{field} {path} needs the library {library}: pip install {library}")
        if path and "://" not in path and (fault := folder_fault(path)):
            faults.append(f"config.{field} {path} {fault}")
    if faults:
        raise UserError("\n".join(faults))
