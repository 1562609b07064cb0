"""What a lift trains on: GAN samples, each with its object mask and the depth that training starts from."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import found_masks
from gan2shape_jax.io.data import Item
from gan2shape_jax.io.masks import load_mask, parse_mask
from gan2shape_jax.lift.gan_samples import SampleMaker
from gan2shape_jax.method import settings as settings_lib
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.run import prepare
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["maker_of"]

Mask = Float[np.ndarray, "s s"]
MaskOf = Callable[[Float[np.ndarray, "s s 3"]], Mask]
_USUAL_FROM = 96  # number of samples that the usual mask is found from


def maker_of(config: ConfigDict, architecture: Architecture, frozen: FrozenModels) -> SampleMaker:
    """Returns the maker that draws the samples, with their object masks and priors.

    Args:
      config: the run's configuration.
      architecture: the GAN's architecture.
      frozen: the run's frozen networks.
    """
    mean = prepare.mean_latent({"generator": frozen.generator}, architecture)
    settings = settings_lib.changed(
        settings_lib.from_config(config, architecture, original_size=config.lift.cropped_from),
        collect_iters=1,  # a step sees one batch of samples at a time
        fresh_samples=config.lift.inversion_samples,
        truncation=config.lift.truncation,
        warmup_iterations=config.lift.warmup_iterations,
        latent_iterations=config.lift.latent_iterations,
        latent_learning_rate=config.lift.latent_learning_rate,
        anchor_view=config.lift.anchor_view,
        anchor_light=config.lift.anchor_light,
        own_encoder_iterations=config.lift.own_encoder_iterations,
        encoder_learning_rate=config.lift.encoder_learning_rate,
    )
    maker = SampleMaker(
        dataclasses.replace(frozen, mean_w=mean),
        settings,
        mask_of=lambda image: np.ones(image.shape[:2], np.float32),
        prior_of=_prior_of(config),
        key=jax.random.key(config.seed),
    )
    return dataclasses.replace(maker, mask_of=_mask_of(config, maker))


def _prior_of(config: ConfigDict) -> Callable[[Mask], Mask]:
    """Returns the function from an object mask to the depth that training starts from."""

    def prior(mask: Mask) -> Mask:
        item = Item(
            "a sample of the GAN", np.zeros((*mask.shape, 3), np.float32), mask, None, None, mask.shape[0], None
        )
        return np.asarray(prepare.prior_of(config, item))

    return prior


def _mask_of(config: ConfigDict, maker: SampleMaker) -> MaskOf:
    """Returns the function that finds a sample's object mask, as set by `config.lift.masks`."""
    side = config.image_size
    if config.lift.masks == "none":
        return lambda image: np.ones((side, side), np.float32)
    if config.lift.masks == "parser":
        return lambda image: _parsed(config, image)
    usual = (
        load_mask(pathlib.Path(config.lift.usual_mask), side)
        if config.lift.usual_mask
        else found_masks.usual_mask(maker.images(range(_USUAL_FROM))[0])
    )
    if usual.max() < 0.5:
        source = config.lift.usual_mask or "samples of the GAN"
        raise UserError(
            f"the usual mask from {source} is empty: no pixel shows an object in half of the pictures; give a picture "
            "that is white where the object is (config.lift.usual_mask), or set config.lift.masks='none'"
        )
    if config.lift.masks == "usual":
        return lambda image: usual
    return lambda image: found_masks.found_mask(image, usual)


def _parsed(config: ConfigDict, image: np.ndarray) -> Mask:
    """Returns the mask that the category's parser finds; the whole square where it finds nothing."""
    mask = parse_mask(image, config.category, config.parsing.weights, normalize_all=config.parsing.normalize_all)
    return mask if mask.max() >= 0.5 else np.ones_like(mask)
