"""The terms that compare a reconstruction with its target: photometric and perceptual, for every sheet.

A leading axis f (1 or 2) holds the sheet and, under the symmetry assumption, its left-right mirror image; n counts
images. Images are (n, S, S, 3) in [-1, 1]. Source: GAN2Shape, section 3.2; the mirrored terms follow Unsup3d (Wu et
al., 2020).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from gan2shape_jax import stylegan2
from gan2shape_jax.method import losses, perceptual
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.networks.precision import to_compute_dtype, to_float32

__all__ = ["discriminator_features", "image_terms", "perceptual_features", "target_features", "weighted_sum"]


def perceptual_features(
    images: Float[Array, "m s s 3"], frozen: FrozenModels, settings: Settings
) -> tuple[jax.Array, ...]:
    """Returns the features that the perceptual distance compares, in float32; each has a leading axis m."""
    if settings.perceptual == "lpips":
        return perceptual.lpips_features(
            to_compute_dtype(frozen.lpips, settings.precision, keep=("shift", "scale")), images
        )
    return discriminator_features(images, frozen, settings)


def discriminator_features(
    images: Float[Array, "m s s 3"], frozen: FrozenModels, settings: Settings
) -> tuple[jax.Array, ...]:
    """Returns the discriminator's first features of each image, in float32; each has a leading axis m."""
    discriminator, seen = to_compute_dtype((frozen.discriminator, images), settings.precision)
    features = stylegan2.discriminator_features(discriminator, seen, arch=settings.architecture, count=4)
    return tuple(to_float32(layer) for layer in features)


def _perceptual_distance(
    first: tuple[jax.Array, ...], second: tuple[jax.Array, ...], frozen: FrozenModels, settings: Settings
) -> Float[Scalar, ""]:
    if settings.perceptual == "lpips":
        return jnp.mean(perceptual.lpips_distance(frozen.lpips, first, second))
    return perceptual.discriminator_distance(first, second)


def target_features(
    target: Float[Array, "n s s 3"], mask: Float[Array, "n s s"], frozen: FrozenModels, settings: Settings
) -> tuple[jax.Array, ...]:
    """Returns the features that reconstructions should have; no gradient flows into them."""
    return jax.lax.stop_gradient(perceptual_features(target * mask[..., None], frozen, settings))


def image_terms(
    recon: Float[Array, "f n s s 3"],
    target: Float[Array, "n s s 3"],
    mask: Float[Array, "n s s"],
    frozen: FrozenModels,
    settings: Settings,
    *,
    split: int = 0,
    features: tuple[jax.Array, ...] | None = None,
) -> list[dict[str, Float[Array, " f"]]]:
    """Computes the photometric and perceptual terms of every sheet against the targets.

    Args:
      recon: reconstructions.
      target: images to match; no gradient flows into them.
      mask: pixels that count.
      frozen: the frozen networks.
      settings: of the method.
      split: when positive, the first `split` images and the rest are two groups, each with its own
        ratio and mean; features are still computed in one pass, which is faster than two.
      features: `target_features` of these targets and this mask, if already computed.

    Returns:
      One dictionary per group with `l1` and `perceptual`, each (f,).
    """
    flips, count = recon.shape[:2]
    masked = (recon * mask[..., None]).reshape(flips * count, *recon.shape[2:])
    seen = [f.reshape(flips, count, *f.shape[1:]) for f in perceptual_features(masked, frozen, settings)]
    if features is None:
        features = target_features(target, mask, frozen, settings)
    groups = [slice(0, split), slice(split, count)] if split else [slice(0, count)]

    def terms(part: slice) -> dict[str, jax.Array]:
        l1 = [losses.photometric(recon[f, part], target[part], mask[part]) for f in range(flips)]
        distance = [
            _perceptual_distance(tuple(s[f, part] for s in seen), tuple(t[part] for t in features), frozen, settings)
            for f in range(flips)
        ]
        return {"l1": jnp.stack(l1), "perceptual": jnp.stack(distance)}

    return [terms(part) for part in groups]


def weighted_sum(
    terms: dict[str, Float[Array, " f"]], smooth: Float[Scalar, ""] | float, settings: Settings
) -> Float[Scalar, ""]:
    """Returns the reconstruction loss: the weighted sum of the terms of all sheets and the smoothness."""
    matched = jnp.sum(terms["l1"]) + settings.lam_perc * jnp.sum(terms["perceptual"])
    total: Float[Scalar, ""] = matched + settings.lam_smooth * smooth
    return total
