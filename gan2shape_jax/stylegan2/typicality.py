"""How typical a picture is of what a GAN draws, by its discriminator's features.

Two questions are put to the features of the discriminator's last three blocks, and the answers added:

- Which side of a hyperplane: one between the GAN's samples and pictures that are unlike them (`unlike`), by regularised
  least squares on the features as they lie in the picture (4 x 4 places).
- How far from the samples: a Mahalanobis distance of the features' means and deviations over the picture. Of the
  leading directions of the samples each has its variance, the others have one for all (Tipping and Bishop, 1999,
  "Probabilistic PCA"), and both kinds count the same.

The sum is told in standard deviations of samples that neither was measured on: 0 is as typical as these are in the
mean, and what they do not go beyond is what can be expected of photographs. See docs/reports/trust.md.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gan2shape_jax.stylegan2 import unlike
from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.discriminator import discriminator_features

__all__ = ["LIMIT", "Typicality", "atypicality", "belonging", "measure", "side_of"]

# Where belonging is one half, and the width of its way from 1 to 0, in standard deviations.
LIMIT, _WIDTH = 3.5, 0.5
_LARGEST = 128  # pixels: greater pictures are scored smaller
_PLACES = 4  # along each side
_BLOCKS = 3
_DIRECTIONS = 64
_RIDGE = 1e-4  # of the features' variance
_DISTANCE = 0.5  # how much the distance counts beside the side
_TOGETHER = 32  # images whose features are computed at once


@flax.struct.dataclass
class Typicality:
    """What is known of a GAN's samples; F and P count features by place and of the whole picture.

    Attributes:
      plane: (F,) what a feature by place adds to the first answer.
      middle: (P,) mean of the whole picture's features.
      scale: (P,) their deviations.
      axes: (P, K) leading directions of what is scaled so.
      spread: (K,) standard deviations along these.
      rest: () standard deviation in all other directions.
      standards: (6,) mean and deviation of the two answers and of the sum, over samples.
    """

    plane: jax.Array
    middle: jax.Array
    scale: jax.Array
    axes: jax.Array
    spread: jax.Array
    rest: jax.Array
    standards: jax.Array


def side_of(arch: Architecture) -> int:
    """Returns the side in pixels that pictures are scored at: the discriminator's own, at most 128."""
    return min(arch.discriminator_size, _LARGEST)


def measure(disc_params: Params, images: Float[np.ndarray, "n s s 3"], *, arch: Architecture, seed: int) -> Typicality:
    """Returns the typicality of a GAN, measured on its samples; a function of the arguments alone.

    Args:
      disc_params: the discriminator's parameters.
      images: samples of the generator in [-1, 1], as pictures are framed that will be scored; some thousand. A fifth is
        kept out for standards.
      arch: the sizes.
      seed: of disturbances and of the pictures that samples are held against.
    """
    rng = np.random.default_rng(seed)
    sized = np.asarray(_resized(jnp.asarray(images), side_of(arch)))
    known = len(sized) * 4 // 5
    plain, kept = sized[: known // 2], sized[known:]
    like = np.concatenate([plain, unlike.disturbed(rng, sized[known // 2 : known])])
    judged = np.concatenate([kept[::2], unlike.disturbed(rng, kept[1::2])])
    like_rows, other_rows, judged_rows = (
        _features_of(disc_params, some, arch) for some in (like, unlike.unlike(rng, sized[:known]), judged)
    )
    plane = _plane(like_rows[0], other_rows[0])
    middle, scale = like_rows[1].mean(0), like_rows[1].std(0) + 1e-6
    axes, spread, rest = _directions((like_rows[1] - middle) / scale)
    none = np.array([0, 1, 0, 1, 0, 1])
    arrays = (jnp.asarray(value, jnp.float32) for value in (plane, middle, scale, axes, spread, rest, none))
    found = Typicality(*arrays)
    side, distance = (np.asarray(values) for values in _answers(found, *map(jnp.asarray, judged_rows)))
    ours = [side.mean(), side.std(), distance.mean(), distance.std()]
    total = (side - ours[0]) / ours[1] + _DISTANCE * (distance - ours[2]) / ours[3]
    return dataclasses.replace(found, standards=jnp.asarray([*ours, total.mean(), total.std()], jnp.float32))


def atypicality(
    typicality: Typicality, disc_params: Params, images: Float[Array, "b s s 3"], *, arch: Architecture
) -> Float[Array, " b"]:
    """Returns how unlike a GAN's samples images are, in these samples' standard deviations: 0 is the mean of samples.

    Args:
      typicality: see `measure`.
      disc_params: the discriminator's parameters.
      images: square, in [-1, 1]; those of side `side_of(arch)` are taken as they are, others are resized.
      arch: the sizes.
    """
    scores: Array = _atypicality(typicality, disc_params, images, arch=arch)
    return scores


@functools.partial(jax.jit, static_argnames="arch")
def _atypicality(typicality: Typicality, disc_params: Params, images: jax.Array, *, arch: Architecture) -> jax.Array:
    by_place, whole = _features(disc_params, _resized(images, side_of(arch)), arch)
    side, distance = _answers(typicality, by_place, whole)
    known = typicality.standards
    total = (side - known[0]) / known[1] + _DISTANCE * (distance - known[2]) / known[3]
    return (total - known[4]) / known[5]


def belonging(atypical: Float[Array, "*b"] | float) -> Float[np.ndarray, "*b"]:
    """Returns from 1 (surely of the GAN's kind) to 0 (surely not) what an atypicality says; one half at `LIMIT`."""
    away = np.clip((np.asarray(atypical, np.float64) - LIMIT) / _WIDTH, -50, 50)
    return np.asarray(1 / (1 + np.exp(away)))


def _resized(images: jax.Array, side: int) -> jax.Array:
    if images.shape[1:3] == (side, side):
        return images
    return jnp.clip(jax.image.resize(images, (len(images), side, side, 3), "cubic"), -1, 1)


def _features(disc_params: Params, images: jax.Array, arch: Architecture) -> tuple[jax.Array, jax.Array]:
    """Returns the features by place (b, F), and means and deviations over the picture (b, P)."""
    count = max(1, int(math.log2(images.shape[1])) - 2)  # down to 4 x 4 places
    blocks = discriminator_features(disc_params, images, arch=arch, count=count)[-_BLOCKS:]
    by_place = [_by_place(block).reshape(len(images), -1) for block in blocks]
    whole = [pooled for block in blocks for pooled in (block.mean((1, 2)), block.std((1, 2)))]
    return jnp.concatenate(by_place, axis=-1), jnp.concatenate(whole, axis=-1)


def _by_place(block: jax.Array) -> jax.Array:
    """Returns means over equal places, 4 x 4 or fewer where the block is smaller."""
    b, h, w, c = block.shape
    places = min(_PLACES, h)
    return block.reshape(b, places, h // places, places, w // places, c).mean((2, 4))


_compiled_features = jax.jit(_features, static_argnames="arch")


def _features_of(disc_params: Params, images: np.ndarray, arch: Architecture) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of many images, a few at a time."""
    parts = []
    for start in range(0, len(images), _TOGETHER):
        some = images[start : start + _TOGETHER]
        filled = np.concatenate([some, np.repeat(some[-1:], _TOGETHER - len(some), axis=0)])  # one program
        parts.append([np.asarray(rows)[: len(some)] for rows in _compiled_features(disc_params, filled, arch)])
    by_place, whole = map(np.concatenate, zip(*parts, strict=True))
    return by_place, whole


def _answers(typicality: Typicality, by_place: jax.Array, whole: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the side of the plane, and the distance from the samples."""
    side = by_place @ typicality.plane
    moved = (whole - typicality.middle) / typicality.scale
    along = moved @ typicality.axes
    others = jnp.maximum(jnp.sum(moved**2, -1) - jnp.sum(along**2, -1), 0) / typicality.rest**2
    count, leading = moved.shape[-1], along.shape[-1]
    within = jnp.sum((along / typicality.spread) ** 2, -1) / leading
    return side, jnp.sqrt(within + others / max(1, count - leading))


def _plane(like: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns what each feature adds, by regularised least squares from -1 for samples to 1 for others.

    Solved among the rows, which are fewer than features are in great discriminators.
    """
    rows = np.concatenate([like, other])
    scale = like.std(0) + 1e-6
    weight = np.concatenate([np.full(len(some), 0.5 / len(some)) for some in (like, other)])
    weighted = (rows - weight @ rows) / scale * np.sqrt(weight)[:, None]
    wanted = np.concatenate([-np.ones(len(like)), np.ones(len(other))]) * np.sqrt(weight)
    products = (weighted @ weighted.T).astype(np.float64)
    found = np.linalg.solve(products + _RIDGE * np.trace(products) * np.eye(len(rows)), wanted)
    return np.asarray((weighted.T @ found) / scale)


def _directions(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns leading directions (P, K) of centred rows, deviations along these (K,), and that of the rest."""
    rows = rows.astype(np.float64)
    count = min(_DIRECTIONS, rows.shape[1] - 1, len(rows) - 1)
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    variance = values**2 / len(rows)
    # Signs are of no consequence: only squares are used.
    rest = (variance.sum() - variance[:count].sum()) / (rows.shape[1] - count)
    return vectors[:count].T, np.sqrt(variance[:count]), float(np.sqrt(rest))
