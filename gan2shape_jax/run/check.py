"""`--check`: looks at everything a run will read, estimates what it costs, and stops.

Unlike a run, which gives up on an image at its first problem, this collects all problems of all
files.
"""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from gan2shape_jax.config.validation import impossible_paths
from gan2shape_jax.config.validation import problems as value_problems
from gan2shape_jax.errors import UserError
from gan2shape_jax.inputs.data import load_item, load_mvn, open_picture, read_names
from gan2shape_jax.inputs.masks import load_parser_of
from gan2shape_jax.inputs.parsers import PARSERS
from gan2shape_jax.inputs.per_image_files import absent_per_image_files, require_per_image_files
from gan2shape_jax.inputs.required_files import require_files, require_images
from gan2shape_jax.run.estimate import Estimate, estimate
from gan2shape_jax.run.run_folder import require_same_config

if TYPE_CHECKING:
    from gan2shape_jax.stylegan2 import Architecture

__all__ = ["examine", "run_check"]


def run_check(config: ConfigDict) -> int:
    """Prints problems and estimates; returns the exit code: 0 where a run can start, else 1."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        problems = examine(config)
    told = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    for message in dict.fromkeys(told):
        print(f"warning: {message}", file=sys.stderr)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    count = _count_images(config)
    if count:
        print(_report(config, estimate(config, count, device=_device(), cores=os.cpu_count() or 1), count))
    print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found" if problems else "everything is in place")
    return 1 if problems else 0


def examine(config: ConfigDict) -> list[str]:
    """Returns all that is wrong: values, absent files, weights, statistics, images, disk."""
    from gan2shape_jax.run import weight_checks  # slow to import, like all that reads weights

    problems = value_problems(config)
    if impossible_paths(config):  # nothing can be looked for by these
        return problems
    sensible = not problems
    problems += _tried(lambda: require_files(config))
    architecture, of_gan = weight_checks.examine_gan(config)
    problems += of_gan + weight_checks.lpips_problems(config)
    if architecture is not None and sensible:  # the networks' sizes follow from the values
        problems += weight_checks.network_problems(config, architecture)
    for path, dims in ((config.sampling.view_mvn, 6), (config.sampling.light_mvn, 4)):
        if pathlib.Path(path).is_file():
            problems += _tried(functools.partial(load_mvn, path, dims))
    problems += _parser(config)
    names: list[str] = []
    if pathlib.Path(config.data.image_list).is_file():
        problems += _tried(lambda: names.extend(read_names(config.data.image_list)))
        problems += _tried(lambda: require_images(config, names))
    if names and config.mode == "joint":
        from gan2shape_jax.training import joint  # imports jax

        problems += _tried(lambda: joint.require_enough(len(names), config.sampling.collect_iters))
    problems += _tried(lambda: require_per_image_files(config, names)) + _images(config, names, architecture)
    problems += _tried(lambda: require_same_config(config))
    return list(dict.fromkeys(problems + _tried(lambda: _room(config, max(len(names), 1)))))


def _images(config: ConfigDict, names: list[str], architecture: Architecture | None) -> list[str]:
    """Returns the problems of the images that are there and of what belongs to them, absent files left aside."""
    lacking = {
        name
        for field, absent in absent_per_image_files(config, names).items()
        if field != "latent_root"
        for name in absent
    }
    problems = []
    for name in names:
        if not (pathlib.Path(config.data.image_root) / name).is_file():
            continue
        if name in lacking:
            problems += _tried(functools.partial(open_picture, config, name))
        else:
            problems += _tried(functools.partial(_look_at, config, name, architecture))
    return problems


def _look_at(config: ConfigDict, name: str, architecture: Architecture | None) -> None:
    """Reads an image with what belongs to it as the run will, but for masks that a parser has to find.

    Raises:
      UserError: the run could not use it.
    """
    from gan2shape_jax.run import loading  # imports jax

    item = load_item(config, name, run_parser=False)
    if config.mode == "predict":
        return
    if item.latent is not None and architecture is not None:
        loading.require_layers(item.latent, name, architecture)
    loading.prior_of(config, item)


def _parser(config: ConfigDict) -> list[str]:
    """Returns the problems of the parser's weights, where there are some that this category's masks may come from."""
    source, path = config.data.mask_source, pathlib.Path(config.parsing.weights)
    if source not in ("auto", "parser") or config.category not in PARSERS or not path.is_file():
        return []
    return _tried(lambda: load_parser_of(config.category, path))


def _tried(action: Callable[[], object]) -> list[str]:
    try:
        action()
    except UserError as error:
        return [str(error)]
    return []


def _room(config: ConfigDict, images: int) -> None:
    """Raises `UserError` where the results folder cannot be written, or its disk is too small for the run."""
    folder = pathlib.Path(config.workdir).absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"config.workdir {folder} is a file: name a folder")
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise UserError(f"config.workdir {config.workdir} cannot be written: {folder} is read-only")
    needed, free = estimate(config, images).disk_gib, shutil.disk_usage(folder).free / 2**30
    if free < needed:
        raise UserError(f"config.workdir {config.workdir} has {free:.1f} GiB free, about {needed:.1f} are needed")


def _count_images(config: ConfigDict) -> int:
    if impossible_paths(config):
        return 0
    try:
        return len(read_names(config.data.image_list))
    except UserError:
        return 0


def _device() -> str:
    import jax  # slow to import, and all else here does without

    return jax.default_backend()


def _report(config: ConfigDict, cost: Estimate, images: int) -> str:
    time = f"{cost.hours:.1f} hours" if cost.hours >= 1 else f"{cost.hours * 60:.0f} min"
    free = shutil.disk_usage(_existing(pathlib.Path(config.workdir).absolute())).free / 2**30
    return (
        f"{images} image{'' if images == 1 else 's'} of {config.image_size} pixels, on "
        f"{cost.device}. Rough estimates: {time}, "
        f"{cost.memory_gib:.1f} GiB of memory, {cost.disk_gib:.1f} GiB of disk ({free:.0f} GiB are "
        "free)."
    )


def _existing(folder: pathlib.Path) -> pathlib.Path:
    return folder if folder.exists() else _existing(folder.parent)
