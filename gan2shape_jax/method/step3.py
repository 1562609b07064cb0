"""Step 3: depth, albedo, view and light are learned from projected samples (GAN2Shape, section 3.2).

The samples are collected once, when the phase begins: with the encoder that step 2 has trained, or, where a model knows
how its GAN turns what it draws, along the GAN's own axes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.method import models, projection, sampling
from gan2shape_jax.method.factors import blend_border, view_from_raw
from gan2shape_jax.method.losses import image_terms, weighted_sum
from gan2shape_jax.method.reconstruction import (
    Scene,
    added_losses,
    appearance,
    canonical_mask,
    mirror,
    scene,
    smoothness,
    weighted,
)
from gan2shape_jax.method.sampling import draw_pseudo_images
from gan2shape_jax.method.state import Context, Iteration, LossAndMetrics, ProjectedSamples, Step, TrainState


def reference_code(params: models.Params, context: Context, *, flip: bool = False) -> Float[Array, "1 w"] | None:
    """Returns the encoding of the GAN's image, the same for all samples of a phase; None for absolute encoding."""
    settings = context.settings
    return models.offsets(params, context.example.gan_image, settings) if settings.relative_enc else None


def collect_batch(params: models.Params, iteration: Iteration, context: Context) -> ProjectedSamples:
    """Returns one batch of projected samples; the constant is the code, as in `projection.latent_offset`."""
    if context.frozen.pose_edit is not None:
        return _turned(iteration, context)
    example, frozen, settings = context.example, context.frozen, context.settings
    pseudo = draw_pseudo_images(iteration, context)
    latent, reference, code = example.latent, example.gan_image, iteration.constants
    images, _ = projection.project(params, pseudo.images, latent, reference, frozen, settings, code=code)
    return ProjectedSamples(images=images, masks=pseudo.masks)


def _turned(iteration: Iteration, context: Context) -> ProjectedSamples:
    """Returns the GAN's pictures of the input's latent, turned along its own axes (`frozen.pose_edit`).

    They have the yaws and are lit from the sides that renderings would have been drawn with; all else of view and light
    stays the input's.
    """
    frozen, settings, factors = context.frozen, context.settings, iteration.factors
    views, direction, _ = sampling.draw_conditions(iteration, context)
    yaws = view_from_raw(views, settings.view_range)[:, 1]
    own, requested = jnp.stack([factors.view[1], factors.light[2]]), jnp.stack([yaws, direction[:, 0]], axis=1)
    latents, reached = frozen.pose_edit.apply(context.example.latent, own, requested)
    turned = jnp.broadcast_to(factors.view, views.shape).at[:, 1].set(reached[:, 0])
    unlit = jnp.ones((len(turned), *factors.depth.shape))
    _, mask = sampling.render_factors(factors, unlit, turned, settings)
    images = projection.synthesize(latents, frozen, settings)
    return jax.lax.stop_gradient(ProjectedSamples(images=images, masks=mask))


def step3_loss(params: models.Params, samples: ProjectedSamples, context: Context, *, flip: bool) -> LossAndMetrics:
    """Returns the loss of reconstructing the input (as in step 1) and projected samples with one depth map.

    Depth and albedo come from the input, view and light from each image itself.
    """
    example, frozen, settings = context.example, context.frozen, context.settings
    depth = blend_border(models.depth(params, example.image, settings), settings.camera)
    everything = jnp.concatenate([example.image, samples.images])
    geometry = scene(
        mirror(depth, flip=flip),
        models.views(params, everything, frozen.view_mean, settings),
        models.lights(params, everything, frozen.light_mean, settings),
        settings,
    )
    albedo = models.albedo(params, example.image, depth, geometry.view[:1], geometry.light[:1], settings)
    mirrored = mirror(albedo, flip=flip)
    recon = appearance(geometry, mirrored)
    mask = geometry.valid * jnp.concatenate([jnp.ones_like(samples.masks[:1]), samples.masks])
    on_input, on_samples = image_terms(recon, everything, mask, frozen, settings, split=1)
    smooth = smoothness(geometry)
    added = added_losses(geometry, mirrored, recon, context)
    loss = weighted_sum(on_input, smooth, settings) + weighted_sum(on_samples, 0.0, settings)
    loss = weighted(added, loss, settings)
    metrics = {
        "loss": loss,
        "l1": on_input["l1"][0],
        "l1_samples": on_samples["l1"][0],
        "perceptual": on_input["perceptual"][0],
        "smooth": smooth,
    } | added
    return loss, (metrics, (geometry, recon))


def _next_batch(iteration: Iteration, context: Context) -> ProjectedSamples:
    """Returns the next batch of kept samples."""
    settings = context.settings
    index = sampling.batch_indices(
        iteration.key,
        iteration.number,
        count=settings.sample_count,
        batch_size=settings.batch_size,
        skip_first=settings.skip_first_batch,
    )
    batch: ProjectedSamples = jax.tree.map(lambda kept: kept[index], iteration.constants)
    return batch


def _keep_mask(state: TrainState, extra: tuple[Scene, Any], samples: ProjectedSamples, context: Context) -> TrainState:
    """Returns the state with the object mask in the canonical frame of this iteration's depth and view."""
    if not context.settings.use_mask:
        return state
    geometry, _ = extra
    mask = canonical_mask(context.example.mask, geometry.depth[0], geometry.view[0], context.settings)
    return dataclasses.replace(state, mask=mask)


STEP3 = Step(
    "step3",
    networks=("depth", "albedo", "view", "light"),
    loss=step3_loss,
    draw=_next_batch,
    cache=reference_code,
    collect=collect_batch,
    update=_keep_mask,
    cost=9.0,
)

# The same where shape and view stay a model's.
FROZEN_GEOMETRY = dataclasses.replace(STEP3, name="step3_frozen_geometry", networks=("albedo", "light"))
