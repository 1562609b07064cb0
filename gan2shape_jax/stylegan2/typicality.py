"""How typical a picture is of a GAN's output, judged by the features of its discriminator.

Two questions are put to the features of the discriminator's last three blocks, and the answers are summed, weighted:

- Which side of a hyperplane: one between the GAN's samples and pictures that are unlike them (`unlike`), fitted by
  regularised least squares to the features by place in the picture (4 x 4 places).
- How far from the samples: a Mahalanobis distance of the features' means and standard deviations over the picture. Each
  leading direction of the samples has its own variance, all others share one (Tipping and Bishop, 1999, "Probabilistic
  PCA"), and the two groups count equally.

The sum is expressed in standard deviations of samples held out from both: 0 is as typical as they are on average, and
the values they do not exceed are those to be expected of photographs. See docs/reports/trust.md.

The statistics are stored in the guide file of a GAN, whose header identifies the GAN by its SHA-256; a guide learned
from another GAN is never used:

    assets/KIND/guide.safetensors                  for a bundled GAN, beside it
    CACHE/gan2shape_jax/guides/HASH.safetensors    for any other, see `gan2shape_jax.run.guide`
"""

import contextlib
import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import cache
from gan2shape_jax.io.weights.tensors import open_safetensors
from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.discriminator import discriminator_features

_LARGEST = 128  # pixels: larger pictures are scaled down for scoring
_PLACES = 4  # along each side
_BLOCKS = 3
DISTANCE = 0.5  # weight of the distance relative to the side
_BESIDE, _FOLDER = "guide.safetensors", "typicality/"


@flax.struct.dataclass
class Typicality:
    """Statistics of a GAN's samples; F and P are the numbers of features by place and of the whole picture."""

    plane: jax.Array  # (F,) weights of the features by place in the first answer
    middle: jax.Array  # (P,) means of the whole picture's features
    scale: jax.Array  # (P,) their standard deviations
    axes: jax.Array  # (P, K) leading directions of the features standardised with these
    spread: jax.Array  # (K,) standard deviations along these directions
    rest: jax.Array  # () standard deviation in every other direction
    standards: jax.Array  # (6,) mean and standard deviation of each of the two answers and of the sum, over samples


def side_of(arch: Architecture) -> int:
    """Returns the side in pixels at which pictures are scored: the discriminator's own, at most 128."""
    return min(arch.discriminator_size, _LARGEST)


@functools.partial(jax.jit, static_argnames="arch")
def atypicality(
    typicality: Typicality, disc_params: Params, images: Float[Array, "b s s 3"], *, arch: Architecture
) -> Float[Array, " b"]:
    """Returns how unlike a GAN's samples square images are, in standard deviations of samples: 0 is the samples' mean.

    Images in [-1, 1] of side `side_of(arch)` are used as they are, others are resized.
    """
    by_place, whole = features(disc_params, resized(images, side_of(arch)), arch)
    side, distance = answers(typicality, by_place, whole)
    known = typicality.standards
    total = (side - known[0]) / known[1] + DISTANCE * (distance - known[2]) / known[3]
    return (total - known[4]) / known[5]


def resized(images: Float[Array, "b s s 3"], side: int) -> Float[Array, "b t t 3"]:
    """Returns pictures resized to `side` x `side` pixels, in [-1, 1]."""
    if images.shape[1:3] == (side, side):
        return images
    return jnp.clip(jax.image.resize(images, (len(images), side, side, 3), "cubic"), -1, 1)


def features(
    disc_params: Params, images: Float[Array, "b s s 3"], arch: Architecture
) -> tuple[Float[Array, "b f"], Float[Array, "b p"]]:
    """Returns the features by place (b, F), and means and standard deviations over the picture (b, P)."""
    count = max(1, int(math.log2(images.shape[1])) - 2)  # down to 4 x 4 places
    blocks = discriminator_features(disc_params, images, arch=arch, count=count)[-_BLOCKS:]
    by_place = []
    for block in blocks:  # means over equal places, 4 x 4 or fewer if the block is smaller
        b, h, w, c = block.shape
        places = min(_PLACES, h)
        means = block.reshape(b, places, h // places, places, w // places, c).mean((2, 4))
        by_place.append(means.reshape(b, -1))
    whole = [pooled for block in blocks for pooled in (block.mean((1, 2)), block.std((1, 2)))]
    return jnp.concatenate(by_place, axis=-1), jnp.concatenate(whole, axis=-1)


def answers(
    typicality: Typicality, by_place: Float[Array, "b f"], whole: Float[Array, "b p"]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Returns the side of the plane and the distance from the samples, not yet in standard deviations."""
    side = by_place @ typicality.plane
    moved = (whole - typicality.middle) / typicality.scale
    along = moved @ typicality.axes
    others = jnp.maximum(jnp.sum(moved**2, -1) - jnp.sum(along**2, -1), 0) / typicality.rest**2
    count, leading = moved.shape[-1], along.shape[-1]
    within = jnp.sum((along / typicality.spread) ** 2, -1) / leading
    return side, jnp.sqrt(within + others / max(1, count - leading))


def cached_at(digest: str) -> pathlib.Path:
    """Returns where the guide of a GAN that came without one is cached; `digest` is the SHA-256 of the GAN's file."""
    return cache("guides") / f"{digest[:32]}.safetensors"


def places(checkpoint: pathlib.Path, digest: str) -> list[pathlib.Path]:
    """Returns the existing files that may be the guide of a GAN: beside its file, and in the user's cache."""
    return [path for path in (checkpoint.with_name(_BESIDE), cached_at(digest)) if path.is_file()]


def tensors_of(typicality: Typicality) -> dict[str, np.ndarray]:
    """Returns the tensors of a typicality by their names in a guide file."""
    return {
        _FOLDER + field.name: np.ascontiguousarray(getattr(typicality, field.name), np.float32)
        for field in dataclasses.fields(Typicality)
    }


def header(gan_sha256: str) -> dict[str, str]:
    """Returns the header of a GAN's guide file, in this version of the format."""
    return {"format": "gan2shape_jax guide", "version": "1", "gan_sha256": gan_sha256}


def guide_tensors(path: pathlib.Path, gan_sha256: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a GAN's guide file; none if it is damaged, of another GAN or of another version."""
    with contextlib.suppress(UserError), open_safetensors(path) as file:
        if dict(file.metadata) == header(gan_sha256):
            return {name: file.read(name) for name in file.shapes}
    return {}


def typicality_in(found: Mapping[str, np.ndarray]) -> Typicality:
    """Returns the typicality among a guide's tensors; raises `KeyError` where there is none."""
    arrays = {field.name: np.asarray(found[_FOLDER + field.name]) for field in dataclasses.fields(Typicality)}
    arrays["rest"] = arrays["rest"].reshape(())  # a file stores it with shape (1,)
    return Typicality(**{name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()})
