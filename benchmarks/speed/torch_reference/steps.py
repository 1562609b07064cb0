"""The losses of the train steps and their updates in PyTorch (GAN2Shape, section 3.2).

The structure is the published code's: step 1 runs all networks and warps the depth again in every iteration; step 3
reconstructs the input and the samples in two passes; a sheet and its mirror image are rendered together and compared
one after the other.
"""

from __future__ import annotations

import contextlib
import dataclasses

import torch
from torch.nn import functional

from . import geometry, losses
from .model import Model
from .rasterizer import warp_depth


@dataclasses.dataclass
class Factors:
    """The input's sheets (f: itself and, if wanted, its mirror image), light and canonical mask.

    depth (f, S, S), normal (f, S, S, 3), albedo (f, 3, S, S), light (f, 4), mask (S, S); index 0 is not mirrored.
    """

    depth: torch.Tensor
    normal: torch.Tensor
    albedo: torch.Tensor
    light: torch.Tensor
    mask: torch.Tensor

    def detached(self) -> Factors:
        """The same factors, detached from the graph."""
        return Factors(*(getattr(self, field.name).detach() for field in dataclasses.fields(self)))


def _with_mirror(canonical: torch.Tensor, flip: bool) -> torch.Tensor:
    return torch.cat([canonical, canonical.flip(-1)]) if flip else canonical


def prior_loss(model: Model) -> torch.Tensor:
    """Mean squared distance of the depth to the prior's."""
    return functional.mse_loss(model.depth()[0], model.prior)


def _shade(normal: torch.Tensor, light: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shading and its diffuse part (N, S, S) for normals, each with its light."""
    diffuse = geometry.diffuse_shading(normal, light[:, 2:])
    return light[:, 0, None, None] + light[:, 1, None, None] * diffuse, diffuse


def _rendered(model: Model, depth: torch.Tensor, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sampling grid and valid pixels of sheets (N, S, S), each in its view."""
    camera = model.settings.camera
    warped = warp_depth(depth, view, camera, sampling=model.settings.sampling)
    valid = (warped.detach() < camera.background_depth).to(warped.dtype)
    return geometry.inverse_warped_grid(warped, view, camera), valid


def _lit(albedo: torch.Tensor, shading: torch.Tensor) -> torch.Tensor:
    return (albedo / 2 + 0.5) * shading[:, None] * 2 - 1


def _sampled(image: torch.Tensor, grid: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    return functional.grid_sample(image, grid, mode=mode, align_corners=True)


def _image_loss(model: Model, recon, target, mask) -> torch.Tensor:
    """Photometric and perceptual terms of each sheet's reconstructions (f n, 3, S, S) of n targets."""
    total, count = recon.new_zeros(()), len(target)
    for first in range(0, len(recon), count):
        part = recon[first : first + count]
        total = total + losses.photometric(part, target, mask)
        masked = part * mask[:, None], target * mask[:, None]
        total = total + float(model.settings.lam_perc) * model.perceptual(*masked)
    return total


def input_loss(model: Model, *, flip: bool, moving: bool) -> tuple[torch.Tensor, Factors]:
    """Step 1: reconstruction of the input, and its factors.

    `moving` says whether depth, view and light are trained too, as in step 3.
    """
    settings, frames = model.settings, 2 if flip else 1
    with contextlib.nullcontext() if moving or model.ways.published else torch.no_grad():
        depth = _with_mirror(geometry.blend_border(model.depth(), settings.camera), flip)
        view, light = (value.expand(frames, -1) for value in (model.views(model.image), model.lights(model.image)))
        normal = geometry.normals(depth, settings.camera, unit=settings.unit_normals)
        shading, diffuse = _shade(normal, light)
        grid, valid = _rendered(model, depth, view)
    albedo = _with_mirror(model.networks["albedo"](model.image), flip)
    recon = _sampled(_lit(albedo, shading), grid).clamp(-1, 1)
    loss = _image_loss(model, recon, model.image, valid.prod(0, keepdim=True))
    loss = loss + float(settings.lam_smooth) * (losses.smoothness(depth) + losses.smoothness(diffuse))
    mask = torch.ones_like(model.mask)
    if settings.use_mask:
        forward = geometry.warped_grid(depth[:1].detach(), view[:1].detach(), settings.camera)
        mask = _sampled(model.mask[None, None], forward)[0, 0]
    return loss, Factors(depth, normal, albedo, light, mask)


def pseudo_images(model: Model, factors: Factors, views, direction, strength):
    """Renders the factors under drawn views (n, 6, network units), light directions (n, 2) and strengths (n,).

    Returns:
      Images (n, 3, S, S) and their masks (n, S, S).
    """
    settings, count = model.settings, len(views)
    ambient = factors.light[0, 0] + float(settings.rand_light[6]) * strength
    drawn = torch.cat([torch.stack([ambient, factors.light[0, 1] + strength], 1), direction], 1)
    shading, _ = _shade(factors.normal[:1], drawn)
    view = geometry.view_from_raw(views, settings.view_range)
    grid, _ = _rendered(model, factors.depth[:1].expand(count, -1, -1), view)
    images = _sampled(_lit(factors.albedo[:1], shading), grid).clamp(-1, 1)
    masks = _sampled(factors.mask.expand(count, 1, -1, -1), grid, "nearest")[:, 0]
    return images, masks


def _resized(images: torch.Tensor, size: int) -> torch.Tensor:
    if images.shape[-1] > size:
        return functional.adaptive_avg_pool2d(images, size)
    if images.shape[-1] < size:
        return functional.interpolate(images, (size, size), mode="bilinear")
    return images


def project(model: Model, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The GAN's version of images, and the offset in W that produced it."""
    settings, encode = model.settings, model.networks["encoder"]
    code = encode(images).flatten(1)
    code = code - encode(model.gan_image).flatten(1) if settings.relative_enc else code
    offset = code
    if settings.regularize_offset:
        entry = settings.architecture.mapping_layers - settings.F1_d
        offset = model.generator.map(code + model.center_h, entry) - model.center_w
    latent = model.latent + (offset[:, None] if model.latent.ndim == 3 else offset)
    drawn = model.generator(latent).clamp(-1, 1)
    if settings.crop is not None:
        drawn = _resized(drawn, settings.original_size)
        edge = (settings.original_size - settings.crop) // 2
        drawn = drawn[..., edge : edge + settings.crop, edge : edge + settings.crop]
    return _resized(drawn, settings.image_size), offset


def step2_loss(model: Model, images: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Step 2: the distance of the GAN's versions of pseudo-images from them, and those versions."""
    projected, offset = project(model, images)
    with torch.no_grad():
        image_features = model.discriminator(images)
    loss = losses.photometric(projected, images, masks)
    loss = loss + losses.feature_distance(model.discriminator(projected), image_features, masks)
    return loss + float(model.settings.lam_regular) * offset.square().mean(), projected


def step3_loss(model: Model, images: torch.Tensor, masks: torch.Tensor, *, flip: bool) -> torch.Tensor:
    """Step 3: reconstruction of the input, and of projected samples from the input's sheet."""
    frames, count = 2 if flip else 1, len(images)
    on_input, canonical = input_loss(model, flip=flip, moving=True)
    view, light = model.views(images).repeat(frames, 1), model.lights(images).repeat(frames, 1)
    depth, normal, albedo = (
        x.repeat_interleave(count, 0) for x in (canonical.depth, canonical.normal, canonical.albedo)
    )
    shading, _ = _shade(normal, light)
    grid, valid = _rendered(model, depth, view)
    recon = _sampled(_lit(albedo, shading), grid).clamp(-1, 1)
    valid = valid.reshape(frames, count, *valid.shape[1:]).prod(0)
    return on_input + _image_loss(model, recon, images, valid * masks)
