"""The frozen models of a run: the GAN, the perceptual network, and the view and light statistics.

Frozen arrays are arguments of every step, never globals, so that a compiled program serves any GAN of
the same architecture. Views and lights are in network units (see `factors`).
"""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import stylegan2
from gan2shape_jax.stylegan2 import Architecture


@flax.struct.dataclass
class FrozenModels:
    """Arrays that no step changes."""

    view_mean: jax.Array  # (6,)
    light_mean: jax.Array  # (4,)
    # parameters of perceptual distances, by name
    distances: Mapping[str, Any] = flax.struct.field(default_factory=dict)
    mean_w: Any = None  # (1, W) for truncation, or None
    # None where there is no GAN:
    generator: Any = None  # parameters of StyleGAN2's generator
    discriminator: Any = None  # and of its discriminator
    view_factor: Any = None  # (6, 6) with covariance view_factor view_factor^T
    center_h: Any = None  # (1, W), the mapping network's hidden value where offsets enter it, F1(0)
    center_w: Any = None  # (1, W), the mapping network at zero, F(0)
    landmarks: Any = None  # (k, 3) where they are on the model's mean shape, canonical frame, scene units; or None
    pose_edit: Any = None  # `LatentPoseEdit`: projected samples are the GAN's own turned pictures; None: projections


def build(
    weights: dict[str, Any],
    architecture: Architecture,
    *,
    view_mvn: tuple[np.ndarray, np.ndarray],
    light_mvn: tuple[np.ndarray, np.ndarray],
    F1_d: int,
    distances: Mapping[str, Any] | None = None,
    mean_w: jax.Array | None = None,
) -> FrozenModels:
    """Collects the frozen arrays; `weights` are those of `generator` and `discriminator`, the GAN's.

    `view_mvn` and `light_mvn` are means and covariances. `F1_d` is the number of the mapping network's last modules
    that regularise an offset, minus one. `distances` has the parameters of the perceptual distances that need some,
    `mean_w` is given if latents are truncated.
    """
    origin = jnp.zeros((1, architecture.style_dim))
    entry = architecture.mapping_layers - F1_d
    generator = weights["generator"]
    mean, covariance = (np.asarray(a, np.float64) for a in view_mvn)
    values, vectors = np.linalg.eigh(covariance)  # unlike Cholesky, takes semi-definite matrices
    factor = vectors * np.sqrt(np.clip(values, 0.0, None))
    return FrozenModels(
        generator=generator,
        discriminator=weights["discriminator"],
        distances=distances or {},
        view_mean=jnp.asarray(mean, jnp.float32),
        view_factor=jnp.asarray(factor, jnp.float32),
        light_mean=jnp.asarray(light_mvn[0], jnp.float32),
        mean_w=mean_w,
        center_h=stylegan2.map_styles(generator, origin, arch=architecture, last=entry),
        center_w=stylegan2.map_styles(generator, origin, arch=architecture),
    )
