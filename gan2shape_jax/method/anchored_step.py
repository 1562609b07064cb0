"""Step 3 with an anchor: view and light networks are held to what the samples are known to have been drawn with.

One image alone finds its views by step 3's loss. Networks that begin with many images at once can settle where no view
is right: depth in stripes, all heads looking up (docs/reports/lift.md). The view and light of every pseudo-image are
known, though, and the GAN's version of it is not far from them. The anchor's weight falls linearly to nothing, since
the GAN follows views and lights only roughly, and the reconstruction knows better in the end.
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from gan2shape_jax.method import models
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.pseudo_images import known_conditions
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import KnownConditions, Problem, ProjectedSamples
from gan2shape_jax.method.step import LossAndMetrics, Seen
from gan2shape_jax.method.step3 import STEP3, collect_batch, next_samples, step3_loss

__all__ = ["ANCHORED_STEP", "anchored_loss", "distances"]


def distances(
    views: Float[Array, "n 6"], lights: Float[Array, "n 4"], known: KnownConditions, settings: Settings
) -> tuple[Float[Scalar, ""], Float[Scalar, ""]]:
    """Returns the mean squares by which views, in network units, and lights miss what is known.

    Args:
      views: radians and scene units.
      lights: ambient, diffuse, dx, dy.
      known: of the same samples.
      settings: static settings.
    """
    span = settings.view_range
    units = [math.radians(span.rotation_deg)] * 3 + [span.xy] * 2 + [span.z]
    moving = jnp.asarray([i for i, unit in enumerate(units) if unit > 0])  # a view that cannot move misses nothing
    scale = jnp.asarray(units, views.dtype)[moving]
    off = views[:, moving] / scale - known.views[:, moving]
    return jnp.mean(jnp.square(off)), jnp.mean(jnp.square(lights - known.lights))


def anchored_loss(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    masks: Float[Array, "n s s"],
    known: KnownConditions,
    weight: Float[Scalar, ""],
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    flip: bool,
) -> LossAndMetrics:
    """Returns step 3's loss and `weight` times the distances of the samples' views and lights from what is known."""
    loss, (metrics, (geometry, recon)) = step3_loss(params, images, masks, problem, frozen, settings, flip=flip)
    view, light = distances(geometry.view[1:], geometry.light[1:], known, settings)
    loss = loss + weight * (settings.anchor_view * view + settings.anchor_light * light)
    return loss, (metrics | {"loss": loss, "view_distance": view, "light_distance": light}, (geometry, recon))


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
    """Returns one batch of projected samples with what they were drawn with."""
    batch = collect_batch(params, factors, code, problem, key, iteration, frozen, settings)
    return dataclasses.replace(batch, known=known_conditions(key, iteration, factors, frozen, settings))


def _next_batch(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""],
    factors: Factors,
    samples: ProjectedSamples,
    frozen: FrozenModels,
    settings: Settings,
) -> Seen:
    """Returns a batch of kept samples as step 3 sees it, what is known of it, and the anchor's weight."""
    del factors, frozen
    batch = next_samples(key, iteration, samples, settings)
    return batch.images, batch.masks, batch.known, jnp.maximum(0.0, 1 - iteration / max(settings.anchor_images, 1))


ANCHORED_STEP = dataclasses.replace(STEP3, name="anchored", loss=anchored_loss, draw=_next_batch, collect=_collect)
