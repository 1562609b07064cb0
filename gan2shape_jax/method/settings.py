"""What a configuration says to the method, as one record.

Only this module and the set-up read the configuration; every step receives `Settings`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method.factors import ViewRange
from gan2shape_jax.networks.precision import Precision, chosen
from gan2shape_jax.stylegan2 import Architecture

__all__ = ["NetworkSizes", "Settings", "changed", "from_config", "same"]


@dataclasses.dataclass(frozen=True)
class NetworkSizes:
    """Widths of the five networks (channels), resolved; only `view_light_width` may be 0, meaning `width`."""

    width: int
    group_base: int
    zdim: int
    encoder_width: int
    view_light_width: int = 0


def _shaping(default: Any = dataclasses.MISSING) -> Any:
    """Returns a field that is part of the tree's structure: it shapes programs."""
    given = {} if default is dataclasses.MISSING else {"default": default}
    return flax.struct.field(pytree_node=False, **given)  # type: ignore[no-untyped-call]


@flax.struct.dataclass
class Settings:
    """The settings of the method as one pytree; see `configs/base.py` for the meaning and units of each field.

    What shapes a program (sizes, the camera, the architecture, flags) is its structure. Weights of the losses, rates of
    the optimiser and ranges of what is drawn are its leaves, float32 arrays: other ones compile nothing.
    """

    view_range: ViewRange
    view_scale: Any
    rand_light: Any  # (7,)
    lam_perc: Any
    lam_smooth: Any
    lam_regular: Any
    learning_rate: Any
    weight_decay: Any
    beta1: Any
    beta2: Any
    eps: Any
    camera: Camera = _shaping()
    networks: NetworkSizes = _shaping()
    architecture: Architecture = _shaping()
    batch_size: int = _shaping()
    F1_d: int = _shaping()
    relative_enc: bool = _shaping()
    use_mask: bool = _shaping()
    add_mean_V: bool = _shaping()
    add_mean_L: bool = _shaping()
    perceptual: Literal["discriminator", "lpips"] = _shaping()
    collect_iters: int = _shaping()
    crop: int | None = _shaping()
    original_size: int = _shaping()
    # The published code's faults, reproduced together by `config.reference`.
    sampling: Literal["centred", "half"] = _shaping()
    unit_normals: bool = _shaping()
    skip_first_batch: bool = _shaping()
    # False in an ablation and in a lift: the encoder's output is the offset, bypassing the mapping network.
    regularize_offset: bool = _shaping(True)
    precision: Precision = _shaping("float32")
    # The terms of step 3 and of the anchored step that are computed: names of those below whose weights are positive.
    optional_terms: tuple[str, ...] = _shaping(())
    # Weight of the distance of step 3's depth from `Problem.prior`, which is the model's depth in a refinement.
    hold_shape: Any = 0.0
    # For the anchored step: weights of the distances from the views and lights that pseudo-images were drawn with.
    anchor_view: Any = 0.0
    anchor_light: Any = 0.0
    # Iterations over which the learning rate rises at the start of every step; 0 as published.
    warmup_iterations: Any = 0.0
    # For a lift: fresh GAN samples per iteration of the inversion step, and their truncation.
    fresh_samples: int = _shaping(0)
    truncation: Any = 1.0
    # For the anchored step: iterations and learning rate of the search for each projected sample's latent.
    latent_iterations: int = _shaping(0)
    latent_learning_rate: Any = 0.0
    # For a lift's step 3 without an anchor: iterations and learning rate of each image's own encoder; 0 iterations: use
    # the encoder that all images share.
    own_encoder_iterations: int = _shaping(0)
    encoder_learning_rate: Any = 0.0

    @property
    def image_size(self) -> int:
        """Side of the input image in pixels."""
        return self.camera.image_size

    @property
    def sample_count(self) -> int:
        """Projected samples kept for step 3."""
        return self.collect_iters * self.batch_size


_OPTIONAL = ("hold_shape", "anchor_view", "anchor_light")


def changed(settings: Settings, **fields: Any) -> Settings:
    """Returns the settings with other values of these fields; numbers of leaves become float32 arrays."""
    given = dataclasses.replace(settings, **fields)
    terms = tuple(
        name for name in _OPTIONAL if fields.get(name, 0) or (name in given.optional_terms and name not in fields)
    )
    leaves, structure = jax.tree.flatten(
        dataclasses.replace(given, optional_terms=terms), is_leaf=lambda leaf: isinstance(leaf, (tuple, list))
    )
    result: Settings = jax.tree.unflatten(structure, [jnp.asarray(leaf, jnp.float32) for leaf in leaves])
    return result


def same(first: Settings, second: Settings) -> bool:
    """Whether two settings are equal in everything."""
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    alike: bool = jax.tree.structure(first) == jax.tree.structure(second)  # type: ignore[operator]
    return alike and all(np.array_equal(one, other) for one, other in leaves)


def from_config(config: ConfigDict, architecture: Architecture, *, original_size: int) -> Settings:
    """Returns the settings of a (validated) configuration.

    Args:
      config: the resolved `ml_collections` configuration.
      architecture: of the loaded GAN.
      original_size: side in pixels of the input image before cropping and resizing.

    Without cropping, the original size has no effect, and images of all sizes share compiled programs.
    """
    settings = Settings(
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
        **_sampling(config),
        **_losses(config),
        **_optimizer(config),
        **_faults(config),
    )
    held = config.refinement.hold_shape if config.mode == "instance" and config.networks.pretrained else 0.0
    return changed(settings, hold_shape=held)


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
