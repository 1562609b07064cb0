"""Axes of a GAN's latent space along which its mirror images lie: they turn an object, and move its light sideways.

The mirror image of a sample is nearly the sample of another latent. A ridge regression from the discriminator's
features to latents in W estimates both latents; what they differ by has few dimensions, since most of what makes an
object is the same in its mirror image. The principal ones are odd under mirroring: yaw and the light's side, so that an
object half-way looks straight ahead. No label, rendering or network besides the GAN is needed.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax.errors import UserError
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.discriminator import discriminator_features
from gan2shape_jax.stylegan2.generator import synthesize
from gan2shape_jax.stylegan2.latents import batch_size, sample_w

AXES = 2
_BLOCKS = 4  # of the discriminator, the deepest
_CELLS = 4  # features are averages over as many rows and columns of cells
_RIDGE = 0.03  # on standardised features and latents
Latents = Float[Any, "n *layers w"]


@flax.struct.dataclass
class FlipSubspace:
    """Coordinates that a picture's mirror image has with the opposite sign, in standard deviations over samples."""

    axes: Float[Array, "k w"]  # what one unit of a coordinate adds to a latent
    dual_basis: Float[Array, "k w"]  # what reads a coordinate from a latent, less the centre: dual_basis @ axes.T = 1
    centre: Float[Array, "w"]  # a latent whose coordinates are zero

    def coordinates(self, latents: Latents) -> Float[Array, "n k"]:
        """Returns the coordinates of latents in W, or W+, where they are those of the mean over the layers."""
        flat = jnp.asarray(latents).reshape(len(latents), -1, len(self.centre)).mean(axis=1)
        return (flat - self.centre) @ self.dual_basis.T

    def with_coordinates(self, latents: Latents, values: Float[Any, "n k"]) -> Latents:
        """Returns latents that are moved along the axes until they have these coordinates; NaN leaves one as it is."""
        step = jnp.where(jnp.isnan(values), 0, values - self.coordinates(latents)) @ self.axes
        return jnp.asarray(latents) + step.reshape(len(step), *(1,) * (jnp.ndim(latents) - 2), -1)

    def turned(self, mixing: Float[Any, "k k"], latents: Latents) -> "FlipSubspace":
        """Returns one with the coordinates `coordinates @ mixing`, rescaled to deviations over the latents."""
        mixed = mixing / jnp.std(self.coordinates(latents) @ mixing, axis=0)
        return FlipSubspace(jnp.linalg.inv(mixed) @ self.axes, mixed.T @ self.dual_basis, self.centre)


def find(key: PRNGKeyArray, params: Params, *, arch: Architecture, samples: int) -> FlipSubspace:
    """Finds `AXES` axes of a GAN, generator and discriminator, from samples of it; the strongest is the first.

    More than 4,096 samples do not improve the axes.

    Raises:
      UserError: there is no discriminator.
    """
    if not params["discriminator"]:
        raise UserError("the GAN's file has no discriminator, which is needed to find the latents of mirror images")
    latents = sample_w(key, params["generator"], arch=arch, samples=samples)
    plain, mirrored = in_batches(functools.partial(_features, params, arch=arch), latents, size=batch_size(arch))
    mean, deviation = plain.mean(axis=0), plain.std(axis=0)
    scale = (deviation + 1e-3 * deviation.mean()) * np.sqrt(plain.shape[1])
    for features in (plain, mirrored):
        features -= mean
        features /= scale
    middle, unit = latents.mean(axis=0), latents.std(axis=0)
    standardized = (latents - middle) / unit
    # A ridge regression in its dual form: the features outnumber the samples.
    gram = plain @ plain.T + _RIDGE * np.eye(len(plain), dtype=np.float32)
    estimate = plain.T @ np.linalg.solve(gram, standardized)
    first, second = plain @ estimate, mirrored @ estimate
    odd, even = (first - second) / 2, (first + second) / 2
    axes = np.linalg.eigh(odd.T @ odd)[1][:, ::-1][:, :AXES]
    centre = even.mean(axis=0)
    values, away = odd @ axes, standardized - centre
    cov = away.T @ away / len(away) + _RIDGE * np.eye(away.shape[1])
    dual_basis = np.linalg.solve(cov, away.T @ values / len(away))
    dual_basis = dual_basis @ np.linalg.inv(axes.T @ dual_basis)
    parts = axes.T * unit, dual_basis.T / unit, centre * unit + middle
    subspace = FlipSubspace(*map(jnp.asarray, parts))
    return subspace.turned(np.eye(AXES), latents)


@functools.partial(jax.jit, static_argnames="arch")
def _features(params: Params, latents: Float[Array, "n w"], *, arch: Architecture) -> tuple[Array, Array]:
    """Returns features (n, f) of the latents' images, and of their mirror images."""
    images = jnp.clip(synthesize(params["generator"], latents, arch=arch), -1, 1)
    return _of_images(params, images, arch), _of_images(params, images[:, :, ::-1], arch)


def _of_images(params: Params, images: Float[Array, "n s s 3"], arch: Architecture) -> Float[Array, "n f"]:
    count, parts = len(arch.discriminator_channels), []
    for block in discriminator_features(params["discriminator"], images, arch=arch, count=count)[-_BLOCKS:]:
        cells = min(_CELLS, block.shape[1])
        split = block.reshape(len(images), cells, block.shape[1] // cells, cells, -1, block.shape[-1])
        parts.append(split.mean(axis=(2, 4)).reshape(len(images), -1))
    return jnp.concatenate(parts, axis=1)
