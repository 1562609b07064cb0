"""The train steps in PyTorch: losses and updates (GAN2Shape, section 3.2), and what they work on.

The structure is the published code's: step 1 runs all networks and warps the depth again in every iteration; step 3
reconstructs the input and the samples in two passes; a sheet and its mirror image are rendered together and compared
one after the other. Gradients are computed of the networks that a step optimises only. Features are `(N, C, H, W)`.
`Lpips` is LPIPS v0.1 with VGG16, from our arrays (Zhang et al., CVPR 2018).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import nn
from torch.nn import functional

from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.schedule import STEPS
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Example
from gan2shape_jax.training.network_files import torch_tensors

from . import networks, scene
from .stylegan2 import Discriminator, Generator

_LAYERS = (2, 2, 3, 3, 3)


def photometric(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`sum(|a - b| m) / sum(m)`, one ratio over the batch, the mask counted once per channel."""
    weight = mask[:, None].expand_as(a)
    return ((a - b).abs() * weight).sum() / weight.sum()


def feature_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """Masked distance of discriminator features, summed over layers, to whose sizes the mask is average-pooled."""
    total = mask.new_zeros(())
    for first, second in zip(a, b, strict=True):
        total = total + photometric(first, second, functional.avg_pool2d(mask, mask.shape[-1] // first.shape[-1]))
    return total


def discriminator_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute difference of features, summed over layers."""
    return sum((first - second).abs().mean() for first, second in zip(a, b, strict=True))


def smoothness(values: torch.Tensor) -> torch.Tensor:
    """Sum of the mean absolute second differences xx, xy, yx and yy of maps."""
    x, y = values.diff(dim=-1), values.diff(dim=-2)
    second = x.diff(dim=-1), x.diff(dim=-2), y.diff(dim=-1), y.diff(dim=-2)
    return sum(term.abs().mean() for term in second)


class Lpips(nn.Module):
    """Distances (N,) of pairs of images (N, 3, H, W) in [-1, 1]."""

    def __init__(self, params: Mapping[str, Any]):
        super().__init__()

        def frozen(name: str, order: tuple[int, ...] = (0,)) -> nn.Parameter:
            array = np.asarray(params[name], np.float32).transpose(order)
            return nn.Parameter(torch.from_numpy(np.array(array, order="C")), requires_grad=False)

        self.shift, self.scale = frozen("shift"), frozen("scale")
        names = [f"conv{block}_{layer}" for block, count in enumerate(_LAYERS, 1) for layer in range(1, count + 1)]
        self.kernels = nn.ParameterList(frozen(f"{name}/kernel", (3, 2, 0, 1)) for name in names)
        self.biases = nn.ParameterList(frozen(f"{name}/bias") for name in names)
        self.linear = nn.ParameterList(frozen(f"linear{block}") for block in range(1, len(_LAYERS) + 1))

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Unit feature vectors at every pixel after each of VGG16's five blocks."""
        x = (images - self.shift[:, None, None]) / self.scale[:, None, None]
        normalised, place = [], 0
        for block, count in enumerate(_LAYERS):
            x = functional.max_pool2d(x, 2) if block else x
            for _ in range(count):
                x = functional.relu(functional.conv2d(x, self.kernels[place], self.biases[place], padding=1))
                place += 1
            normalised.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        return normalised

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        parts = zip(self.features(a), self.features(b), self.linear, strict=True)
        return sum(((x - y).square() * weight[:, None, None]).sum(1).mean((1, 2)) for x, y, weight in parts)


@dataclasses.dataclass
class Model:
    """Networks and arrays; `model_of` makes one.

    Attributes:
      networks: the five networks, by `models.NAMES`.
      generator, discriminator, lpips: frozen; lpips is None if the discriminator provides the perceptual distance.
      image: (1, 3, S, S); mask, prior: (S, S); latent: (1, W) or (1, L, W); gan_image: (1, 3, S, S).
      view_mean, view_factor, light_mean, center_h, center_w: as in `method.frozen.FrozenModels`.
    """

    settings: Settings
    networks: nn.ModuleDict
    generator: Generator
    discriminator: Discriminator
    lpips: Lpips | None
    image: torch.Tensor
    mask: torch.Tensor
    prior: torch.Tensor
    latent: torch.Tensor
    gan_image: torch.Tensor
    view_mean: torch.Tensor
    view_factor: torch.Tensor
    light_mean: torch.Tensor
    center_h: torch.Tensor
    center_w: torch.Tensor

    @property
    def device(self) -> torch.device:
        return self.image.device

    def focus(self, step: str) -> list[nn.Parameter]:
        """Turns gradients on where the step needs them, and returns the parameters that it optimises."""
        for module in (*self.networks.values(), self.generator, self.discriminator):
            module.requires_grad_(False)
        active = [self.networks[name] for name in STEPS[step].networks]
        for module in active:
            module.requires_grad_(True)
        return [parameter for module in active for parameter in module.parameters()]

    def depth(self) -> torch.Tensor:
        """The input's canonical depth (1, S, S), without blending of the border."""
        return scene.depth_from_raw(self.networks["depth"](self.image)[:, 0], self.settings.camera)

    def views(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 6) in radians and scene units."""
        raw = self.networks["view"](images).flatten(1)
        raw = raw + self.view_mean if self.settings.add_mean_V else raw
        return scene.view_from_raw(raw, self.settings.view_range)

    def lights(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 4) ambient, diffuse, dx, dy."""
        raw = self.networks["light"](images).flatten(1)
        return scene.light_from_raw(raw + self.light_mean if self.settings.add_mean_L else raw)

    def perceptual(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The perceptual distance of masked images to targets."""
        if self.lpips is not None:
            return self.lpips(a, b).mean()
        with torch.no_grad():
            target = self.discriminator(b)
        return discriminator_distance(self.discriminator(a), target)


def nchw(images: Any) -> torch.Tensor:
    """Our images (N, H, W, C) as a tensor (N, C, H, W)."""
    return torch.from_numpy(np.array(np.moveaxis(np.asarray(images), -1, 1), order="C"))


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def networks_of(params: models.Params, settings: Settings) -> nn.ModuleDict:
    """The five networks with our parameters."""
    size, sizes = settings.image_size, settings.networks
    map_sizes = size, sizes.width, sizes.zdim
    narrow = sizes.view_light_width or sizes.width
    modules = nn.ModuleDict(
        {
            "depth": networks.decoder(*map_sizes, 1, sizes.group_base),
            "albedo": networks.decoder(*map_sizes, 3, sizes.group_base, "tanh"),
            "view": networks.encoder(size, narrow, 6),
            "light": networks.encoder(size, narrow, 4),
            "encoder": networks.residual_encoder(size, sizes.encoder_width, settings.architecture.style_dim),
        }
    )
    for name, module in models.modules(settings).items():
        flat, state = flatten_dict(params[name]), {}
        for path, (key, shape, axes) in torch_tensors(module).items():
            own = np.asarray(flat[path]).reshape([shape[axis] for axis in axes])
            state[key] = _tensor(own.transpose(np.argsort(axes)))
        modules[name].load_state_dict(state)
    return modules


def model_of(
    params: models.Params,
    example: Example,
    frozen: FrozenModels,
    settings: Settings,
    *,
    device: str = "cpu",
) -> Model:
    """Copies everything that the steps work on.

    Raises:
      ValueError: the GAN is of a kind that the reference does not support.
    """
    generator = Generator(frozen.generator, settings.architecture)
    discriminator = Discriminator(frozen.discriminator, settings.architecture)
    lpips = Lpips(frozen.distances["lpips"]) if settings.perceptual == "lpips" else None

    statistics = {
        name: _tensor(getattr(frozen, name)).to(device)
        for name in ("view_mean", "view_factor", "light_mean", "center_h", "center_w")
    }
    return Model(
        settings=settings,
        networks=networks_of(params, settings).to(device),
        generator=generator.to(device),
        discriminator=discriminator.to(device),
        lpips=None if lpips is None else lpips.to(device),
        image=nchw(example.image).to(device),
        mask=_tensor(example.mask).to(device),
        prior=_tensor(example.prior).to(device),
        latent=_tensor(example.latent).to(device),
        gan_image=nchw(example.gan_image).to(device),
        **statistics,
    )


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
    diffuse = scene.diffuse_shading(normal, light[:, 2:])
    return light[:, 0, None, None] + light[:, 1, None, None] * diffuse, diffuse


def _rendered(model: Model, depth: torch.Tensor, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sampling grid and valid pixels of sheets (N, S, S), each in its view."""
    camera = model.settings.camera
    warped = scene.warp_depth(depth, view, camera, sampling=model.settings.sampling)
    valid = (warped.detach() < camera.background_depth).to(warped.dtype)
    return scene.inverse_warped_grid(warped, view, camera), valid


def _lit(albedo: torch.Tensor, shading: torch.Tensor) -> torch.Tensor:
    return (albedo / 2 + 0.5) * shading[:, None] * 2 - 1


def _sampled(image: torch.Tensor, grid: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    return functional.grid_sample(image, grid, mode=mode, align_corners=True)


def _image_loss(model: Model, recon, target, mask) -> torch.Tensor:
    """Photometric and perceptual terms of each sheet's reconstructions (f n, 3, S, S) of n targets."""
    total, count = recon.new_zeros(()), len(target)
    for first in range(0, len(recon), count):
        part = recon[first : first + count]
        total = total + photometric(part, target, mask)
        masked = part * mask[:, None], target * mask[:, None]
        total = total + float(model.settings.lam_perc) * model.perceptual(*masked)
    return total


def input_loss(model: Model, *, flip: bool, moving: bool) -> tuple[torch.Tensor, Factors]:
    """Step 1: reconstruction of the input, and its factors.

    `moving` says whether depth, view and light are trained too, as in step 3.
    """
    settings, frames = model.settings, 2 if flip else 1
    with contextlib.nullcontext() if moving else torch.no_grad():
        depth = _with_mirror(scene.blend_border(model.depth(), settings.camera), flip)
        view, light = (value.expand(frames, -1) for value in (model.views(model.image), model.lights(model.image)))
        normal = scene.normals(depth, settings.camera, unit=settings.unit_normals)
        shading, diffuse = _shade(normal, light)
        grid, valid = _rendered(model, depth, view)
    albedo = _with_mirror(model.networks["albedo"](model.image), flip)
    recon = _sampled(_lit(albedo, shading), grid).clamp(-1, 1)
    loss = _image_loss(model, recon, model.image, valid.prod(0, keepdim=True))
    loss = loss + float(settings.lam_smooth) * (smoothness(depth) + smoothness(diffuse))
    mask = torch.ones_like(model.mask)
    if settings.use_mask:
        forward = scene.warped_grid(depth[:1].detach(), view[:1].detach(), settings.camera)
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
    view = scene.view_from_raw(views, settings.view_range)
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
    loss = photometric(projected, images, masks)
    loss = loss + feature_distance(model.discriminator(projected), image_features, masks)
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


def blank_samples(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples and masks for step 3 that cost the same as others: grey images, masks of ones."""
    settings, side = model.settings, model.settings.image_size
    images = torch.zeros(settings.sample_count, 3, side, side, device=model.device)
    return images, torch.ones(settings.sample_count, side, side, device=model.device)


class Training:
    """One step of one stage: fresh Adam with weight decay in the gradient, then one update per call."""

    def __init__(
        self, model: Model, step: str, *, flip: bool, samples: tuple[torch.Tensor, torch.Tensor] | None = None
    ):
        settings = model.settings
        self.model, self.step, self.flip = model, step, flip
        self.samples, self.place = samples or blank_samples(model), 0
        self.optimizer = torch.optim.Adam(
            model.focus(step),
            lr=float(settings.learning_rate),
            betas=(float(settings.beta1), float(settings.beta2)),
            eps=float(settings.eps),
            weight_decay=float(settings.weight_decay),
        )
        with torch.no_grad():
            self.factors = input_loss(model, flip=False, moving=False)[1].detached()

    def update(self) -> torch.Tensor:
        """Runs one iteration; returns the loss."""
        self.model.focus(self.step)
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def loss(self) -> torch.Tensor:
        """The loss of the next iteration, with its graph."""
        if self.step == "prior":
            return prior_loss(self.model)
        if self.step == "step1":
            loss, factors = input_loss(self.model, flip=self.flip, moving=False)
            self.factors = factors.detached()
            return loss
        if self.step == "step2":
            return step2_loss(self.model, *self.draw())[0]
        return step3_loss(self.model, *self.next_samples(), flip=self.flip)

    @torch.no_grad()
    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of pseudo-images and masks under drawn views and lights."""
        model, settings = self.model, self.model.settings
        count, device = settings.batch_size, model.device
        views = model.view_mean + torch.randn(count, 6, device=device) @ model.view_factor.T
        views[:, 1] *= float(settings.view_scale)
        x0, x1, y0, y1, r0, r1, _ = map(float, settings.rand_light)
        x, y, strength = (torch.empty(count, device=device).uniform_(*ends) for ends in ((x0, x1), (y0, y1), (r0, r1)))
        return pseudo_images(model, self.factors, views, torch.stack([x, y], 1), strength)

    @torch.no_grad()
    def collect(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch of projected samples for step 3."""
        images, masks = self.draw()
        return project(self.model, images)[0], masks

    def next_samples(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch of kept samples, reshuffled when fewer than a batch remain."""
        size, (images, masks) = self.model.settings.batch_size, self.samples
        if self.place + size > len(images):
            order = torch.randperm(len(images), device=images.device)
            self.samples, self.place = (images[order], masks[order]), 0
        part = slice(self.place, self.place + size)
        self.place += size
        return self.samples[0][part], self.samples[1][part]
