"""Step 1: the albedo network learns to explain the input image (GAN2Shape, section 3.2).

Depth, view and light stay fixed meanwhile, and so do the scene and the input's perceptual features.
"""

import dataclasses

import flax.struct
import jax
from jaxtyping import Array, Float

from gan2shape_jax.method import models
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.losses import image_terms, target_features, weighted_sum
from gan2shape_jax.method.reconstruction import (
    Scene,
    added_losses,
    appearance,
    canonical_mask,
    input_scene,
    mirror,
    smoothness,
    weighted,
)
from gan2shape_jax.method.state import Context, LossAndMetrics, Step, TrainState


@flax.struct.dataclass
class Step1Cache:
    """Values constant during step 1."""

    scene: Scene  # of the input
    features: tuple[jax.Array, ...] | None = None  # perceptual ones of the input where the scene covers it
    mask: jax.Array | None = None  # (S, S), the input's object mask in the canonical frame; the loss does not read it


def step1_cache(params: models.Params, context: Context, *, flip: bool) -> Step1Cache:
    """Computes the values constant during step 1."""
    example, frozen, settings = context.example, context.frozen, context.settings
    scene = input_scene(params, example, frozen, settings, flip=flip)
    return Step1Cache(
        scene=scene,
        features=target_features(example.image, scene.valid, frozen, settings),
        mask=canonical_mask(example.mask, scene.depth[0], scene.view[0], settings),
    )


def step1_loss(params: models.Params, cache: Step1Cache, context: Context, *, flip: bool) -> LossAndMetrics:
    """Returns the reconstruction loss of the input: photometric, perceptual, smoothness, and the mirrored terms."""
    scene, image, settings = cache.scene, context.example.image, context.settings
    albedo = models.albedo(params, image, scene.depth[:1], scene.view, scene.light, settings)
    mirrored = mirror(albedo, flip=flip)
    recon = appearance(scene, mirrored)
    (terms,) = image_terms(recon, image, scene.valid, context.frozen, settings, features=cache.features)
    smooth = smoothness(scene)
    added = added_losses(scene, mirrored, recon, context)
    loss = weighted(added, weighted_sum(terms, smooth, settings), settings)
    metrics = {"loss": loss, "l1": terms["l1"][0], "perceptual": terms["perceptual"][0], "smooth": smooth} | added
    return loss, (metrics, albedo[0])


def _keep_factors(state: TrainState, albedo: Float[Array, "s s 3"], cache: Step1Cache, context: Context) -> TrainState:
    """Returns the state with the factors of this iteration, from which step 2 renders its pseudo-images."""
    scene = cache.scene
    factors = Factors(depth=scene.depth[0], albedo=albedo, view=scene.view[0], light=scene.light[0], mask=state.mask)
    return dataclasses.replace(state, factors=factors)


STEP1 = Step("step1", networks=("albedo",), loss=step1_loss, cache=step1_cache, update=_keep_factors)
