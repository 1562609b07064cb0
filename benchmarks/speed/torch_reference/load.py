"""Our parameters and arrays as a `Model`: the same networks, GAN, image and statistics in PyTorch."""

from typing import Any

import numpy as np
import torch
from torch import nn

from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Example
from gan2shape_jax.training.network_files import params_to_torch

from . import losses, networks, stylegan2
from .model import Model, Ways


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
        state = params_to_torch(module, params[name])
        modules[name].load_state_dict({key: _tensor(value) for key, value in state.items()})
    return modules


def model_of(
    params: models.Params,
    example: Example,
    frozen: FrozenModels,
    settings: Settings,
    *,
    ways: Ways = Ways(),  # noqa: B008, a frozen record
    device: str = "cpu",
) -> Model:
    """Copies everything that the steps work on.

    Raises:
      ValueError: the GAN is of a kind that the reference does not support.
    """
    generator = stylegan2.Generator(frozen.generator, settings.architecture, grouped=ways.grouped)
    discriminator = stylegan2.Discriminator(frozen.discriminator, settings.architecture)
    lpips = losses.Lpips(frozen.distances["lpips"]) if settings.perceptual == "lpips" else None
    form = torch.channels_last if ways.channels_last else torch.contiguous_format

    def placed(module: Any) -> Any:
        return module.to(device=device, memory_format=form)

    def image(array: Any) -> torch.Tensor:
        return nchw(array).to(device=device, memory_format=form)

    statistics = {
        name: _tensor(getattr(frozen, name)).to(device)
        for name in ("view_mean", "view_factor", "light_mean", "center_h", "center_w")
    }
    return Model(
        settings=settings,
        ways=ways,
        networks=placed(networks_of(params, settings)),
        generator=placed(generator),
        discriminator=placed(discriminator),
        lpips=None if lpips is None else placed(lpips),
        image=image(example.image),
        mask=_tensor(example.mask).to(device),
        prior=_tensor(example.prior).to(device),
        latent=_tensor(example.latent).to(device),
        gan_image=image(example.gan_image),
        **statistics,
    )
