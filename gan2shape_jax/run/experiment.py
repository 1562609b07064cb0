"""A run over every image of the list: each with its own networks, all with one set, or without any training."""

import functools
import importlib.util
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from gan2shape_jax.config.load import as_detail_training
from gan2shape_jax.config.schema import OBJECT_STORAGE, validate
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import image_lists, required_files
from gan2shape_jax.io.files import folder_fault
from gan2shape_jax.io.output_folders import CHECKPOINTS, RUN, require_output_folder

_DETAIL = "detail"  # the folder, in a lift's, of the training with which it ends

if TYPE_CHECKING:
    from gan2shape_jax.run.plan import Plan
    from gan2shape_jax.run.runner import RunHooks


def run_experiment(config: ConfigDict, hooks: "RunHooks | None" = None) -> int:
    """Reconstructs every image of the list, in the mode set by `config.mode`.

    An image that fails is reported in `failures.json` and does not stop the others; an image that already
    has results is skipped; a run that was interrupted resumes from its last checkpoint. Where images have results
    in turn, `hooks` takes them, and table and page of all images are left to it.

    Returns:
      0, or 1 if an image failed.

    Raises:
      ConfigError: a value, or a pair of values, is unusable in any run.
      UserError: a file, the GAN or the folder is unusable, so that no image could succeed.
    """
    return prepared(config, hooks)()


def prepared(
    config: ConfigDict, hooks: "RunHooks | None" = None, only: Sequence[str] | None = None
) -> Callable[[], int]:
    """Checks what can be checked before anything is computed; returns the call that makes the run.

    `only` are names of the image list, if the others are left to other processes.
    """
    validate(config)
    require_places(config)
    reads = config.mode != "lift" or config.lift.pictures  # images, not only samples
    names = image_lists.names_of(config) if reads and os.path.exists(config.data.image_list) else []
    names = [name for name in names if only is None or name in only]
    required_files.require_files(config, names)
    if reads:
        required_files.require_images(config, names)
    # After the checks, since these import JAX and everything built on it, which takes seconds.
    from gan2shape_jax.run import joint, plan, predict, runner, runtime

    resolved = plan.resolve(config)
    config = resolved.config
    require_folder(config, names)  # before devices start
    # Refining by turned pictures has only been measured with all images on one CPU device.
    runtime.set_up_runtime(config, side_by_side=resolved.pose_edit is None)
    if config.mode == "joint":
        return functools.partial(joint.train_jointly, resolved, names)
    if config.mode == "lift":
        return functools.partial(_lift_whole, resolved, names)
    mode_run = runner.train_images if config.mode == "instance" else predict.predict_images
    return functools.partial(mode_run, resolved, names, hooks or runner.RunHooks())


def _lift_whole(plan: "Plan", names: Sequence[str]) -> int:
    """Lifts a GAN and, if `config.lift.detail_pictures` says so, teaches the model's albedo detail; see `run.lift`."""
    import jax

    from gan2shape_jax.run import lift

    lift.lift_gan(plan, names)
    pictures = 0 if plan.config.lift.pictures else plan.config.lift.detail_pictures
    if not pictures:
        return 0
    model = f"{plan.config.workdir}/model.safetensors"
    if jax.process_count() > 1:  # which cannot connect a second time
        print(f"the variant `amortize`, with --config.networks.pretrained={model}, teaches its albedo detail")
        return 0
    print(f"teaching its albedo detail, by {pictures:,} pictures (0 in config.lift.detail_pictures leaves this out)")
    detail = plan.config.copy_and_resolve_references().unlock()
    detail = as_detail_training(detail, model=model, folder=f"{plan.config.workdir}/{_DETAIL}", pictures=pictures)
    return prepared(detail.lock())()


def require_folder(config: ConfigDict, names: Sequence[str]) -> None:
    """Raises `UserError` if what the run's folder holds, or its name, does not go with this run."""
    from gan2shape_jax.run import folder

    require_output_folder(pathlib.Path(config.workdir), RUN, "config.workdir")
    if config.mode == "lift" and config.lift.detail_pictures and not config.lift.pictures:  # hours before it is needed
        require_output_folder(pathlib.Path(config.workdir, _DETAIL), RUN, "a part of config.workdir")
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
