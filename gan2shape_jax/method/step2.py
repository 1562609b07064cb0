"""Step 2: the encoder learns to project relit and rotated renderings onto the GAN (GAN2Shape, section 3.2)."""

import jax
from jaxtyping import Array, Float

from gan2shape_jax.method import losses, models, projection
from gan2shape_jax.method.perceptual import discriminator_features
from gan2shape_jax.method.sampling import draw_pseudo_images
from gan2shape_jax.method.state import Context, LossAndMetrics, PseudoImages, Step


def step2_loss(params: models.Params, pseudo: PseudoImages, context: Context, *, flip: bool = False) -> LossAndMetrics:
    """Returns the loss of the GAN's versions: how far they are from the pseudo-images and from the input's latent.

    There is no mirrored depth map: `flip` is not used.
    """
    reference = context.example.gan_image
    offset = projection.latent_offset(params, pseudo.images, reference, context.frozen, context.settings)
    return version_loss(offset, pseudo, context)


def version_loss(offset: Float[Array, "n w"], pseudo: PseudoImages, context: Context) -> LossAndMetrics:
    """Returns the loss: how far the GAN's images at these offsets are from pseudo-images, and the offsets from zero."""
    frozen, settings = context.frozen, context.settings
    latents = projection.apply_offset(context.example.latent, offset, settings)
    projected = projection.synthesize(latents, frozen, settings)
    l1 = losses.photometric(projected, pseudo.images, pseudo.masks)
    distance = losses.feature_distance(
        discriminator_features(projected, frozen, settings),
        jax.lax.stop_gradient(discriminator_features(pseudo.images, frozen, settings)),
        pseudo.masks,
    )
    latent = losses.latent_norm(offset)
    loss = l1 + distance + settings.lam_regular * latent
    return loss, ({"loss": loss, "l1": l1, "features": distance, "latent": latent}, projected)


STEP2 = Step("step2", networks=("encoder",), loss=step2_loss, draw=draw_pseudo_images, cost=4.0)
