"""The steps that only a lift takes: the inversion step, step 3 with an anchor, and better projected samples.

docs/reports/lift.md has the figures that each is for.

The inversion step comes before the first stage: the encoder learns to invert the GAN on fresh samples from it, whose
latents are known exactly. Step 2 then starts from an encoder that sees viewpoints and lights, and has to learn only how
renderings differ from photographs.

The anchored step is step 3 whose view network is held to the views of pseudo-images, which are known because they were
drawn. A single image finds its views through step 3's loss alone; networks trained on many images at once from the
start can settle where no view is right. Versions of pseudo-images from the encoder alone follow a view only roughly, so
their latents are improved by a search, which minimises step 2's loss over each latent itself instead of over the
encoder's weights (GAN2Shape, equation 3).

Without an anchor, each image may have an encoder of its own: step 2 from scratch, on that image's pseudo-images alone.
An encoder that follows the renderings of all images closely makes the GAN repeat the rendered shape, with its faults;
one that is trained briefly on one image stays closer to what the GAN draws by itself.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Scalar

from gan2shape_jax.method import models, projection, sampling
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.sampling import draw_pseudo_images, sampled_conditions
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings, changed
from gan2shape_jax.method.state import (
    Context,
    Iteration,
    LossAndMetrics,
    ProjectedSamples,
    PseudoImages,
    SampledConditions,
    Step,
    TrainState,
)
from gan2shape_jax.method.step2 import STEP2, version_loss
from gan2shape_jax.method.step3 import STEP3, collect_batch, step3_loss
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.training.task import OneImage

# Standard deviations, in network units, below which a quantity counts as constant.
_STANDING = 1e-4
_AT_ONCE = 8  # samples per compiled call of the search; more gain nothing on CPU


# --- inversion ------------------------------------------------------------------------------------------


class FreshSamples(NamedTuple):
    """The GAN's images (N, S, S, 3) of latents in W (N, W)."""

    images: jax.Array
    latents: jax.Array


def inversion_loss(
    params: models.Params, samples: FreshSamples, context: Context, *, flip: bool = False
) -> LossAndMetrics:
    """Returns the encoder's mean squared error for the offsets in W from the example's image to each of the samples.

    There is no depth map, mirrored or not: `flip` is not used.
    """
    example = context.example
    offset = projection.latent_offset(params, samples.images, example.gan_image, context.frozen, context.settings)
    loss = jnp.mean(jnp.square(offset - (samples.latents - example.latent)))
    return loss, ({"loss": loss}, offset)


def _draw_samples(iteration: Iteration, context: Context) -> FreshSamples:
    """Draws fresh samples from the GAN, truncated as the settings say."""
    settings = context.settings
    shape = (settings.fresh_samples, settings.architecture.style_dim)
    z = jax.random.normal(jax.random.fold_in(iteration.key, iteration.number), shape)
    return FreshSamples(*projection.sample(z, context.frozen, settings))


INVERSION_STEP = Step("inversion", networks=("encoder",), loss=inversion_loss, draw=_draw_samples, cost=4.0)


# --- step 3 with an anchor ------------------------------------------------------------------------------


def view_distance(
    views: Float[Array, "n 6"], conditions: SampledConditions, frozen: FrozenModels, settings: Settings
) -> Float[Scalar, ""]:
    """Returns the mean squared error of views against the known ones, in standard deviations of the drawn views.

    In network units, a roll, which varies by 3 degrees, would count for nothing beside a yaw, which varies by 20.
    Components without a range, or that are not drawn at random, are left out.
    """
    units = settings.view_range.units(views.dtype)
    off = views / jnp.where(units > 0, units, 1.0) - conditions.views
    deviations = sampling.view_deviations(frozen.view_factor, settings.view_scale)
    moving = (units > 0) & (deviations > _STANDING)
    square = jnp.mean(jnp.square(off / jnp.where(moving, deviations, 1.0)), axis=0)
    return jnp.sum(jnp.where(moving, square, 0.0)) / jnp.maximum(jnp.sum(moving), 1)


def anchored_loss(params: models.Params, samples: ProjectedSamples, context: Context, *, flip: bool) -> LossAndMetrics:
    """Returns step 3's loss plus the weighted distances of views from the known ones.

    Distances are taken both on the pseudo-images, which were drawn with the known ones, and on the GAN's versions of
    them; the metrics report both.
    """
    loss, (metrics, (geometry, recon)) = step3_loss(params, samples, context, flip=flip)
    frozen, settings, conditions, pseudo = context.frozen, context.settings, samples.known, samples.pseudo
    if "anchor_view" in settings.optional_terms:
        assert conditions is not None and pseudo is not None  # `_collect_anchored` keeps them
        view_error = view_distance(geometry.view[1:], conditions, frozen, settings)
        drawn = view_distance(models.views(params, pseudo, frozen.view_mean, settings), conditions, frozen, settings)
        loss = loss + settings.anchor_view * (drawn + view_error)
        metrics |= {"view_distance": view_error, "drawn_view_distance": drawn}
    return loss, (metrics | {"loss": loss}, (geometry, recon))


def _collect_anchored(params: models.Params, iteration: Iteration, context: Context) -> ProjectedSamples:
    """Returns what `collect_batch` gives, with the samples' pseudo-images and the views and lights of these."""
    pseudo, known = draw_pseudo_images(iteration, context), sampled_conditions(iteration, context)
    return dataclasses.replace(collect_batch(params, iteration, context), pseudo=pseudo.images, known=known)


ANCHORED_STEP = dataclasses.replace(STEP3, name="anchored", loss=anchored_loss, collect=_collect_anchored)

# Samples without an anchor turn less than requested: if V were trained on them, the relief would keep growing.
FROZEN_VIEW_STEP = dataclasses.replace(STEP3, name="step3_frozen_view", networks=("depth", "albedo", "light"))


# --- better projected samples ---------------------------------------------------------------------------


def improved(params: models.Params, samples: ProjectedSamples, context: Context) -> ProjectedSamples:
    """Returns samples that are closer to their pseudo-images; not to be called inside `jax.jit`.

    The encoder provides the starting point; without `latent_iterations` in the settings, the samples are unchanged.
    The steps are separate calls: in a loop inside a program, convolutions fall off XLA's fast path on CPU.
    """
    images, count = [], context.settings.latent_iterations
    if not count or samples.pseudo is None:
        return samples
    settings = dataclasses.replace(context.settings, latent_iterations=0)  # the same programs for any number
    context = dataclasses.replace(context, settings=settings)
    for first in range(0, len(samples.pseudo), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        pseudo = PseudoImages(images=samples.pseudo[part], masks=samples.masks[part])
        offset, moments = _begin_search(params, pseudo.images, context)
        for _ in range(count):
            offset, moments = _search(offset, moments, pseudo, context)
        images.append(_version(offset, context))
    return dataclasses.replace(samples, images=jnp.concatenate(images))


def _adam(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(settings.latent_learning_rate)


@jax.jit
def _begin_search(
    params: models.Params, pseudo: Float[Array, "n s s 3"], context: Context
) -> tuple[Float[Array, "n w"], Any]:
    settings = context.settings
    offset = projection.latent_offset(params, pseudo, context.example.gan_image, context.frozen, settings)
    return offset, _adam(settings).init(offset)


@jax.jit
def _search(
    offset: Float[Array, "n w"], moments: Any, pseudo: PseudoImages, context: Context
) -> tuple[Float[Array, "n w"], Any]:
    """Takes a step of Adam."""
    gradient, _ = jax.grad(version_loss, has_aux=True)(offset, pseudo, context)
    updates, moments = _adam(context.settings).update(gradient, moments)
    return optax.apply_updates(offset, updates), moments


@jax.jit
def _version(offset: Float[Array, "n w"], context: Context) -> Float[Array, "n s s 3"]:
    latent = projection.apply_offset(context.example.latent, offset, context.settings)
    return projection.synthesize(latent, context.frozen, context.settings)


def projected_by_own_encoder(state: TrainState, phase: Phase, context: Context) -> ProjectedSamples:
    """Returns projected samples of an image from an encoder of its own; not to be called inside `jax.jit`.

    The encoder's initial weights follow from the image's key; it is trained by step 2, for `own_encoder_iterations` at
    `encoder_learning_rate`.
    """
    settings = context.settings
    lesson = Phase(phase.number, phase.stage, STEP2, settings.own_encoder_iterations, flip=False)
    own = changed(
        settings, regularize_offset=True, learning_rate=settings.encoder_learning_rate, own_encoder_iterations=0
    )  # the same programs for any number of iterations
    example = dataclasses.replace(context.example, key=key_of(context.example.key, Stream.OWN_ENCODER, phase.number))
    fresh = models.init_params(key_of(example.key, Stream.NETWORKS), own)["encoder"]
    state = jax.tree.map(jnp.array, state)  # training donates it, and every image starts from it
    alone = dataclasses.replace(state, params=state.params | {"encoder": fresh})
    task = OneImage(dataclasses.replace(context, example=example, settings=own))
    alone = task.fresh_optimizer(alone, lesson)
    for number in range(lesson.iterations):
        alone, _ = task.advance(alone, lesson, number, None, 1)
    return task.phase_constants(alone, phase)
