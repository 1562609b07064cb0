"""The terms of the training loss, one pure function each, and the terms that compare a reconstruction with its target.

Images and features are `(..., H, W, C)`, masks `(..., H, W)` in [0, 1], maps `(..., H, W)`. Every term reduces to a
scalar over the whole batch. A masked ratio divides by the mask's sum, so an empty mask gives no information; it gives
zero here, with zero gradients, where a plain division would give NaN.

In `image_terms` a leading axis f (1 or 2) holds the map and, under the symmetry assumption, its left-right mirror
image; n counts images (n, S, S, 3) in [-1, 1]. Source: GAN2Shape, section 3.2; the mirrored terms follow Unsup3d (Wu et
al., 2020).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from gan2shape_jax.method import perceptual
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings


def photometric(
    a: Float[Array, "*batch h w c"],
    b: Float[Array, "*batch h w c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, ""]:
    """Returns `sum(|a - b| m) / sum(m)` over batch, pixels and channels (GAN2Shape, section 3.2); no mask: the mean."""
    difference = jnp.abs(a - b)
    return jnp.mean(difference) if mask is None else _masked_mean(difference, mask)


def smoothness(values: Float[Array, "*batch h w"]) -> Float[Array, ""]:
    """Returns the sum of the mean absolute second differences xx, xy, yx and yy of maps, such as depth or shading."""
    # The two mixed terms are equal; both are kept because the method counts the mixed term twice.
    second = [jnp.diff(jnp.diff(values, axis=first), axis=then) for first in (-1, -2) for then in (-1, -2)]
    return sum((jnp.mean(jnp.abs(term)) for term in second), jnp.zeros((), values.dtype))


def feature_distance(
    features_a: Sequence[Float[Array, "batch _ _ _"]],
    features_b: Sequence[Float[Array, "batch _ _ _"]],
    mask: Float[Array, "batch h w"],
) -> Float[Array, ""]:
    """Returns the masked distance between discriminator features, summed over layers (GAN2Shape, section 3.2).

    The mask is average-pooled to each layer's side. No gradient passes through the second features, the target.
    """
    total = jnp.zeros((), mask.dtype)
    for a, b in zip(features_a, features_b, strict=True):
        pooled = _average_pool(mask, a.shape[-3:-1])
        total += _masked_mean(jnp.abs(a - jax.lax.stop_gradient(b)), pooled)
    return total


def latent_norm(offset: Float[Array, "*batch w"]) -> Float[Array, ""]:
    """Returns the mean square of the offsets in W that step 2 adds to the image's latent."""
    return jnp.mean(jnp.square(offset))


def target_features(
    target: Float[Array, "n s s 3"], mask: Float[Array, "n s s"], frozen: FrozenModels, settings: Settings
) -> tuple[jax.Array, ...]:
    """Returns the features that reconstructions should have; no gradient flows into them."""
    distance = perceptual.named(settings.perceptual)
    return jax.lax.stop_gradient(distance.features(target * mask[..., None], frozen, settings))


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
    """Computes the photometric and perceptual terms of every map against the targets, into which no gradient flows.

    Args:
      recon: reconstructions.
      target: images to match.
      mask: pixels that count.
      frozen: the frozen networks.
      settings: of the method.
      split: when positive, the first `split` images and the rest are two groups, each with its own ratio and mean;
        features are still computed in one pass, which is faster than two.
      features: `target_features` of these targets and this mask, if already computed.

    Returns:
      One dictionary per group with `l1` and `perceptual`, each (f,).
    """
    perceived, (flips, count) = perceptual.named(settings.perceptual), recon.shape[:2]
    masked = (recon * mask[..., None]).reshape(flips * count, *recon.shape[2:])
    reconstructed = [f.reshape(flips, count, *f.shape[1:]) for f in perceived.features(masked, frozen, settings)]
    if features is None:
        features = target_features(target, mask, frozen, settings)
    groups = [slice(0, split), slice(split, count)] if split else [slice(0, count)]

    def terms(part: slice) -> dict[str, jax.Array]:
        l1 = [photometric(recon[f, part], target[part], mask[part]) for f in range(flips)]
        distance = [
            perceived.distance(tuple(s[f, part] for s in reconstructed), tuple(t[part] for t in features), frozen)
            for f in range(flips)
        ]
        return {"l1": jnp.stack(l1), "perceptual": jnp.stack(distance)}

    return [terms(part) for part in groups]


def weighted_sum(
    terms: dict[str, Float[Array, " f"]], smooth: Float[Scalar, ""] | float, settings: Settings
) -> Float[Scalar, ""]:
    """Returns the reconstruction loss: the weighted sum of the terms of all depth maps and the smoothness."""
    matched = jnp.sum(terms["l1"]) + settings.lam_perc * jnp.sum(terms["perceptual"])
    total: Float[Scalar, ""] = matched + settings.lam_smooth * smooth
    return total


def _masked_mean(values: Float[Array, "*batch h w c"], mask: Float[Array, "*batch h w"]) -> Float[Array, ""]:
    """Returns the sum of values times mask over the mask's sum, the mask counted once per channel."""
    mask = jnp.broadcast_to(mask, values.shape[:-1])
    weight = jnp.sum(mask) * values.shape[-1]
    empty = weight <= 0
    total = jnp.sum(jnp.sum(values, axis=-1) * mask)
    return jnp.where(empty, 0.0, total) / jnp.where(empty, 1.0, weight)


def _average_pool(mask: Float[Array, "*batch h w"], shape: tuple[int, ...]) -> Float[Array, "*batch hf wf"]:
    """Returns the means of whole cells; a remainder that does not fill a cell is left out, as in strided pooling."""
    rows, columns = shape
    step_y, step_x = mask.shape[-2] // rows, mask.shape[-1] // columns
    mask = mask[..., : rows * step_y, : columns * step_x]
    cells = mask.reshape(*mask.shape[:-2], rows, step_y, columns, step_x)
    return jnp.mean(cells, axis=(-3, -1))
