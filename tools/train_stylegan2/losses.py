"""The losses of a StyleGAN2: non-saturating, with a gradient penalty on photos and one on path lengths.

Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020; Goodfellow et al., 2014 (non-saturating
loss); Mescheder et al., 2018 (R1). Images are (B, s, s, 3) in [-1, 1], logits (B, 1), higher for what looks real.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["discriminator_loss", "generator_loss", "gradient_penalty", "path_length_penalty", "path_lengths"]


def generator_loss(fake_logits: Float[Array, "b 1"]) -> Float[Array, ""]:
    """Returns the mean of -log D(G(z)), with D the probability that the logits stand for."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


def discriminator_loss(real_logits: Float[Array, "b 1"], fake_logits: Float[Array, "b 1"]) -> Float[Array, ""]:
    """Returns the mean of -log D(x) - log(1 - D(G(z)))."""
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def gradient_penalty(
    logits_of: Callable[[Float[Array, "b s s 3"]], Float[Array, "b 1"]], photos: Float[Array, "b s s 3"]
) -> Float[Array, ""]:
    """Returns R1: the mean over photos of the squared norm of the gradient of their logits.

    Args:
      logits_of: from images to logits, including augmentation.
      photos: where the gradient is taken.
    """
    gradient = jax.grad(lambda images: jnp.sum(logits_of(images)))(photos)
    return jnp.mean(jnp.sum(gradient**2, axis=(1, 2, 3)))


def path_lengths(
    images_of: Callable[[Float[Array, "b l w"]], Float[Array, "b s s 3"]],
    styles: Float[Array, "b l w"],
    directions: Float[Array, "b s s 3"],
) -> Float[Array, " b"]:
    """Returns how far images move in random directions as their styles change: |J^T y|, root mean square over layers.

    Args:
      images_of: the generator, from the styles of all layers.
      styles: where the lengths are taken.
      directions: y, standard normal.
    """
    images, pull = jax.vjp(images_of, styles)
    side = images.shape[1]
    (gradient,) = pull((directions / math.sqrt(side * side)).astype(images.dtype))
    return jnp.sqrt(jnp.mean(jnp.sum(gradient**2, axis=2), axis=1))


def path_length_penalty(
    lengths: Float[Array, " b"], mean: Float[Array, ""], *, decay: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the mean squared distance of path lengths from their moving average, and the updated average.

    Gradients flow through this batch's share of the average, as in the published code.

    Args:
      lengths: the path lengths of this batch.
      mean: the moving average so far.
      decay: the share by which it moves towards this batch's mean.
    """
    mean = mean + decay * (jnp.mean(lengths) - mean)
    return jnp.mean((lengths - mean) ** 2), mean
