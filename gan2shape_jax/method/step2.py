"""Step 2: the encoder learns to project relit and rotated renderings onto the GAN (GAN2Shape, section 3.2)."""

import jax
from jaxtyping import Array, Float

from gan2shape_jax.method import losses, models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.losses import discriminator_features
from gan2shape_jax.method.sampling import draw_pseudo_images
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import LossAndMetrics, Problem, Step


def step2_loss(
    params: models.Params,
    pseudo: Float[Array, "n s s 3"],
    mask: Float[Array, "n s s"],
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    flip: bool = False,
) -> LossAndMetrics:
    """Returns the loss of the GAN's versions: how far they are from the pseudo-images and from the input's latent.

    There is no mirrored sheet: `flip` is not used.
    """
    offset = projection.latent_offset(params, pseudo, problem.gan_image, frozen, settings)
    return version_loss(offset, pseudo, mask, problem, frozen, settings)


def version_loss(
    offset: Float[Array, "n w"],
    pseudo: Float[Array, "n s s 3"],
    mask: Float[Array, "n s s"],
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
) -> LossAndMetrics:
    """Returns the loss: how far the GAN's images at these offsets are from pseudo-images, and the offsets from zero."""
    projected = projection.synthesize(projection.moved(problem.latent, offset, settings), frozen, settings)
    l1 = losses.photometric(projected, pseudo, mask)
    distance = losses.feature_distance(
        discriminator_features(projected, frozen, settings),
        jax.lax.stop_gradient(discriminator_features(pseudo, frozen, settings)),
        mask,
    )
    latent = losses.latent_norm(offset)
    loss = l1 + distance + settings.lam_regular * latent
    return loss, ({"loss": loss, "l1": l1, "features": distance, "latent": latent}, projected)


STEP2 = Step(
    "step2",
    networks=("encoder",),
    loss=step2_loss,
    # Every iteration sees fresh pseudo-images with their masks; there are no constants.
    draw=lambda key, iteration, factors, _, *rest: draw_pseudo_images(key, iteration, factors, *rest),
    cost=4.0,
)
