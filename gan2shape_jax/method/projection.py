"""Projecting images onto the GAN: an encoder's offset in W, regularised by the mapping network.

Images are (N, S, S, 3) in [-1, 1]; latents (1, W) or, in W+, (1, L, W). Source: GAN2Shape, equations 2
and 3 (the encoder's offset enters the mapping network and leaves it as F2(F1(0) + E(I)) - F(0)).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gan2shape_jax import stylegan2
from gan2shape_jax.geometry import resample
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings


def synthesize(
    latent: Float[Array, "n *layers w"], frozen: FrozenModels, settings: Settings
) -> Float[Array, "n s s 3"]:
    """Returns the GAN's images of latents, with fixed noise, clamped to [-1, 1], in the input's frame."""
    return resample.resize(synthesize_large(latent, frozen, settings), settings.image_size)


def synthesize_large(
    latent: Float[Array, "n *layers w"], frozen: FrozenModels, settings: Settings
) -> Float[Array, "n c c 3"]:
    """Returns images as `synthesize` does, but at the GAN's own size, or the crop's if there is one."""
    drawn = jnp.clip(stylegan2.synthesize(frozen.generator, latent, arch=settings.architecture), -1.0, 1.0)
    if settings.crop is None:
        return drawn
    return resample.center_crop(resample.resize(drawn, settings.original_size), settings.crop)


def sample(
    z: Float[Array, "n w"], frozen: FrozenModels, settings: Settings
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n w"]]:
    """Returns the GAN's images for normal draws z, truncated as the settings say, and their latents in W."""
    w = stylegan2.map_styles(frozen.generator, z, arch=settings.architecture)
    latents = stylegan2.truncate(w, frozen.mean_w, jnp.asarray(settings.truncation, jnp.float32))
    return synthesize(latents, frozen, settings), latents


def latent_offset(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    reference: Float[Array, "1 s s 3"],
    frozen: FrozenModels,
    settings: Settings,
    *,
    code: Float[Array, "1 w"] | None = None,
) -> Float[Array, "n w"]:
    """Returns the offsets in W of images; relative encoding subtracts the encoding of the GAN's own image.

    Gradients flow through both encodings. Without `regularize_offset`, the encoding is the offset.
    `code` is the encoding of the reference by these parameters, if already computed; while the encoder trains, it is
    not.
    """
    if settings.relative_enc and code is not None:
        code = models.offsets(params, images, settings) - code
    elif settings.relative_enc:
        both = models.offsets(params, jnp.concatenate([images, reference]), settings)
        code = both[:-1] - both[-1:]
    else:
        code = models.offsets(params, images, settings)
    if not settings.regularize_offset:
        return code
    arch = settings.architecture
    entry = arch.mapping_layers - settings.F1_d
    styles = stylegan2.map_styles(frozen.generator, code + frozen.center_h, arch=arch, first=entry)
    return jnp.asarray(styles - frozen.center_w)


def apply_offset(
    latent: Float[Array, "1 *layers w"], offset: Float[Array, "n w"], settings: Settings
) -> Float[Array, "n *layers w"]:
    """Returns the input's latent moved by each offset; in W+, all layers move alike.

    The published generator truncates their sum. The latent has been truncated before, so that the offset remains.
    """
    truncated = jnp.asarray(settings.offset_scale * offset)
    return latent + (truncated[:, None] if latent.ndim == 3 else truncated)


def project(
    params: models.Params,
    images: Float[Array, "n s s 3"],
    latent: Float[Array, "1 *layers w"],
    reference: Float[Array, "1 s s 3"],
    frozen: FrozenModels,
    settings: Settings,
    *,
    code: Float[Array, "1 w"] | None = None,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n w"]]:
    """Returns the GAN's version of each image, and the offset that gave it.

    `latent` is the input's and `reference` the GAN's image of it; `code` is the reference's, see `latent_offset`.
    """
    offset = latent_offset(params, images, reference, frozen, settings, code=code)
    return synthesize(apply_offset(latent, offset, settings), frozen, settings), offset
