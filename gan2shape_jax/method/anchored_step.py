"""Step 3 with an anchor: the view and light networks are held to the views and lights of pseudo-images.

A single image finds its views through step 3's loss alone. Networks trained on many images at once from the start can
settle where no view is right: depth in stripes, all heads looking up, or heads whose pitch and roll are never seen
(docs/reports/lift.md). The views and lights that pseudo-images were drawn with are known exactly, so the view and light
networks also see the pseudo-images in every iteration, and are held to these values both there and on the GAN's
versions of them. Versions from the encoder alone follow a view only roughly, so their latents are improved by a search
(`latent_search`).
"""

from __future__ import annotations

import dataclasses

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

# Standard deviations, in network units, below which a quantity counts as constant.
_STANDING = 1e-4


def view_distance(
    views: Float[Array, "n 6"], known: KnownConditions, frozen: FrozenModels, settings: Settings
) -> Float[Scalar, ""]:
    """Returns the mean squared error of views against the known ones, in standard deviations of the drawn views.

    In network units, a roll, which varies by 3 degrees, would count for nothing beside a yaw, which varies by 20.
    Components that are not drawn at random are left out.

    Args:
      views: in radians and scene units.
      known: known views and lights of the same samples.
      frozen: holds the statistics of views.
      settings: of the method.
    """
    units = settings.view_range.units(views.dtype)
    off = views / jnp.where(units > 0, units, 1.0) - known.views
    deviations = sampling.view_deviations(frozen.view_factor, settings.view_scale)
    return _in_deviations(off, jnp.where(units > 0, deviations, 0.0))  # components without a range are left out


def light_distance(lights: Float[Array, "n 4"], known: KnownConditions, settings: Settings) -> Float[Scalar, ""]:
    """Returns the mean squared error of lights (ambient, diffuse, dx, dy) against known ones, as `view_distance`."""
    return _in_deviations(lights - known.lights, sampling.light_deviations(settings.rand_light))


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
    """Returns step 3's loss plus the weighted distances of views and lights from the known ones.

    Distances are taken both on the pseudo-images and on the GAN's versions of them; the metrics report both.

    Args:
      params: the networks' parameters.
      images: projected samples, the GAN's versions of `pseudo`.
      masks: masks of the samples.
      pseudo: pseudo-images.
      known: views and lights that `pseudo` was drawn with.
      problem: what is given about the input.
      frozen: the frozen networks.
      settings: of the method.
      flip: whether the mirrored sheet has to explain the images too.
    """
    loss, (metrics, (geometry, recon)) = step3_loss(params, images, masks, problem, frozen, settings, flip=flip)
    if "anchor_view" in settings.optional_terms:
        seen = view_distance(geometry.view[1:], known, frozen, settings)
        drawn = view_distance(models.views(params, pseudo, frozen.view_mean, settings), known, frozen, settings)
        loss = loss + settings.anchor_view * (drawn + seen)
        metrics |= {"view_distance": seen, "drawn_view_distance": drawn}
    if "anchor_light" in settings.optional_terms:
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
    """Returns one batch of projected samples with their pseudo-images and the views and lights of these."""
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
    """Returns the next batch of kept samples, in the form that the loss takes."""
    del factors, frozen
    batch = next_samples(key, iteration, samples, settings)
    return batch.images, batch.masks, batch.pseudo, batch.known


ANCHORED_STEP = dataclasses.replace(
    STEP3, name="anchored", loss=anchored_loss, draw=_next_batch, collect=_collect, improve=latent_search.improved
)
