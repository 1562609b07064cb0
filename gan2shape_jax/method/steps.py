"""The method's train steps: the prior's fit and steps 1, 2 and 3, each a loss and a pure update.

Every update takes the state (donated) and the iteration's number and returns the new state and scalars.
Source: GAN2Shape, section 3.2 and figure 2. Step 1 fits the albedo to the input; step 2 trains the
encoder to project relit and rotated renderings onto the GAN; step 3 learns all factors from them.
"""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax.geometry.lighting import apply_shading, normals
from gan2shape_jax.method import losses, models, projection, sampling
from gan2shape_jax.method.factors import Factors, blend_border, view_from_raw
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.optimizer import Loss, optimizer_step
from gan2shape_jax.method.reconstruction import (
    Scene,
    appearance,
    canonical_mask,
    discriminator_features,
    image_terms,
    mirror,
    scene,
    seen_from,
    smoothness,
    target_features,
)
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem, ProjectedSamples

__all__ = [
    "Step1Cache",
    "collect_batch",
    "input_scene",
    "loss_of",
    "prior_loss",
    "pseudo_images",
    "step1_loss",
    "step2_loss",
    "step3_loss",
    "step1_cache",
    "update_prior",
    "update_step1",
    "update_step2",
    "update_step3",
]

# --- prior -----------------------------------------------------------------------------------------


def prior_loss(params: models.Params, problem: Problem, settings: Settings):
    """Mean squared distance of the depth, before the border is blended, to the prior's."""
    depth = models.depth(params, problem.image, settings)
    loss = losses.mean_squared(depth[0], problem.prior)
    return loss, ({"loss": loss}, depth)


def update_prior(state, iteration, problem, frozen, settings, *, flip=False):
    """One iteration of fitting the depth network to the prior."""
    del iteration, frozen, flip
    state, metrics, _ = optimizer_step(lambda p: prior_loss(p, problem, settings), state, "prior", settings)
    return state, metrics


# --- step 1 ----------------------------------------------------------------------------------------


def input_scene(
    params: models.Params, problem: Problem, frozen: FrozenModels, settings: Settings, *, flip: bool
) -> Scene:
    """The input image's scene: its depth (and mirror image), view and light, without albedo."""
    depth = blend_border(models.depth(params, problem.image, settings), settings.camera)
    view = models.views(params, problem.image, frozen.view_mean, settings)
    light = models.lights(params, problem.image, frozen.light_mean, settings)
    return scene(mirror(depth, flip=flip), view, light, settings)


@flax.struct.dataclass
class Step1Cache:
    """What stays as it is through step 1, in which only the albedo moves.

    Attributes:
      scene: of the input.
      wanted: the perceptual features of the input where the scene covers it; None leaves them to every iteration.
    """

    scene: Scene
    wanted: tuple[jax.Array, ...] | None = None


def step1_cache(
    params: models.Params, problem: Problem, frozen: FrozenModels, settings: Settings, *, flip: bool
) -> Step1Cache:
    """What step 1 computes once for all of its iterations."""
    geometry = input_scene(params, problem, frozen, settings, flip=flip)
    return Step1Cache(geometry, target_features(problem.image, geometry.valid, frozen, settings))


def _reconstruction_loss(terms: dict[str, jax.Array], smooth: jax.Array | float, settings: Settings) -> jax.Array:
    matched = jnp.sum(terms["l1"]) + settings.lam_perc * jnp.sum(terms["perceptual"])
    return matched + settings.lam_smooth * smooth


def step1_loss(
    params: models.Params,
    kept: Step1Cache,
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    flip: bool,
):
    """Reconstruction of the input: photometric, perceptual, smoothness, and the mirrored terms."""
    geometry = kept.scene
    sheet = models.albedo(params, problem.image, settings)
    recon = appearance(geometry, mirror(sheet, flip=flip))
    (terms,) = image_terms(recon, problem.image, geometry.valid, frozen, settings, wanted=kept.wanted)
    smooth = smoothness(geometry)
    loss = _reconstruction_loss(terms, smooth, settings)
    metrics = {"loss": loss, "l1": terms["l1"][0], "perceptual": terms["perceptual"][0], "smooth": smooth}
    return loss, (metrics, sheet[0])


def update_step1(state, iteration, kept: Step1Cache, problem, frozen, settings, *, flip):
    """One iteration of step 1; `kept` is computed once for all iterations, see `step1_cache`."""
    del iteration
    geometry = kept.scene
    state, metrics, albedo = optimizer_step(
        lambda p: step1_loss(p, kept, problem, frozen, settings, flip=flip), state, "step1", settings
    )
    factors = Factors(
        depth=geometry.depth[0], albedo=albedo, view=geometry.view[0], light=geometry.light[0], mask=state.mask
    )
    return dataclasses.replace(state, factors=factors), metrics


# --- step 2 ----------------------------------------------------------------------------------------


def pseudo_images(
    factors: Factors,
    views: Float[Array, "n 6"],
    direction_xy: Float[Array, "n 2"],
    strength: Float[Array, " n"],
    settings: Settings,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Renders the factors under drawn views and lights.

    Args:
      factors: of the input image.
      views: in network units.
      direction_xy: of the drawn lights.
      strength: of the drawn lights.
      settings: static settings.

    Returns:
      Images clamped to [-1, 1], and the canonical mask seen from each view (nearest, zero outside).
    """
    normal = normals(factors.depth, settings.camera, unit=settings.unit_normals)
    shading = sampling.relit_shading(normal, factors.light, direction_xy, strength, alpha=settings.rand_light[6])
    texture = apply_shading(factors.albedo[None], shading)
    return seen_from(texture, factors, view_from_raw(views, settings.view_range), settings)


def _drawn_pseudo_images(key, factors: Factors, frozen: FrozenModels, settings: Settings):
    view_key, light_key = jax.random.split(key)
    count = settings.batch_size
    views = sampling.draw_views(view_key, frozen.view_mean, frozen.view_factor, count, yaw_scale=settings.view_scale)
    direction, strength = sampling.draw_lights(light_key, count, rand_light=settings.rand_light)
    return jax.lax.stop_gradient(pseudo_images(factors, views, direction, strength, settings))


def step2_loss(
    params: models.Params,
    pseudo: Float[Array, "n s s 3"],
    mask: Float[Array, "n s s"],
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
):
    """How far the GAN's versions of the pseudo-images are from them, and from the input's latent."""
    projected, offset = projection.project(params, pseudo, problem.latent, problem.gan_image, frozen, settings)
    l1 = losses.photometric(projected, pseudo, mask)
    distance = losses.feature_distance(
        discriminator_features(projected, frozen, settings),
        jax.lax.stop_gradient(discriminator_features(pseudo, frozen, settings)),
        mask,
    )
    latent = losses.latent_norm(offset)
    loss = l1 + distance + settings.lam_regular * latent
    return loss, ({"loss": loss, "l1": l1, "features": distance, "latent": latent}, projected)


def update_step2(state, iteration, problem, frozen, settings, *, key, flip=False):
    """One iteration of step 2; what it draws is a function of `key` and the iteration."""
    del flip
    pseudo, mask = _drawn_pseudo_images(jax.random.fold_in(key, iteration), state.factors, frozen, settings)
    state, metrics, _ = optimizer_step(
        lambda p: step2_loss(p, pseudo, mask, problem, frozen, settings), state, "step2", settings
    )
    return state, metrics


def collect_batch(state, iteration, problem, frozen, settings, *, key, code=None) -> ProjectedSamples:
    """One batch of projected samples for step 3, after step 2 has ended; `code` as in `projection.latent_offset`."""
    pseudo, mask = _drawn_pseudo_images(jax.random.fold_in(key, iteration), state.factors, frozen, settings)
    images, _ = projection.project(state.params, pseudo, problem.latent, problem.gan_image, frozen, settings, code=code)
    return ProjectedSamples(images=images, masks=mask)


# --- step 3 ----------------------------------------------------------------------------------------


def step3_loss(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    masks: Float[Array, "n s s"],
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    flip: bool,
):
    """Reconstruction of the input (as in step 1) and of projected samples by one sheet.

    Depth and albedo come from the input, view and light from each image itself.
    """
    depth = blend_border(models.depth(params, problem.image, settings), settings.camera)
    sheet = models.albedo(params, problem.image, settings)
    everything = jnp.concatenate([problem.image, images])
    geometry = scene(
        mirror(depth, flip=flip),
        models.views(params, everything, frozen.view_mean, settings),
        models.lights(params, everything, frozen.light_mean, settings),
        settings,
    )
    recon = appearance(geometry, mirror(sheet, flip=flip))
    mask = geometry.valid * jnp.concatenate([jnp.ones_like(masks[:1]), masks])
    on_input, on_samples = image_terms(recon, everything, mask, frozen, settings, split=1)
    smooth = smoothness(geometry)
    loss = _reconstruction_loss(on_input, smooth, settings) + _reconstruction_loss(on_samples, 0.0, settings)
    metrics = {
        "loss": loss,
        "l1": on_input["l1"][0],
        "l1_samples": on_samples["l1"][0],
        "perceptual": on_input["perceptual"][0],
        "smooth": smooth,
    }
    return loss, (metrics, (geometry, recon))


def _next_batch(key, iteration, samples: ProjectedSamples, settings: Settings):
    index = sampling.batch_indices(
        key,
        iteration,
        count=settings.sample_count,
        batch_size=settings.batch_size,
        skip_first=settings.skip_first_batch,
    )
    return samples.images[index], samples.masks[index]


def update_step3(state, iteration, samples: ProjectedSamples, problem, frozen, settings, *, key, flip):
    """One iteration of step 3 on the next batch of kept samples."""
    images, masks = _next_batch(key, iteration, samples, settings)
    state, metrics, (geometry, _) = optimizer_step(
        lambda p: step3_loss(p, images, masks, problem, frozen, settings, flip=flip), state, "step3", settings
    )
    if not settings.use_mask:
        return state, metrics
    mask = canonical_mask(problem.mask, geometry.depth[0], geometry.view[0], settings)
    return dataclasses.replace(state, mask=mask), metrics


# --- any step --------------------------------------------------------------------------------------


def loss_of(
    step: str,
    factors: Factors,
    iteration,
    context,
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    key,
    flip: bool,
) -> Loss:
    """A step's loss as a function of the parameters alone; what the iteration draws is drawn here.

    Args:
      step: "prior", "step1", "step2" or "step3".
      factors: of step 1, for step 2.
      iteration: what is drawn is a function of it and of `key`.
      context: `Step1Cache` in step 1, the kept samples in step 3.
      problem, frozen, settings: as in the updates.
      key: of the image's phase.
      flip: whether the mirrored sheet has to explain the images too.
    """
    if step == "prior":
        return lambda p: prior_loss(p, problem, settings)
    if step == "step1":
        return lambda p: step1_loss(p, context, problem, frozen, settings, flip=flip)
    if step == "step2":
        pseudo, mask = _drawn_pseudo_images(jax.random.fold_in(key, iteration), factors, frozen, settings)
        return lambda p: step2_loss(p, pseudo, mask, problem, frozen, settings)
    images, masks = _next_batch(key, iteration, context, settings)
    return lambda p: step3_loss(p, images, masks, problem, frozen, settings, flip=flip)
