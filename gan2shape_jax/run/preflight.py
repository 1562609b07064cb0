"""`--check`: examines everything a run will read, as the run does, and stops.

Unlike a run, which gives up on an image at its first problem, this collects the problems of all files. A file that is
missing is reported once, by the check of whether the run needs it.
"""

import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from gan2shape_jax.config import flatten
from gan2shape_jax.config.schema import faults
from gan2shape_jax.config.schema import problems as value_problems
from gan2shape_jax.errors import UserError, printable
from gan2shape_jax.io.arrays import load_mvn
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.io.data import load_item, load_parser_of, open_picture
from gan2shape_jax.io.files import nearest_folder
from gan2shape_jax.io.image_lists import names_of
from gan2shape_jax.io.required_files import absent_of_images, require_files, require_images
from gan2shape_jax.method import models, perceptual, prior
from gan2shape_jax.photos import explain
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.identity import resolve_auto
from gan2shape_jax.plan.recipe import Plan, resolve
from gan2shape_jax.run import images, joint
from gan2shape_jax.run.folder import require_usable
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files, shared


def run_preflight(config: ConfigDict) -> int:
    """Prints problems and what the run would work on; returns the exit code: 0 if a run can start, else 1."""
    problems = examine(config)
    for line in problems:
        print(f"error: {printable(line)}", file=sys.stderr)
    if not value_problems(config):
        print(_report(config), end="")
    print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found" if problems else "everything is in place")
    return 1 if problems else 0


def examine(config: ConfigDict) -> list[str]:
    """Returns all problems: values, output folders, missing files, weights, statistics, images."""
    problems, names = value_problems(config), list[str]()
    if faults(flatten(config)):
        return problems  # all other checks expect values that fields can have
    sensible = not problems

    def tried(action: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what an action returns; None if it raised, which adds its message to the problems."""
        try:
            return action(*arguments)
        except (UserError, OSError) as error:
            problems.append(str(error))
            return None

    if config.recipe not in ("lift", "finetune") and os.path.exists(config.data.image_list):
        names = tried(names_of, config) or []
    tried(require_files, config, names)
    plan = tried(resolve, config)
    config = plan.config if plan else config
    architecture = tried(_architecture, config)
    if config.recipe != "predict" and os.path.isfile(config.loss.get(f"{config.loss.perceptual}_weights", "")):
        tried(perceptual.load, config.loss.perceptual, config)
    if plan is not None and architecture is not None and sensible and os.path.isfile(config.networks.pretrained):
        tried(_load_networks, plan, architecture)
    for path, dims in ((config.sampling.view_mvn, 6), (config.sampling.light_mvn, 4)):
        if os.path.isfile(path):
            tried(load_mvn, path, dims)
    # The parser's weights, if this category's masks may need them.
    parsed = config.data.mask_source in ("auto", "parser") and category_of(config.category).parser
    if parsed and os.path.isfile(config.parsing.weights):
        tried(load_parser_of, config)
    if names and config.recipe == "joint" and plan is not None:
        tried(joint.require_enough_for, resolve_auto(config, plan.recipe), names)
    tried(require_images, config, names)
    sides: dict[str, int] = {}
    for name in names:
        if os.path.isfile(pathlib.Path(config.data.image_root) / name):
            sides |= tried(_read_image, config, name, architecture) or {}
    if config.recipe == "joint" and config.data.crop and sides:
        tried(shared.require_one_size, sides)
    if sensible and plan is not None:
        tried(require_usable, plan, names)
    return list(dict.fromkeys(problems))


def _architecture(config: ConfigDict) -> Architecture | None:
    """Returns the architecture of the run's GAN; None if its file is missing."""
    if config.recipe == "predict" and images.no_gan_because(config) is not None:
        return explain.stand_in_sizes(config)
    return inputs.load_gan(config)[0] if os.path.isfile(config.gan.checkpoint) else None


def _load_networks(plan: Plan, architecture: Architecture) -> None:
    """Loads the pretrained networks as the run will; raises `UserError` if they do not fit."""
    config = plan.config
    gan = config.recipe != "predict" or images.no_gan_because(config) is None
    needed = explain.needed_networks(gan=gan) if config.recipe == "predict" else ("depth",)
    sizes = plan.settings(architecture, original_size=config.image_size)
    like = models.shapes(sizes)
    plan.require_model_fits(sizes, gan=gan)
    network_files.load_networks(pathlib.Path(config.networks.pretrained), like, sizes, needed=needed)


def _read_image(config: ConfigDict, name: str, architecture: Architecture | None) -> dict[str, int]:
    """Reads an image and its files as the run will, except for masks that a parser has to find; returns its side.

    Raises `UserError`: the run could not use the image.
    """
    absent = absent_of_images(config, [name])
    if any(field != "latent_root" and missing for field, missing in absent.items()):
        open_picture(config, name)
        return {}
    item = load_item(config, name, run_parser=False)
    if config.recipe != "predict":
        if item.latent is not None and architecture is not None:
            inputs.require_layers(item.latent, name, architecture)
        try:
            prior.prior_depth(config, item.mask)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return {item.name: item.original_size}


def _report(config: ConfigDict) -> str:
    """Returns a line on what the run works on; '' if there is nothing."""
    counts = {"train_detail": config.detail.pictures, "lift": config.lift.samples, "finetune": config.lift.samples}
    try:
        count = counts.get(config.recipe) or len(names_of(config))
        free = shutil.disk_usage(nearest_folder(config.workdir)).free / 2**30
    except (UserError, OSError):  # already among the problems
        return ""
    of_lift = "pictures" if config.recipe == "train_detail" else "samples a stage"
    what = of_lift if config.recipe in counts else f"image{'' if count == 1 else 's'}"
    machine = f"on {jax.default_backend()}; {free:.0f} GiB of disk space are free"
    return f"{count} {what} of {config.image_size} pixels, {machine}\n" if count else ""
