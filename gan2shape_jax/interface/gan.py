"""A pretrained StyleGAN2 as an object: random images with their latents, and the image of any latent."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.interface import arguments
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.run import loading, xla_flags
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.stylegan2.random_images import batch_size, random_images

__all__ = ["Gan", "load_gan"]

_synthesize = jax.jit(stylegan2.synthesize, static_argnames="arch")


def load_gan(path: str | os.PathLike[str]) -> Gan:
    """Loads a StyleGAN2 written by `gan2shape-jax convert` (.safetensors).

    Raises:
      UserError: the file is missing, damaged or of another format; the message says how to convert it.
    """
    xla_flags.avoid_wrong_sums()
    architecture, weights = stylegan2.load(path)
    return Gan(architecture, weights, os.fspath(path))


@dataclasses.dataclass(frozen=True, eq=False)
class Gan:
    """A generator with its discriminator; made by `load_gan`.

    Attributes:
      architecture: its sizes, a static argument of the functions in `gan2shape_jax.stylegan2`.
      weights: `generator` and `discriminator`, the parameters that those functions take.
      file: the file it was read from; "" if none.
    """

    architecture: Architecture
    weights: dict[str, Any]
    file: str = ""

    def __repr__(self) -> str:
        return f"Gan({self.size} x {self.size} pixels, latents of {self.style_dim})"

    @property
    def size(self) -> int:
        """Side of its images, pixels."""
        return self.architecture.size

    @property
    def style_dim(self) -> int:
        """Length W of a latent."""
        return self.architecture.style_dim

    @functools.cached_property
    def mean_latent(self) -> Float[np.ndarray, "w"]:
        """The mean latent (W,), whose image is the most typical one; always the same for a given GAN."""
        return np.asarray(loading.mean_latent(self.weights, self.architecture))[0]

    def sample(
        self, key: jax.Array | int, count: int = 1, *, truncation: float = 1.0
    ) -> tuple[UInt8[np.ndarray, "n s s 3"], Float[np.ndarray, "n w"]]:
        """Samples random images and their latents.

        Args:
          key: a `jax.random` key, or a seed. Image i depends only on the key and i, whatever the count.
          count: how many.
          truncation: in (0, 1]: how far latents stray from the mean; smaller values give more typical, less varied
            images.

        Returns:
          Images (count, size, size, 3), uint8, and latents (count, W), float32.

        Raises:
          ArgumentError: a count below 1, or a truncation out of range.
        """
        if count < 1:
            raise ArgumentError(f"count is {count}: 1 or more are possible")
        if not 0 < truncation <= 1:
            raise ArgumentError(f"truncation is {truncation}: it has to be more than 0 and at most 1")
        images, latents = random_images(
            jax.random.key(key) if isinstance(key, int) else key,
            self.weights["generator"],
            arch=self.architecture,
            count=count,
            truncation=truncation,
            mean=jnp.asarray(self.mean_latent)[None],
        )
        return to_uint8(images), latents

    def synthesize(self, latents: ArrayLike) -> UInt8[np.ndarray, "n s s 3"]:
        """Generates the images of latents.

        Args:
          latents: (n, W), or (n, L, W) with a style for each of the generator's L layers (W+).

        Returns:
          Images (n, size, size, 3), uint8.

        Raises:
          ArgumentError: latents of another shape.
        """
        w = arguments.as_array(latents, "latents").astype(np.float32)
        layers = self.architecture.latents
        if w.ndim not in (2, 3) or not len(w) or w.shape[1:] not in ((self.style_dim,), (layers, self.style_dim)):
            raise ArgumentError(
                f"latents have the shape {w.shape}: (n, {self.style_dim}) or (n, {layers}, {self.style_dim}) is needed"
            )
        batch = batch_size(self.architecture)
        filled = np.concatenate([w, np.repeat(w[-1:], -len(w) % batch, axis=0)])  # whole batches: one program for all
        images = [
            np.asarray(_synthesize(self.weights["generator"], filled[start : start + batch], arch=self.architecture))
            for start in range(0, len(w), batch)
        ]
        return to_uint8(np.concatenate(images)[: len(w)])
