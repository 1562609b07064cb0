"""Step 3 with an anchor: view and light networks are held to what pseudo-images are known to have been drawn with.

One image alone finds its views by step 3's loss. Networks that begin with many images at once can settle where no view
is right: depth in stripes, all heads looking up, or heads whose pitch and roll are never seen (docs/reports/lift.md).
What pseudo-images were drawn with is known exactly, so the view and light networks see them too, in every iteration,
and are held to it there as on the GAN's versions of them. These follow a view only roughly where the encoder alone says
what they are; so their latents are searched for (`latent_search`).
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from gan2shape_jax.method import latent_search, models, sampling
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.pseudo_images import draw_pseudo_images, known_conditions
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import KnownConditions, Problem, ProjectedSamples
from gan2shape_jax.method.step import LossAndMetrics, Seen
from gan2shape_jax.method.step3 import STEP3, collect_batch, next_samples, step3_loss

__all__ = ["ANCHORED_STEP", "anchored_loss", "light_distance", "view_distance"]

# Standard deviations, in network units, below which a quantity is taken to stand still.
_STANDING = 1e-4


def view_distance(
    views: Float[Array, "n 6"], known: KnownConditions, frozen: FrozenModels, settings: Settings
) -> Float[Scalar, ""]:
    """Returns the mean square by which views miss what is known, in standard deviations of what is drawn.

    In network units a roll, which varies by 3 degrees, would count for nothing beside a yaw, which varies by 20. What
    is not drawn at random has no part in it.

    Args:
      views: radians and scene units.
      known: of the same samples.
      frozen: holds the statistics of views.
      settings: static settings.
    """
    span = settings.view_range
    units = jnp.asarray([math.radians(span.rotation_deg)] * 3 + [span.xy] * 2 + [span.z], views.dtype)
    off = views / jnp.where(units > 0, units, 1.0) - known.views
    deviations = sampling.view_deviations(frozen.view_factor, settings.view_scale)
    return _in_deviations(off, jnp.where(units > 0, deviations, 0.0))  # a view that cannot move misses nothing


def light_distance(lights: Float[Array, "n 4"], known: KnownConditions, settings: Settings) -> Float[Scalar, ""]:
    """Returns the mean square by which lights (ambient, diffuse, dx, dy) miss what is known, as `view_distance`."""
    return _in_deviations(lights - known.lights, jnp.asarray(sampling.light_deviations(settings.rand_light)))


def _in_deviations(off: Float[Array, "n k"], deviations: Float[Array, " k"]) -> Float[Scalar, ""]:
    """Returns the mean square of `off` in units of the deviations, over those that are not zero."""
    moving = deviations > _STANDING
    square = jnp.mean(jnp.square(off / jnp.where(moving, deviations, 1.0)), axis=0)
    return jnp.sum(jnp.where(moving, square, 0.0)) / jnp.maximum(jnp.sum(moving), 1)


def anchored_loss(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    masks: Float[Array, "n s s"],
    pseudo: Float[Array, "n s s 3"],
    known: KnownConditions,
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    flip: bool,
) -> LossAndMetrics:
    """Returns step 3's loss and the weighted distances of views and lights from what is known.

    On the pseudo-images and on the GAN's versions of them alike; the metrics have both.

    Args:
      params: of the networks.
      images: projected samples.
      masks: of these.
      pseudo: the pseudo-images that they are the GAN's versions of.
      known: views and lights that these were drawn with.
      problem: of the input.
      frozen: the frozen networks.
      settings: static settings.
      flip: whether the mirrored sheet has to explain the images too.
    """
    loss, (metrics, (geometry, recon)) = step3_loss(params, images, masks, problem, frozen, settings, flip=flip)
    if settings.anchor_view > 0:
        seen = view_distance(geometry.view[1:], known, frozen, settings)
        drawn = view_distance(models.views(params, pseudo, frozen.view_mean, settings), known, frozen, settings)
        loss = loss + settings.anchor_view * (drawn + seen)
        metrics |= {"view_distance": seen, "drawn_view_distance": drawn}
    if settings.anchor_light > 0:
        seen = light_distance(geometry.light[1:], known, settings)
        drawn = light_distance(models.lights(params, pseudo, frozen.light_mean, settings), known, settings)
        loss = loss + settings.anchor_light * (drawn + seen)
        metrics |= {"light_distance": seen, "drawn_light_distance": drawn}
    return loss, (metrics | {"loss": loss}, (geometry, recon))


def _collect(
    params: models.Params,
    factors: Factors,
    code: Float[Array, "1 w"] | None,
    problem: Problem,
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""] | int,
    frozen: FrozenModels,
    settings: Settings,
) -> ProjectedSamples:
    """Returns one batch of projected samples with the pseudo-images that they are of, and what is known of these."""
    batch = collect_batch(params, factors, code, problem, key, iteration, frozen, settings)
    pseudo, _ = draw_pseudo_images(key, iteration, factors, frozen, settings)
    return dataclasses.replace(batch, pseudo=pseudo, known=known_conditions(key, iteration, factors, frozen, settings))


def _next_batch(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""],
    factors: Factors,
    samples: ProjectedSamples,
    frozen: FrozenModels,
    settings: Settings,
) -> Seen:
    """Returns a batch of kept samples as the loss takes it."""
    del factors, frozen
    batch = next_samples(key, iteration, samples, settings)
    return batch.images, batch.masks, batch.pseudo, batch.known


ANCHORED_STEP = dataclasses.replace(
    STEP3, name="anchored", loss=anchored_loss, draw=_next_batch, collect=_collect, improve=latent_search.improved
)
