"""Measures on a GAN's samples what is needed to score how typical pictures are: `typicality`."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan2shape_jax.stylegan2 import unlike
from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.typicality import DISTANCE, Typicality, answers, features, resized, side_of

__all__ = ["measure"]

_DIRECTIONS = 64
_RIDGE = 1e-4  # relative to the features' variance
_TOGETHER = 32  # images whose features are computed at once


def measure(disc_params: Params, images: Float[np.ndarray, "n s s 3"], *, arch: Architecture, seed: int) -> Typicality:
    """Returns the typicality of a GAN, measured on its samples; a function of the arguments alone.

    Args:
      disc_params: the discriminator's parameters.
      images: samples of the generator in [-1, 1], framed like the pictures to be scored; a few thousand. A fifth is
        held out to measure `standards`.
      arch: the sizes.
      seed: seed for the perturbations and for the pictures that samples are compared with.
    """
    rng = np.random.default_rng(seed)
    sized = np.asarray(resized(jnp.asarray(images), side_of(arch)))
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
    side, distance = (np.asarray(values) for values in answers(found, *map(jnp.asarray, judged_rows)))
    ours = [side.mean(), side.std(), distance.mean(), distance.std()]
    total = (side - ours[0]) / ours[1] + DISTANCE * (distance - ours[2]) / ours[3]
    return dataclasses.replace(found, standards=jnp.asarray([*ours, total.mean(), total.std()], jnp.float32))


_compiled_features = jax.jit(features, static_argnames="arch")


def _features_of(disc_params: Params, images: np.ndarray, arch: Architecture) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of many images, a few at a time."""
    parts = []
    for start in range(0, len(images), _TOGETHER):
        some = images[start : start + _TOGETHER]
        filled = np.concatenate([some, np.repeat(some[-1:], _TOGETHER - len(some), axis=0)])  # one program
        parts.append([np.asarray(rows)[: len(some)] for rows in _compiled_features(disc_params, filled, arch)])
    by_place, whole = map(np.concatenate, zip(*parts, strict=True))
    return by_place, whole


def _plane(like: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the weight of each feature, by regularised least squares with targets -1 for samples and 1 for others.

    Solved in the space of rows, which are fewer than the features in large discriminators.
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
    """Returns the leading directions (P, K) of centred rows, their standard deviations (K,), and that of the rest."""
    rows = rows.astype(np.float64)
    count = min(_DIRECTIONS, rows.shape[1] - 1, len(rows) - 1)
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    variance = values**2 / len(rows)
    # Signs do not matter: only squares are used.
    rest = (variance.sum() - variance[:count].sum()) / (rows.shape[1] - count)
    return vectors[:count].T, np.sqrt(variance[:count]), float(np.sqrt(rest))
