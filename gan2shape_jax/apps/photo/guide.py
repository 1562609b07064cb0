"""What framing and masking photos relies on: learned once from a GAN's own samples, and kept in a file.

One safetensors file (`stylegan2.typicality` says where): `alignment/...` is the alignment network, `typicality/...`
what the discriminator sees in samples, `usual_mask` how often the object covers each pixel. A bundled GAN has its guide
next to it; for any other GAN it is made when first needed.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, UInt8

from gan2shape_jax.apps.photo import framing
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import atomic_bytes, sha256
from gan2shape_jax.io.found_masks import usual_mask
from gan2shape_jax.method.models import Params
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results.pictures import to_uint8
from gan2shape_jax.stylegan2 import Architecture, typicality, typicality_measure
from gan2shape_jax.stylegan2.latents import random_images
from gan2shape_jax.stylegan2.typicality import Typicality, cached_at
from gan2shape_jax.training.network_files import in_order

_NETWORK, _MASK = "alignment/", "usual_mask"
_SEED = 0
_SAMPLES, _MASKED = 2048, 96  # samples used in all, and for the usual mask


class Guide(NamedTuple):
    """What framing and masking photos relies on."""

    alignment: Params
    typicality: Typicality  # scores crops of `framing.SIDE` pixels
    usual_mask: Float[np.ndarray, "s s"]  # how often the object covers each pixel of the GAN's pictures, in [0, 1]


def guide_of(
    checkpoint: pathlib.Path, architecture: Architecture, weights: dict[str, Any], *, say: Callable[[str], None]
) -> Guide:
    """Returns a GAN's guide: from next to its file, from the user's cache, or newly made, which takes minutes."""
    digest = sha256(checkpoint)
    for path in typicality.places(checkpoint, digest):
        if (guide := read(path, digest)) is not None:
            return guide
    say("this GAN is used for photos for the first time: what it draws is looked at, which takes some minutes, once")
    guide = make(architecture, weights, say=say)
    try:
        cached_at(digest).parent.mkdir(parents=True, exist_ok=True)
        atomic_bytes(cached_at(digest), guide_bytes(guide, digest))
    except (OSError, UserError) as error:
        say(f"what was found cannot be kept, the next start looks again: {error}")
    return guide


def make(architecture: Architecture, weights: dict[str, Any], *, say: Callable[[str], None]) -> Guide:
    """Returns the guide of a GAN, learned from its samples; see `guide_of`."""
    say(f"{_SAMPLES} samples are drawn")
    drawn = drawn_samples(architecture, weights, _SAMPLES)
    images = drawn.astype(np.float32) / 127.5 - 1
    mask = usual_mask(images[:_MASKED])
    typical = typicality_measure.measure(weights["discriminator"], images, arch=architecture, seed=_SEED)
    params = framing.train(drawn, seed=_SEED, steps=framing.STEPS, say=say)
    # Rounded as in the file, so that a guide just made and one read from disk give the same bits.
    params, mask = jax.tree.map(lambda values: np.asarray(values, np.float16).astype(np.float32), (params, mask))
    return Guide(params, typical, mask)


def drawn_samples(architecture: Architecture, weights: dict[str, Any], count: int) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns samples of the GAN, resized to `framing.SIDE`; not truncated: photos vary as much."""
    images, _ = random_images(
        jax.random.key(_SEED),
        weights["generator"],
        arch=architecture,
        count=count,
        truncation=1.0,
        mean=jnp.zeros((1, architecture.style_dim)),
    )
    side, how = framing.SIDE, cv2.INTER_AREA if architecture.size > framing.SIDE else cv2.INTER_LINEAR
    return np.stack([cv2.resize(picture, (side, side), interpolation=how) for picture in to_uint8(images)])


def score_by(guide: Guide, architecture: Architecture, weights: dict[str, Any]) -> framing.Score:
    """Returns a function that scores any number of crops with one compiled program."""

    def score(crops: np.ndarray) -> jax.Array:
        images = jnp.asarray(crops, jnp.float32) / 127.5 - 1
        return typicality.atypicality(guide.typicality, weights["discriminator"], images, arch=architecture)

    return lambda crops: in_batches(score, crops, size=framing.CROPS)


def guide_bytes(guide: Guide, gan_sha256: str) -> bytes:
    """Returns the content of a guide's file; the same guide gives the same bytes."""
    halves = {_NETWORK + name: value for name, value in flatten_dict(guide.alignment, sep="/").items()}
    halves[_MASK] = guide.usual_mask
    tensors = {name: np.ascontiguousarray(value, np.float16) for name, value in halves.items()}
    tensors |= typicality.tensors_of(guide.typicality)
    return in_order(safetensors.numpy.save(tensors, metadata=typicality.header(gan_sha256)))


def read(path: pathlib.Path, gan_sha256: str) -> Guide | None:
    """Returns a guide from its file; None if it is damaged, of another GAN or of another version."""
    tensors = typicality.guide_tensors(path, gan_sha256)
    found = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    network = {name.removeprefix(_NETWORK): value for name, value in found.items() if name.startswith(_NETWORK)}
    try:
        return Guide(unflatten_dict(network, sep="/"), typicality.typicality_in(found), found[_MASK])
    except KeyError:
        return None
