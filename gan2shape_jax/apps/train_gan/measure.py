"""How far samples are from photos: the kernel distance of features (KID, Binkowski et al., 2018), unbiased.

Features are those of a network that the user provides as ONNX, such as Inception without its classifier, or else those
of another GAN's discriminator, averaged over each picture. The second kind may or may not rank states of one training
as KID does, and its numbers are not KID's: it is called "discriminator distance".
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, UInt8

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.evaluate.embedding import Preparation, load_embedding
from gan2shape_jax.apps.train_gan.training import to_pixels
from gan2shape_jax.errors import UserError
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.latents import random_images_in_parts

_TOGETHER = 32
_DEGREE = 3


class Features(NamedTuple):
    """What pictures are compared by.

    Attributes:
      name: the distance's name, as printed and plotted.
      of: from pictures (n, s, s, 3) uint8 to vectors (n, d).
    """

    name: str
    of: Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, "n d"]]


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Returns the unbiased squared distance of two sets of two vectors or more under the kernel (x.y / d + 1)^3."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** _DEGREE

    def within(x: np.ndarray) -> float:
        values, count = kernel(x, x), len(x)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def drawn_samples(
    key: PRNGKeyArray, arch: Architecture, generator: Params, *, count: int
) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns untruncated samples of a generator; the same for the same key."""
    nothing = jnp.zeros((1, arch.style_dim))
    parts = random_images_in_parts(key, generator, arch=arch, count=count, truncation=1.0, mean=nothing)
    return np.concatenate([to_uint8(images) for images, _ in parts])


def load_features(path: pathlib.Path, *, side: int = 0) -> Features:
    """Returns the features defined by a file: a network (.onnx), or a GAN whose discriminator is used (.safetensors).

    An ONNX network takes RGB pictures in [-1, 1], of `side` pixels if its input does not say so, and returns a vector
    for each. Raises `UserError` for other files.
    """
    if path.suffix.lower() == ".onnx":
        try:
            embed = load_embedding(path, Preparation(size=side))
        except UserError as error:
            raise UserError(str(error).replace("--size", "--features-side")) from error
        return Features("KID", lambda pictures: embed(pictures / np.float32(127.5) - 1))
    arch, params = stylegan2.load(path)

    averaged = functools.partial(_averaged, params["discriminator"], arch=arch)
    return Features(
        "discriminator distance", lambda pictures: np.asarray(in_batches(averaged, pictures, size=_TOGETHER))
    )


@functools.partial(jax.jit, static_argnames="arch")
def _averaged(params: Params, pictures: jax.Array, *, arch: Architecture) -> jax.Array:
    side = arch.discriminator_size
    images = to_pixels(pictures)
    if images.shape[1] != side:
        images = jax.image.resize(images, (len(images), side, side, 3), "linear")
    maps = stylegan2.discriminator_features(params, images, arch=arch)
    return jnp.concatenate([jnp.mean(x, axis=(1, 2)) for x in maps], axis=1)
