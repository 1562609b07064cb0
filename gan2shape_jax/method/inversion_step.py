"""A step before the first stage of a lift: the encoder learns to invert the GAN on fresh samples from it.

A sample's latent is known exactly, so there is no end of examples of what the difference between two images is in W.
Step 2 then starts from an encoder that sees viewpoints and lights, and has to learn only how renderings differ from
photographs. Without this step, the GAN's versions of many images' renderings kept neither pitch nor roll
(docs/reports/lift.md).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from gan2shape_jax.method import models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem
from gan2shape_jax.method.step import LossAndMetrics, Seen, Step

__all__ = ["INVERSION_STEP", "fresh_samples", "inversion_loss"]


def fresh_samples(
    key: PRNGKeyArray, count: int, frozen: FrozenModels, settings: Settings
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n w"]]:
    """Draws samples from the GAN, truncated as the settings say; returns their images and their latents in W.

    Args:
      key: determines the draws.
      count: number of samples n.
      frozen: holds the generator and the mean of W.
      settings: of the method.
    """
    return projection.sample(jax.random.normal(key, (count, settings.architecture.style_dim)), frozen, settings)


def inversion_loss(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    latents: Float[Array, "n w"],
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    flip: bool = False,
) -> LossAndMetrics:
    """Returns the encoder's mean squared error for the offsets in W from the problem's image to each of `images`.

    There is no sheet, mirrored or not: `flip` is not used.
    """
    del flip
    offset = projection.latent_offset(params, images, problem.gan_image, frozen, settings)
    loss = jnp.mean(jnp.square(offset - (latents - problem.latent)))
    return loss, ({"loss": loss}, offset)


def _draw(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""],
    factors: Any,
    constants: Any,
    frozen: FrozenModels,
    settings: Settings,
) -> Seen:
    """Draws fresh samples."""
    del factors, constants
    return fresh_samples(jax.random.fold_in(key, iteration), settings.fresh_samples, frozen, settings)


INVERSION_STEP = Step("inversion", networks=("encoder",), loss=inversion_loss, draw=_draw)
