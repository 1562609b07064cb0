"""A GAN's own samples as training images: each is determined by a seed and its number, and has an exact latent code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan2shape_jax.method import projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem

__all__ = ["SampleMaker", "name_of"]

Mask = Float[np.ndarray, "s s"]
_TOGETHER = 8  # samples drawn by one call


def name_of(number: int) -> str:
    """Returns a sample's name in histories and pictures."""
    return f"sample-{number:06d}"


@dataclasses.dataclass(frozen=True)
class SampleMaker:
    """Draws samples of a GAN.

    Attributes:
      frozen: the frozen networks; latents are truncated towards `mean_w`.
      settings: of the method; `truncation`, psi in (0, 1], controls how varied the samples are.
      mask_of: maps a sample's image (S, S, 3) to its object mask (S, S).
      prior_of: maps an object mask to the depth (S, S) that training starts from.
      key: the random key from which all samples are derived.
    """

    frozen: FrozenModels
    settings: Settings
    mask_of: Callable[[Float[np.ndarray, "s s 3"]], Mask]
    prior_of: Callable[[Mask], Float[np.ndarray, "s s"]]
    key: jax.Array

    def images(self, numbers: Sequence[int]) -> tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n w"]]:
        """Returns the samples' images and their latents in W."""
        parts = []
        for start in range(0, len(numbers), _TOGETHER):
            some = jnp.asarray(numbers[start : start + _TOGETHER])
            whole = jnp.pad(some, (0, _TOGETHER - len(some)))  # compiles one program only
            drawn = _draw(self.key, whole, self.frozen, settings=self.settings)
            parts.append([np.asarray(part)[: len(some)] for part in drawn])
        images, latents = map(np.concatenate, zip(*parts, strict=True))
        return images, latents

    def problems(self, numbers: Sequence[int]) -> list[PreparedImage]:
        """Returns samples ready to be trained on."""
        images, latents = self.images(numbers)
        return [
            self._problem(number, image, latent) for number, image, latent in zip(numbers, images, latents, strict=True)
        ]

    def _problem(self, number: int, image: np.ndarray, latent: np.ndarray) -> PreparedImage:
        mask = self.mask_of(image)
        picture = jnp.asarray(image)[None]
        problem = Problem(
            image=picture,
            mask=jnp.asarray(mask, jnp.float32),
            latent=jnp.asarray(latent)[None],
            gan_image=picture,  # exact: the latent is known
            prior=jnp.asarray(self.prior_of(mask), jnp.float32),
            true_depth=None,
            key=jax.random.fold_in(jax.random.fold_in(self.key, 1), number),
        )
        return PreparedImage(name=name_of(number), problem=problem, settings=self.settings, inversion_l1=0.0)


@jax.jit
def _draw(
    key: jax.Array, numbers: jax.Array, frozen: FrozenModels, *, settings: Settings
) -> tuple[jax.Array, jax.Array]:
    """Returns the images and latents of the numbered samples, each drawn with its own key."""
    own, width = jax.random.fold_in(key, 0), settings.architecture.style_dim
    z = jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(own, number), (width,)))(numbers)
    return projection.sample(z, frozen, settings)
