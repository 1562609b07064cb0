"""The static settings of the training steps: one frozen, hashable record.

Only this module and the set-up read the configuration; every step receives a `Settings` as a static
argument of its `jit`, so two runs with equal settings share compiled programs.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
from ml_collections import ConfigDict

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method.factors import ViewRange
from gan2shape_jax.networks.precision import Precision, chosen
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["NetworkSizes", "Settings", "from_config"]


@dataclasses.dataclass(frozen=True)
class NetworkSizes:
    """Widths of the five networks (channels), resolved; only `view_light_width` may be 0, meaning `width`."""

    width: int
    group_base: int
    zdim: int
    encoder_width: int
    view_light_width: int = 0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Static settings of the method; see `configs/base.py` for the meaning and units of each field."""

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
    # False in an ablation and in a lift: the encoder's output is the offset, bypassing the mapping network.
    regularize_offset: bool = True
    precision: Precision = "float32"
    # Iterations over which the learning rate rises at the start of every step; 0 as published.
    warmup_iterations: int = 0
    # Weight of the distance of step 3's depth from `Problem.prior`, which is the model's depth in a refinement.
    hold_shape: float = 0.0
    # For a lift: fresh GAN samples per iteration of the inversion step, and their truncation.
    fresh_samples: int = 0
    truncation: float = 1.0
    # For the anchored step: iterations and learning rate of the search for each projected sample's latent; weights of
    # the distances from the views and lights that pseudo-images were drawn with.
    latent_iterations: int = 0
    latent_learning_rate: float = 0.0
    anchor_view: float = 0.0
    anchor_light: float = 0.0
    # For a lift's step 3 without an anchor: iterations and learning rate of each image's own encoder; 0 iterations: use
    # the encoder that all images share.
    own_encoder_iterations: int = 0
    encoder_learning_rate: float = 0.0

    @property
    def image_size(self) -> int:
        """Side of the input image in pixels."""
        return self.camera.image_size

    @property
    def sample_count(self) -> int:
        """Projected samples kept for step 3."""
        return self.collect_iters * self.batch_size


def from_config(config: ConfigDict, architecture: Architecture, *, original_size: int) -> Settings:
    """Returns the settings of a (validated) configuration.

    Args:
      config: the resolved `ml_collections` configuration.
      architecture: of the loaded GAN.
      original_size: side in pixels of the input image before cropping and resizing.

    Without cropping, the original size has no effect, and images of all sizes share compiled programs.
    """
    return Settings(
        camera=_camera(config),
        view_range=_view_range(config),
        networks=_networks(config),
        architecture=architecture,
        original_size=original_size if config.data.crop else config.image_size,  # matters only to cropping
        crop=config.data.crop or None,
        use_mask=config.schedule.use_mask,
        F1_d=config.gan.F1_d,
        relative_enc=config.gan.relative_enc,
        regularize_offset=config.gan.regularize_offset,
        precision=chosen(config.runtime.precision, jax.devices()[0].platform),
        hold_shape=config.refinement.hold_shape if config.mode == "instance" and config.networks.pretrained else 0.0,
        **_sampling(config),
        **_losses(config),
        **_optimizer(config),
        **_faults(config),
    )


def _camera(config: ConfigDict) -> Camera:
    camera = config.camera
    return Camera(
        image_size=config.image_size,
        fov_deg=camera.fov_deg,
        rot_center_depth=camera.rot_center_depth,
        min_depth=camera.min_depth,
        max_depth=camera.max_depth,
    )


def _view_range(config: ConfigDict) -> ViewRange:
    camera = config.camera
    return ViewRange(
        rotation_deg=camera.xyz_rotation_range_deg, xy=camera.xy_translation_range, z=camera.z_translation_range
    )


def _networks(config: ConfigDict) -> NetworkSizes:
    """Returns the networks' widths, with the zeros that mean "as published" resolved."""
    from gan2shape_jax import networks  # here: it imports flax, which not all users of settings need

    size, net = config.image_size, config.networks
    return NetworkSizes(
        width=net.width or networks.default_width(size),
        group_base=net.group_base or networks.default_group_base(size),
        zdim=net.zdim,
        encoder_width=net.encoder_width,
        view_light_width=net.view_light_width,
    )


def _sampling(config: ConfigDict) -> dict[str, Any]:
    sampling = config.sampling
    return {
        "batch_size": sampling.batch_size,
        "collect_iters": sampling.collect_iters,
        "add_mean_V": sampling.add_mean_V,
        "add_mean_L": sampling.add_mean_L,
        "view_scale": sampling.view_scale,
        "rand_light": tuple(float(x) for x in sampling.rand_light),
    }


def _losses(config: ConfigDict) -> dict[str, Any]:
    loss = config.loss
    return {
        "perceptual": loss.perceptual,
        "lam_perc": loss.lam_perc,
        "lam_smooth": loss.lam_smooth,
        "lam_regular": loss.lam_regular,
    }


def _optimizer(config: ConfigDict) -> dict[str, Any]:
    adam = config.optimizer
    return {
        "learning_rate": adam.learning_rate,
        "weight_decay": adam.weight_decay,
        "beta1": adam.beta1,
        "beta2": adam.beta2,
        "eps": adam.eps,
    }


def _faults(config: ConfigDict) -> dict[str, Any]:
    """Returns the published code's faults, which `config.reference` switches on together."""
    return {
        "sampling": "half" if config.reference else "centred",
        "unit_normals": not config.reference,
        "skip_first_batch": config.reference,
    }
