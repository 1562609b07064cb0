"""Step 3: depth, albedo, view and light are learned from projected samples (GAN2Shape, section 3.2).

The samples are collected once, when the phase begins: with the encoder that step 2 has trained, or, where a model knows
how its GAN turns what it draws, along the GAN's own axes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from gan2shape_jax.method import models, projection, sampling
from gan2shape_jax.method.factors import Factors, blend_border, view_from_raw
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.losses import image_terms, weighted_sum
from gan2shape_jax.method.reconstruction import Scene, appearance, canonical_mask, mirror, scene, smoothness
from gan2shape_jax.method.sampling import draw_pseudo_images
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import LossAndMetrics, Problem, ProjectedSamples, Seen, Step, TrainState


def reference_code(
    params: models.Params, problem: Problem, frozen: FrozenModels, settings: Settings, *, flip: bool = False
) -> Float[Array, "1 w"] | None:
    """Returns the encoding of the GAN's image, the same for all samples of a phase; None for absolute encoding."""
    return models.offsets(params, problem.gan_image, settings) if settings.relative_enc else None


def collect_batch(
    params: models.Params,
    factors: Factors,
    code: Float[Array, "1 w"] | None,
    problem: Problem,
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""] | int,
    frozen: FrozenModels,
    settings: Settings,
) -> ProjectedSamples:
    """Returns one batch of projected samples; `code` as in `projection.latent_offset`.

    With `frozen.turning`, they are the GAN's pictures of the input's latent, turned to the yaws and lit from the sides
    that renderings would have been drawn with; all else of view and light stays the input's.
    """
    if frozen.turning is not None:
        views, direction, _ = sampling.draw_conditions(key, iteration, frozen, settings)
        yaws = view_from_raw(views, settings.view_range)[:, 1]
        own, asked = jnp.stack([factors.view[1], factors.light[2]]), jnp.stack([yaws, direction[:, 0]], axis=1)
        latents, reached = frozen.turning.moved(problem.latent, own, asked)
        turned = jnp.broadcast_to(factors.view, views.shape).at[:, 1].set(reached[:, 0])
        unlit = jnp.ones((len(turned), *factors.depth.shape))
        _, mask = sampling.render_factors(factors, unlit, turned, settings)
        return jax.lax.stop_gradient(
            ProjectedSamples(images=projection.synthesize(latents, frozen, settings), masks=mask)
        )
    pseudo, mask = draw_pseudo_images(key, iteration, factors, frozen, settings)
    images, _ = projection.project(params, pseudo, problem.latent, problem.gan_image, frozen, settings, code=code)
    return ProjectedSamples(images=images, masks=mask)


def step3_loss(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    masks: Float[Array, "n s s"],
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    flip: bool,
) -> LossAndMetrics:
    """Returns the loss of reconstructing the input (as in step 1) and projected samples with one sheet.

    Depth and albedo come from the input, view and light from each image itself. With the optional term
    `hold_shape`, the depth is held to `problem.prior`.
    """
    free = models.depth(params, problem.image, settings)
    depth = blend_border(free, settings.camera)
    albedo = models.albedo(params, problem.image, settings)
    everything = jnp.concatenate([problem.image, images])
    geometry = scene(
        mirror(depth, flip=flip),
        models.views(params, everything, frozen.view_mean, settings),
        models.lights(params, everything, frozen.light_mean, settings),
        settings,
    )
    recon = appearance(geometry, mirror(albedo, flip=flip))
    mask = geometry.valid * jnp.concatenate([jnp.ones_like(masks[:1]), masks])
    on_input, on_samples = image_terms(recon, everything, mask, frozen, settings, split=1)
    smooth = smoothness(geometry)
    loss = weighted_sum(on_input, smooth, settings) + weighted_sum(on_samples, 0.0, settings)
    if "hold_shape" in settings.optional_terms:
        span = settings.camera.max_depth - settings.camera.min_depth
        loss += settings.hold_shape * jnp.mean(jnp.square((free - problem.prior) / span))
    metrics = {
        "loss": loss,
        "l1": on_input["l1"][0],
        "l1_samples": on_samples["l1"][0],
        "perceptual": on_input["perceptual"][0],
        "smooth": smooth,
    }
    return loss, (metrics, (geometry, recon))


def _next_batch(
    key: PRNGKeyArray,
    iteration: Int[Scalar, ""],
    factors: Factors,
    samples: ProjectedSamples,
    frozen: FrozenModels,
    settings: Settings,
) -> Seen:
    """Returns the images and masks of the next batch of kept samples, and what else the anchored step keeps of them."""
    index = sampling.batch_indices(
        key,
        iteration,
        count=settings.sample_count,
        batch_size=settings.batch_size,
        skip_first=settings.skip_first_batch,
    )

    batch: ProjectedSamples = jax.tree.map(lambda kept: kept[index], samples)
    seen = batch.images, batch.masks
    return seen if batch.known is None else (*seen, batch.pseudo, batch.known)


def _keep_mask(
    state: TrainState, extra: tuple[Scene, Any], seen: Seen, problem: Problem, settings: Settings
) -> TrainState:
    """Returns the state with the object mask in the canonical frame of this iteration's depth and view."""
    if not settings.use_mask:
        return state
    geometry, _ = extra
    mask = canonical_mask(problem.mask, geometry.depth[0], geometry.view[0], settings)
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
