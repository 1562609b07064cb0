"""Problems with the weights that a run would load, found by loading them in the same way."""

from __future__ import annotations

import os
import pathlib

import jax
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models, perceptual
from gan2shape_jax.run import lifted_model, predict, prepare
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import network_files

__all__ = ["examine_gan", "lpips_problems", "network_problems"]


def examine_gan(config: ConfigDict) -> tuple[Architecture | None, list[str]]:
    """Returns the architecture of the run's GAN, or None, and what is wrong with its file.

    A missing file is not a problem here: whether a run needs it is checked elsewhere.
    """
    if config.mode == "predict" and predict.no_gan_because(config):
        return predict.stand_in_sizes(config), []
    if not os.path.isfile(config.gan.checkpoint):
        return None, []
    try:
        return prepare.load_gan(config)[0], []
    except UserError as error:
        return None, str(error).split("\n")


def lpips_problems(config: ConfigDict) -> list[str]:
    """Returns what is wrong with the LPIPS weights, if the run uses them and the file exists."""
    path = config.loss.lpips_weights
    if config.mode == "predict" or config.loss.perceptual != "lpips" or not os.path.isfile(path):
        return []
    try:
        perceptual.load_lpips(path)
    except UserError as error:
        return [str(error)]
    return []


def network_problems(config: ConfigDict, architecture: Architecture) -> list[str]:
    """Returns what is wrong with the pretrained networks, if the configuration names an existing file."""
    path = pathlib.Path(config.networks.pretrained)
    if not os.path.isfile(path):
        return []
    needed: tuple[str, ...] = ("depth",)
    if config.mode == "predict":
        needed = predict.needed_networks(gan=not predict.no_gan_because(config))
    try:
        sizes = lifted_model.settings_of(config, architecture, original_size=config.image_size)
        like = jax.eval_shape(lambda key: models.init_params(key, sizes), jax.random.key(0))
        lifted_model.require_fits(config, sizes, gan=config.mode != "predict" or "encoder" in needed)
        network_files.load_networks(path, like, sizes, needed=needed)
    except UserError as error:
        return [str(error)]
    return []
