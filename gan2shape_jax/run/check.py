"""`--check`: examines everything a run will read, and stops.

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

from gan2shape_jax.config import flatten
from gan2shape_jax.config.schema import faults
from gan2shape_jax.config.validation import problems as value_problems
from gan2shape_jax.errors import UserError, printable
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_mvn
from gan2shape_jax.io.image_lists import names_of
from gan2shape_jax.io.image_names import stem_of
from gan2shape_jax.io.masks import load_parser_of
from gan2shape_jax.io.per_image_files import require_per_image_files
from gan2shape_jax.io.required_files import require_files, require_images
from gan2shape_jax.io.writable import nearest_folder
from gan2shape_jax.run.experiment import require_places
from gan2shape_jax.run.folder import require_apart, require_checkpoint_folder, require_same_config

if TYPE_CHECKING:
    from gan2shape_jax.stylegan2 import Architecture

__all__ = ["examine", "run_check"]


def run_check(config: ConfigDict) -> int:
    """Prints problems and what the run would work on; returns the exit code: 0 if a run can start, else 1."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        problems = examine(config)
        config = _refining(config) if not problems else config
    told = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    for message in dict.fromkeys(told):
        print(f"warning: {printable(message)}", file=sys.stderr)
    for problem in problems:
        print(f"error: {printable(problem)}", file=sys.stderr)
    if not value_problems(config) and (count := _count_images(config)):
        print(_report(config, count))
    print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found" if problems else "everything is in place")
    return 1 if problems else 0


def examine(config: ConfigDict) -> list[str]:
    """Returns all problems: values, output folders, missing files, weights, statistics, images."""
    problems = value_problems(config)
    if faults(flatten(config), only_types=True):
        return problems  # all other checks expect values of the right type
    sensible = not problems
    problems += _tried(lambda: require_places(config))
    problems += _tried(lambda: require_files(config))
    refined: list[ConfigDict] = []
    problems += _tried(lambda: refined.append(_refining(config)))
    config = refined[0] if refined else config
    architecture, of_weights = _weights(config, sensible=sensible)
    problems += of_weights
    names: list[str] = []
    if config.mode != "lift" and os.path.exists(config.data.image_list):
        problems += _tried(lambda: names.extend(names_of(config)))
        problems += _tried(lambda: require_images(config, names))
    batches: list[int] = []
    if names and config.mode == "joint":
        from gan2shape_jax.run import joint  # imports jax

        problems += _tried(lambda: batches.append(joint.require_startable(config, names)))
    problems += _tried(lambda: require_per_image_files(config, names))
    if names:
        from gan2shape_jax.run import image_checks  # imports jax

        problems += image_checks.examine(config, names, architecture, batches=max(batches, default=1))
    problems += _tried(lambda: require_same_config(config))
    if sensible:
        problems += _tried(lambda: require_checkpoint_folder(config))
    problems += _tried(lambda: require_apart(pathlib.Path(config.workdir), map(stem_of, names)))
    return list(dict.fromkeys(problems))


def _refining(config: ConfigDict) -> ConfigDict:
    from gan2shape_jax.run import refining  # imports jax

    return refining.as_refinement(config)


def _weights(config: ConfigDict, *, sensible: bool) -> tuple[Architecture | None, list[str]]:
    """Returns the GAN's architecture, or None, and the problems with existing weight and statistics files.

    Args:
      config: the run's configuration.
      sensible: whether its values, which determine the sizes of the networks, are valid.
    """
    from gan2shape_jax.run import weight_checks  # slow to import, like everything that reads weights

    architecture, problems = weight_checks.examine_gan(config)
    problems += weight_checks.lpips_problems(config)
    if architecture is not None and sensible:
        problems += weight_checks.network_problems(config, architecture)
    for path, dims in ((config.sampling.view_mvn, 6), (config.sampling.light_mvn, 4)):
        if os.path.isfile(path):
            problems += _tried(functools.partial(load_mvn, path, dims))
    return architecture, problems + _parser(config)


def _parser(config: ConfigDict) -> list[str]:
    """Returns the problems with the parser's weights, if the file exists and this category's masks may need it."""
    source, path = config.data.mask_source, pathlib.Path(config.parsing.weights)
    if source not in ("auto", "parser") or not category_of(config.category).parser or not os.path.isfile(path):
        return []
    return _tried(lambda: load_parser_of(config.category, path))


def _tried(action: Callable[[], object]) -> list[str]:
    try:
        action()
    except (UserError, OSError) as error:
        return [str(error)]
    return []


def _count_images(config: ConfigDict) -> int:
    if config.mode == "lift":
        return config.lift.samples
    try:
        return len(names_of(config)) if os.path.isfile(config.data.image_list) else 0
    except UserError:
        return 0


def _report(config: ConfigDict, images: int) -> str:
    import jax  # starts it, which nothing else here needs

    what = "samples a stage" if config.mode == "lift" else f"image{'' if images == 1 else 's'}"
    try:
        free = f"; {shutil.disk_usage(nearest_folder(config.workdir)).free / 2**30:.0f} GiB of disk are free"
    except OSError:  # already among the problems
        free = ""
    return f"{images} {what} of {config.image_size} pixels, on {jax.default_backend()}{free}"
