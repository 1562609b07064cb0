"""From a picture to its labels, and from labels to an object mask.

Pictures are `(S, S, 3)` in [-1, 1], labels `(side, side)`, masks `(S, S)` in [0, 1]. Sources: GAN2Shape's
published implementation; He et al. for ImageNet's statistics.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from gan2shape_jax.geometry import resample
from gan2shape_jax.io.categories import Parser
from gan2shape_jax.io.parsing.architecture import Architecture
from gan2shape_jax.io.parsing.bisenet import bisenet_logits
from gan2shape_jax.io.parsing.operations import Params
from gan2shape_jax.io.parsing.pspnet import pspnet_logits

__all__ = ["find_labels", "logits", "mask_of_labels", "prepare"]

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def logits(params: Params, images: Float[Array, "n s s 3"], arch: Architecture) -> Float[Array, "n s s classes"]:
    """Returns the score of each label at each pixel of pictures made by `prepare`."""
    network = bisenet_logits if arch.family == "bisenet" else pspnet_logits
    return network(params, images, arch)


def prepare(images: Float[Array, "n s s 3"], side: int, *, normalize: bool) -> Float[Array, "n side side 3"]:
    """Returns pictures as a parser takes them: resized, and normalised by ImageNet's statistics if requested."""
    images = resample.resize(images, side)
    if normalize:
        images = (images / 2 + 0.5 - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)
    return images


@functools.partial(jax.jit, static_argnames=("arch", "side", "normalize"))
def _labels(params: Params, images: jax.Array, *, arch: Architecture, side: int, normalize: bool) -> jax.Array:
    scores = logits(params, prepare(images, side, normalize=normalize), arch)
    return jnp.argmax(scores, axis=-1).astype(jnp.uint8)


def find_labels(
    params: Params,
    image: Float[Array | np.ndarray, "s s 3"],
    arch: Architecture,
    *,
    side: int,
    normalize: bool,
) -> UInt8[np.ndarray, "side side"]:
    """Returns the most likely label of each pixel in a picture enlarged to `side` pixels.

    Args:
        params: from `load_parser`.
        image: the picture, in [-1, 1].
        arch: the parser's architecture.
        side: pixels; a multiple of 32 for BiSeNet, one more than a multiple of 8 for PSPNet.
        normalize: see `Parser`.
    """
    images = jnp.asarray(image, jnp.float32)[None]
    return np.asarray(_labels(params, images, arch=arch, side=side, normalize=normalize)[0])


def mask_of_labels(labels: UInt8[np.ndarray, "h h"], parser: Parser, size: int) -> Float[np.ndarray, "size size"]:
    """Returns the object mask from labels: each label's value, averaged over areas if the mask is smaller."""
    values = parser.table()[labels]
    mask = resample.resize(jnp.asarray(values)[..., None], size)[..., 0]
    return np.clip(np.asarray(mask), 0, 1)
