"""What the training steps need to know besides arrays: one frozen, hashable record.

Only this module and the set-up read the configuration; every step receives a `Settings` as a static
argument of its `jit`, so two runs with equal settings share compiled programs.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from gan2shape_jax.camera import Camera
from gan2shape_jax.factors import ViewRange
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["NetworkSizes", "Settings", "from_config"]


@dataclasses.dataclass(frozen=True)
class NetworkSizes:
    """Widths of the five networks (channels), resolved: no zeros."""

    width: int
    group_base: int
    zdim: int
    encoder_width: int


@dataclasses.dataclass(frozen=True)
class Settings:
    """Static settings of the method; see `configs/base.py` for meaning and units of each field."""

    camera: Camera
    view_range: ViewRange
    networks: NetworkSizes
    architecture: Architecture
    batch_size: int
    F1_d: int
    relative_enc: bool
    use_mask: bool
    add_mean_V: bool
    add_mean_L: bool
    view_scale: float
    rand_light: tuple[float, ...]
    perceptual: Literal["discriminator", "lpips"]
    lam_perc: float
    lam_smooth: float
    lam_regular: float
    learning_rate: float
    weight_decay: float
    beta1: float
    beta2: float
    eps: float
    collect_iters: int
    crop: int | None
    original_size: int
    # The published code's faults, reproduced together by `config.reference`.
    sampling: Literal["centred", "half"]
    unit_normals: bool
    skip_first_batch: bool

    @property
    def image_size(self) -> int:
        return self.camera.image_size

    @property
    def sample_count(self) -> int:
        """Projected samples kept for step 3."""
        return self.collect_iters * self.batch_size


def from_config(config, architecture: Architecture, *, original_size: int) -> Settings:
    """Reads a (validated) configuration.

    Args:
      config: the resolved `ml_collections` configuration.
      architecture: of the loaded GAN.
      original_size: side in pixels of the input image before cropping and resizing.

    Without cropping the original size decides nothing, and images of all sizes share compiled programs.
    """
    from gan2shape_jax import networks  # here: networks import flax, which tools reading settings need not

    size = config.image_size
    net = config.networks
    sizes = NetworkSizes(
        width=net.width or networks.default_width(size),
        group_base=net.group_base or networks.default_group_base(size),
        zdim=net.zdim,
        encoder_width=net.encoder_width)
    camera = Camera(
        image_size=size,
        fov_deg=config.camera.fov_deg,
        rot_center_depth=config.camera.rot_center_depth,
        min_depth=config.camera.min_depth,
        max_depth=config.camera.max_depth)
    view_range = ViewRange(
        rotation_deg=config.camera.xyz_rotation_range_deg,
        xy=config.camera.xy_translation_range,
        z=config.camera.z_translation_range)
    return Settings(
        camera=camera,
        view_range=view_range,
        networks=sizes,
        architecture=architecture,
        batch_size=config.sampling.batch_size,
        F1_d=config.gan.F1_d,
        relative_enc=config.gan.relative_enc,
        use_mask=config.schedule.use_mask,
        add_mean_V=config.sampling.add_mean_V,
        add_mean_L=config.sampling.add_mean_L,
        view_scale=config.sampling.view_scale,
        rand_light=tuple(float(x) for x in config.sampling.rand_light),
        perceptual=config.loss.perceptual,
        lam_perc=config.loss.lam_perc,
        lam_smooth=config.loss.lam_smooth,
        lam_regular=config.loss.lam_regular,
        learning_rate=config.optimizer.learning_rate,
        weight_decay=config.optimizer.weight_decay,
        beta1=config.optimizer.beta1,
        beta2=config.optimizer.beta2,
        eps=config.optimizer.eps,
        collect_iters=config.sampling.collect_iters,
        crop=config.data.crop or None,
        original_size=original_size if config.data.crop else size,  # matters only to cropping
        sampling="half" if config.reference else "centred",
        unit_normals=not config.reference,
        skip_first_batch=config.reference)
