"""Explaining images by one canonical sheet: geometry, appearance and the losses between them.

A leading axis f (1 or 2) holds the sheet and, under the symmetry assumption, its left-right mirror
image; n counts images, each with its own view and light. Shapes: depth (f, S, S), albedo (f, S, S, 3),
views (n, 6), lights (n, 4), images (n, S, S, 3) in [-1, 1]. Units as in `factors`.
Source: GAN2Shape, equations 1 and 4; the mirrored terms follow Unsup3d (Wu et al., 2020).
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from gan2shape_jax import stylegan2
from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.method import losses, perceptual
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.networks.precision import to_compute_dtype, to_float32

__all__ = [
    "Scene",
    "appearance",
    "canonical_mask",
    "discriminator_features",
    "image_terms",
    "mirror",
    "perceptual_features",
    "scene",
    "seen_from",
    "smoothness",
    "target_features",
]


@flax.struct.dataclass
class Scene:
    """All of a reconstruction that the albedo does not enter."""

    depth: jax.Array  # (f, S, S)
    view: jax.Array  # (n, 6)
    light: jax.Array  # (n, 4)
    diffuse: jax.Array  # (f, n, S, S)
    shading: jax.Array  # (f, n, S, S)
    warped: jax.Array  # (f, n, S, S) depth seen from each view
    grid: jax.Array  # (f, n, S, S, 2) where each input pixel lies in the canonical frame
    valid: jax.Array  # (n, S, S) pixels that the sheet and its mirror image both cover


def mirror(sheet: Float[Array, "one s s *c"], *, flip: bool) -> Float[Array, "f s s *c"]:
    """Stacks a sheet (1, S, S, ...) with its left-right mirror image when `flip`."""
    return jnp.concatenate([sheet, sheet[:, :, ::-1]], axis=0) if flip else sheet


def scene(
    depth: Float[Array, "f s s"],
    view: Float[Array, "n 6"],
    light: Float[Array, "n 4"],
    settings: Settings,
) -> Scene:
    """Lights the sheets with n lights and sees them from n views."""
    camera = settings.camera
    flips, count = depth.shape[0], view.shape[0]
    normal = lighting.normals(depth, camera, unit=settings.unit_normals)
    shading, diffuse = lighting.shade(normal[:, None], light[None])
    shape = (flips, count, *depth.shape[1:])
    repeated = jnp.broadcast_to(depth[:, None], shape)
    views = jnp.broadcast_to(view[None], (flips, count, 6))
    warped = render.warp_depth(repeated, views, camera, sampling=settings.sampling)
    valid = jax.lax.stop_gradient(jnp.prod(render.valid_pixels(warped, camera), axis=0))
    grid = cam.inverse_warped_grid(warped, views, camera)
    return Scene(
        depth=depth, view=view, light=light, diffuse=diffuse, shading=shading, warped=warped, grid=grid, valid=valid
    )


def appearance(geometry: Scene, albedo: Float[Array, "f s s 3"]) -> Float[Array, "f n s s 3"]:
    """The images that a sheet with this albedo shows in each view and light, clamped to [-1, 1]."""
    texture = lighting.apply_shading(albedo[:, None], geometry.shading)
    return jnp.clip(resample.grid_sample(texture, geometry.grid), -1.0, 1.0)


def canonical_mask(
    mask: Float[Array, "s s"],
    depth: Float[Array, "s s"],
    view: Float[Array, "6"],
    settings: Settings,
) -> Float[Array, "s s"]:
    """The input's object mask carried to the canonical frame (bilinear, hence fractional)."""
    grid = cam.warped_grid(depth, view, settings.camera)
    return resample.grid_sample(mask[..., None], grid)[..., 0]


def seen_from(
    texture: Float[Array, "n s s 3"],
    factors: Factors,
    view: Float[Array, "n 6"],
    settings: Settings,
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Lit textures and the canonical mask on the factors' depth, each seen from its view: rough renderings.

    Args:
      texture: in the canonical frame; may exceed 1.
      factors: of which depth and mask are used.
      view: radians and scene units.
      settings: static settings.

    Returns:
      Images clamped to [-1, 1], and the canonical mask seen from each view (nearest, zero outside).
    """
    camera = settings.camera
    depth = jnp.broadcast_to(factors.depth, (view.shape[0], *factors.depth.shape))
    warped = render.warp_depth(depth, view, camera, sampling=settings.sampling)
    images = render.reconstruct(texture, warped, view, camera)
    mask = factors.mask if settings.use_mask else jnp.ones_like(factors.mask)
    masks = jnp.broadcast_to(mask[..., None], (*depth.shape, 1))
    seen = resample.grid_sample(masks, cam.inverse_warped_grid(warped, view, camera), mode="nearest")
    return images, seen[..., 0]


def perceptual_features(
    images: Float[Array, "m s s 3"], frozen: FrozenModels, settings: Settings
) -> tuple[jax.Array, ...]:
    """What the perceptual distance compares: features of each image, a leading axis m in each; float32."""
    if settings.perceptual == "lpips":
        return perceptual.lpips_features(
            to_compute_dtype(frozen.lpips, settings.precision, keep=("shift", "scale")), images
        )
    return discriminator_features(images, frozen, settings)


def discriminator_features(
    images: Float[Array, "m s s 3"], frozen: FrozenModels, settings: Settings
) -> tuple[jax.Array, ...]:
    """The discriminator's first features of each image, a leading axis m in each; float32."""
    discriminator, seen = to_compute_dtype((frozen.discriminator, images), settings.precision)
    found = stylegan2.discriminator_features(discriminator, seen, arch=settings.architecture, count=4)
    return tuple(to_float32(f) for f in found)


def _perceptual_distance(first, second, frozen: FrozenModels, settings: Settings) -> Float[Scalar, ""]:
    if settings.perceptual == "lpips":
        return jnp.mean(perceptual.lpips_distance(frozen.lpips, first, second))
    return perceptual.discriminator_distance(first, second)


def target_features(
    target: Float[Array, "n s s 3"], mask: Float[Array, "n s s"], frozen: FrozenModels, settings: Settings
) -> tuple[jax.Array, ...]:
    """What the features of reconstructions are compared with; no gradient flows into it."""
    return jax.lax.stop_gradient(perceptual_features(target * mask[..., None], frozen, settings))


def image_terms(
    recon: Float[Array, "f n s s 3"],
    target: Float[Array, "n s s 3"],
    mask: Float[Array, "n s s"],
    frozen: FrozenModels,
    settings: Settings,
    *,
    split: int = 0,
    wanted: tuple[jax.Array, ...] | None = None,
) -> list[dict[str, Float[Array, " f"]]]:
    """Photometric and perceptual terms of every sheet against the targets.

    Args:
      recon: reconstructions.
      target: images to match; no gradient flows into them.
      mask: pixels that count.
      frozen: the frozen networks.
      settings: static settings.
      split: when positive, the first `split` images and the rest are two groups, each with its own
        ratio and mean; features are still computed in one pass, which is faster than two.
      wanted: `target_features` of these targets and this mask, where they are at hand.

    Returns:
      One dictionary a group with `l1` and `perceptual`, each (f,).
    """
    flips, count = recon.shape[:2]
    masked = (recon * mask[..., None]).reshape(flips * count, *recon.shape[2:])
    seen = [f.reshape(flips, count, *f.shape[1:]) for f in perceptual_features(masked, frozen, settings)]
    if wanted is None:
        wanted = target_features(target, mask, frozen, settings)
    groups = [slice(0, split), slice(split, count)] if split else [slice(0, count)]

    def terms(part: slice) -> dict[str, jax.Array]:
        l1 = [losses.photometric(recon[f, part], target[part], mask[part]) for f in range(flips)]
        distance = [
            _perceptual_distance(tuple(s[f, part] for s in seen), tuple(w[part] for w in wanted), frozen, settings)
            for f in range(flips)
        ]
        return {"l1": jnp.stack(l1), "perceptual": jnp.stack(distance)}

    return [terms(part) for part in groups]


def smoothness(geometry: Scene) -> Float[Scalar, ""]:
    """Smoothness of the depth and of the input's diffuse shading (its image is index 0)."""
    return losses.smoothness(geometry.depth) + losses.smoothness(geometry.diffuse[:, 0])
