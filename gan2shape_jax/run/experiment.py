"""A run over every image of the list: each with its own networks, all with one set, or without any training."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from gan2shape_jax.config.validation import validate
from gan2shape_jax.errors import printable
from gan2shape_jax.io import image_lists, image_names, per_image_files, required_files
from gan2shape_jax.run.places import require_places

__all__ = ["run", "unfinished"]


def run(config: ConfigDict) -> int:
    """Reconstructs every image of the list, in the mode set by `config.mode`.

    An image that fails is reported in `failures.json` and does not stop the others; an image that already
    has results is skipped; a run that was interrupted resumes from its last checkpoint.

    Returns:
      0, or 1 if an image failed.

    Raises:
      ConfigError: a value, or a pair of values, is unusable in any run.
      UserError: a file, the GAN or the folder is unusable, so that no image could succeed; or the machine is far too
        small.
    """
    validate(config)
    require_places(config)
    names = _names_with_files(config)
    # After the checks, since these import JAX and everything built on it, which takes seconds.
    from gan2shape_jax.run import instance, joint, lift, machine, predict, refining, run_folder, runtime

    config = refining.as_refinement(config)
    run_folder.require_same_config(config)  # before devices start
    runtime.set_up_runtime(config)
    _take_up(config, names)
    machine.require_room(config, unfinished(config, names))
    runs = {"instance": instance.run, "joint": joint.run, "predict": predict.run, "lift": lift.run}
    return runs[config.mode](config, names)


def _take_up(config: ConfigDict, names: list[str]) -> None:
    """Checks that the run can continue in its folder, and migrates the folder to the current layout.

    Raises:
      UserError: the folder belongs to another run, or the file system refuses.
    """
    from gan2shape_jax.run import former_layout, result_folders, run_folder

    run_folder.require_same_config(config)
    run_folder.require_checkpoint_folder(config)
    root = pathlib.Path(config.workdir)
    checkpoints = run_folder.checkpoint_root(config) or root / "checkpoints"
    moved = former_layout.move_former_results(root, checkpoints)
    if moved:
        place = printable(str(result_folders.results_root(root)))
        print(
            f"results of {moved} images, which an earlier version wrote beside it, are now in {place}", file=sys.stderr
        )
    result_folders.require_apart(root, map(image_names.stem_of, names))


def unfinished(config: ConfigDict, names: Sequence[str]) -> list[str]:
    """Returns the images in the list that have no results yet."""
    from gan2shape_jax.run.each_image import stem_of  # imports JAX, as does the next
    from gan2shape_jax.run.run_folder import RunFolder

    folder = RunFolder(pathlib.Path(config.workdir))
    return [name for name in names if not folder.is_finished(stem_of(name))]


def _names_with_files(config: ConfigDict) -> list[str]:
    """Returns the image list's names; raises `UserError` if a file that the run reads is missing."""
    if config.mode == "lift":  # it uses no images
        required_files.require_files(config, [])
        return []
    names = image_lists.names_of(config) if os.path.exists(config.data.image_list) else []
    required_files.require_files(config, names)
    required_files.require_images(config, names)
    per_image_files.require_per_image_files(config, names)
    return names
