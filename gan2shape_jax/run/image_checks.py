"""Problems with the images of a list and their files, found by reading them as a run does."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from gan2shape_jax.config.schema import fields, flatten
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.data import load_item, open_picture
from gan2shape_jax.io.per_image_files import absent_per_image_files
from gan2shape_jax.run import prepare
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import joint, joint_parallel

__all__ = ["examine"]

# Fields that determine the size of the data read, or the meaning of its values.
_DECISIVE = ("image_size", "data.crop", "camera.min_depth", "camera.max_depth", "camera.fov_deg")


def examine(config: ConfigDict, names: list[str], architecture: Architecture | None, *, batches: int) -> list[str]:
    """Returns the problems with images that exist; missing files are ignored.

    Args:
      config: the run's configuration.
      names: the names in the image list.
      architecture: the GAN's architecture, or None if it could not be read.
      batches: number of batches that share an iteration of joint training.
    """
    values = flatten(config)
    if any(fields()[path].fault(values[path]) for path in _DECISIVE):
        return []
    lacking = {
        name
        for field, absent in absent_per_image_files(config, names).items()
        if field != "latent_root"
        for name in absent
    }
    problems: list[str] = []
    facts: list[_Facts] = []
    for name in names:
        if not os.path.isfile(pathlib.Path(config.data.image_root) / name):
            continue
        try:
            if name in lacking:
                open_picture(config, name)
            else:
                facts.append(_look_at(config, name, architecture))
        except UserError as error:
            problems.append(str(error))
    if config.mode == "joint" and facts:
        problems += _together(config, facts, batches)
    return problems


class _Facts(NamedTuple):
    """What must match between images that train one set of networks: side in pixels, and the latent's shape."""

    name: str
    side: int
    latent: tuple[int, ...]


def _look_at(config: ConfigDict, name: str, architecture: Architecture | None) -> _Facts:
    """Reads an image and its files as the run will, except for masks that a parser has to find.

    Raises:
      UserError: the run could not use the image.
    """
    item = load_item(config, name, run_parser=False)
    inverted = (1, config.gan.style_dim)  # the shape of latents found by inversion
    facts = _Facts(item.name, item.original_size, inverted if item.latent is None else item.latent.shape)
    if config.mode == "predict":
        return facts
    if item.latent is not None and architecture is not None:
        prepare.require_layers(item.latent, name, architecture)
    prepare.prior_of(config, item)
    return facts


def _together(config: ConfigDict, facts: list[_Facts], batches: int) -> list[str]:
    """Returns what prevents images, each usable on its own, from training one set of networks."""
    checks: list[Callable[[], None]] = []
    if config.data.crop:
        checks.append(functools.partial(joint.require_one_size, {one.name: one.side for one in facts}))
    if batches > 1:
        checks.append(functools.partial(joint_parallel.require_one_shape, {one.name: one.latent for one in facts}))
    problems = []
    for check in checks:
        try:
            check()
        except UserError as error:
            problems.append(str(error))
    return problems
