"""`--check`: examines everything a run will read, as the run does, and stops.

Unlike a run, which gives up on an image at its first problem, this collects the problems of all files. A file that is
missing is reported once, by the check of whether the run needs it.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
from ml_collections import ConfigDict

from gan2shape_jax.config import flatten
from gan2shape_jax.config.schema import faults, fields
from gan2shape_jax.config.validation import problems as value_problems
from gan2shape_jax.errors import UserError, printable
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_item, load_mvn, open_picture
from gan2shape_jax.io.image_lists import names_of
from gan2shape_jax.io.image_names import stem_of
from gan2shape_jax.io.masks import load_parser_of
from gan2shape_jax.io.required_files import (
    absent_per_image_files,
    require_files,
    require_images,
    require_per_image_files,
)
from gan2shape_jax.io.writable import nearest_folder
from gan2shape_jax.method import models, perceptual
from gan2shape_jax.run import joint, lifted_model, predict, prepare, refining
from gan2shape_jax.run.experiment import require_places
from gan2shape_jax.run.folder import require_apart, require_checkpoint_folder, require_same_config
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import joint as joint_training
from gan2shape_jax.training import joint_parallel, network_files

__all__ = ["examine", "run_check"]

# Fields that determine the size of the data read, or the meaning of its values.
_DECISIVE = ("image_size", "data.crop", "camera.min_depth", "camera.max_depth", "camera.fov_deg")
_T = TypeVar("_T")


def run_check(config: ConfigDict) -> int:
    """Prints problems and what the run would work on; returns the exit code: 0 if a run can start, else 1."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        problems = examine(config)
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    for message in dict.fromkeys(messages):
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
    values = flatten(config)
    if faults(values, only_types=True):
        return problems  # all other checks expect values of the right type
    sensible, names, batches = not problems, list[str](), 1

    def tried(action: Callable[[], _T], *, lines: bool = False) -> _T | None:
        """Returns what an action returns; None if it raised, which is a problem, or several if `lines`."""
        try:
            return action()
        except (UserError, OSError) as error:
            problems.extend(str(error).split("\n") if lines else [str(error)])
            return None

    tried(lambda: require_places(config))
    tried(lambda: require_files(config))
    config = tried(lambda: refining.as_refinement(config)) or config
    architecture = tried(lambda: _architecture(config), lines=True)
    if config.mode != "predict" and config.loss.perceptual == "lpips" and os.path.isfile(config.loss.lpips_weights):
        tried(lambda: perceptual.load_lpips(config.loss.lpips_weights))
    if architecture is not None and sensible and os.path.isfile(config.networks.pretrained):
        tried(lambda: _load_networks(config, architecture))
    for path, dims in ((config.sampling.view_mvn, 6), (config.sampling.light_mvn, 4)):
        if os.path.isfile(path):
            tried(lambda path=path, dims=dims: load_mvn(path, dims))  # type: ignore[misc]
    # The parser's weights, if this category's masks may need them.
    source, parser = config.data.mask_source, pathlib.Path(config.parsing.weights)
    if source in ("auto", "parser") and category_of(config.category).parser and os.path.isfile(parser):
        tried(lambda: load_parser_of(config.category, parser))
    if config.mode != "lift" and os.path.exists(config.data.image_list):
        names = tried(lambda: names_of(config)) or []
        tried(lambda: require_images(config, names))
    if names and config.mode == "joint":
        batches = tried(lambda: joint.require_startable(config, names)) or 1
    tried(lambda: require_per_image_files(config, names))
    if not any(fields()[path].fault(values[path]) for path in _DECISIVE):
        seen = [tried(lambda name=name: _read_image(config, name, architecture)) for name in _there(config, names)]  # type: ignore[misc]
        for check in _together(config, [image for image in seen if image], batches):
            tried(check)
    tried(lambda: require_same_config(config))
    if sensible:
        tried(lambda: require_checkpoint_folder(config))
    tried(lambda: require_apart(pathlib.Path(config.workdir), map(stem_of, names)))
    return list(dict.fromkeys(problems))


def _architecture(config: ConfigDict) -> Architecture | None:
    """Returns the architecture of the run's GAN; None if its file is missing."""
    if config.mode == "predict" and predict.no_gan_because(config):
        return predict.stand_in_sizes(config)
    return prepare.load_gan(config)[0] if os.path.isfile(config.gan.checkpoint) else None


def _load_networks(config: ConfigDict, architecture: Architecture) -> None:
    """Loads the pretrained networks as the run will; raises `UserError` if they do not fit."""
    gan = config.mode != "predict" or not predict.no_gan_because(config)
    needed = predict.needed_networks(gan=gan) if config.mode == "predict" else ("depth",)
    sizes = lifted_model.settings_of(config, architecture, original_size=config.image_size)
    like = jax.eval_shape(lambda key: models.init_params(key, sizes), jax.random.key(0))
    lifted_model.require_fits(config, sizes, gan=gan)
    network_files.load_networks(pathlib.Path(config.networks.pretrained), like, sizes, needed=needed)


def _there(config: ConfigDict, names: list[str]) -> list[str]:
    """Returns the images whose file exists."""
    return [name for name in names if os.path.isfile(pathlib.Path(config.data.image_root) / name)]


class _Image(NamedTuple):
    """What must match between images that train one set of networks: side in pixels, and the latent's shape."""

    name: str
    side: int
    latent: tuple[int, ...]


def _read_image(config: ConfigDict, name: str, architecture: Architecture | None) -> _Image | None:
    """Reads an image and its files as the run will, except for masks that a parser has to find.

    Raises:
      UserError: the run could not use the image.
    """
    absent = absent_per_image_files(config, [name])
    if any(field != "latent_root" and found for field, found in absent.items()):
        open_picture(config, name)
        return None
    item = load_item(config, name, run_parser=False)
    inverted = (1, config.gan.style_dim)  # the shape of latents found by inversion
    if config.mode != "predict":
        if item.latent is not None and architecture is not None:
            prepare.require_layers(item.latent, name, architecture)
        prepare.prior_of(config, item)
    return _Image(item.name, item.original_size, inverted if item.latent is None else item.latent.shape)


def _together(config: ConfigDict, images: list[_Image], batches: int) -> list[Callable[[], None]]:
    """Returns checks whether images, each usable on its own, can train one set of networks."""
    checks: list[Callable[[], None]] = []
    if config.mode == "joint" and images and config.data.crop:
        checks.append(lambda: joint_training.require_one_size({one.name: one.side for one in images}))
    if config.mode == "joint" and images and batches > 1:
        checks.append(lambda: joint_parallel.require_one_shape({one.name: one.latent for one in images}))
    return checks


def _count_images(config: ConfigDict) -> int:
    if config.mode == "lift":
        return config.lift.samples
    try:
        return len(names_of(config)) if os.path.isfile(config.data.image_list) else 0
    except UserError:
        return 0


def _report(config: ConfigDict, images: int) -> str:
    what = "samples a stage" if config.mode == "lift" else f"image{'' if images == 1 else 's'}"
    try:
        free = f"; {shutil.disk_usage(nearest_folder(config.workdir)).free / 2**30:.0f} GiB of disk are free"
    except OSError:  # already among the problems
        free = ""
    return f"{images} {what} of {config.image_size} pixels, on {jax.default_backend()}{free}"
