"""What the steps work on: the networks, the frozen GAN, one image's arrays; and how to run them."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from gan2shape_jax.method.schedule import STEPS
from gan2shape_jax.method.settings import Settings

from . import geometry, losses
from .losses import Lpips
from .stylegan2 import Discriminator, Generator


@dataclasses.dataclass(frozen=True)
class Ways:
    """Alternative ways to compute the same function; the defaults are the fastest on the CPU measured.

    Attributes:
      published: gradients as the published code computes them: of all networks in every step, including generator and
        discriminator, used or not. Otherwise only of the networks that a step optimises.
      grouped: modulated convolutions with as many groups as images, as published; otherwise styles applied to features.
      channels_last: the memory format of features and kernels.
      fused: Adam as one kernel; otherwise PyTorch's default.
    """

    published: bool = False
    grouped: bool = False
    channels_last: bool = False
    fused: bool = False

    @classmethod
    def as_published(cls) -> Ways:
        """The published code's ways."""
        return cls(published=True, grouped=True)


@dataclasses.dataclass
class Model:
    """Networks and arrays; `load.model_of` makes one.

    Attributes:
      networks: the five networks, by `models.NAMES`.
      generator, discriminator, lpips: frozen; lpips is None if the discriminator provides the perceptual distance.
      image: (1, 3, S, S); mask, prior: (S, S); latent: (1, W) or (1, L, W); gan_image: (1, 3, S, S).
      view_mean, view_factor, light_mean, center_h, center_w: as in `method.frozen.FrozenModels`.
    """

    settings: Settings
    ways: Ways
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
            module.requires_grad_(self.ways.published)
        active = [self.networks[name] for name in STEPS[step].networks]
        for module in active:
            module.requires_grad_(True)
        return [parameter for module in active for parameter in module.parameters()]

    def depth(self) -> torch.Tensor:
        """The input's canonical depth (1, S, S), without blending of the border."""
        return geometry.depth_from_raw(self.networks["depth"](self.image)[:, 0], self.settings.camera)

    def views(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 6) in radians and scene units."""
        raw = self.networks["view"](images).flatten(1)
        raw = raw + self.view_mean if self.settings.add_mean_V else raw
        return geometry.view_from_raw(raw, self.settings.view_range)

    def lights(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 4) ambient, diffuse, dx, dy."""
        raw = self.networks["light"](images).flatten(1)
        return geometry.light_from_raw(raw + self.light_mean if self.settings.add_mean_L else raw)

    def perceptual(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The perceptual distance of masked images to targets."""
        if self.lpips is not None:
            return self.lpips(a, b).mean()
        with torch.no_grad():
            target = self.discriminator(b)
        return losses.discriminator_distance(self.discriminator(a), target)
