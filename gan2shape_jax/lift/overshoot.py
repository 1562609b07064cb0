"""Extrapolates a stage's change of shape further in the direction that training took.

Training with per-sample encoders moves the depth of all images in a similar way, and stops short of the goal:
pseudo-images are renderings, and partly confirm what was rendered. The stage's average change is therefore added once
more, scaled by a chosen factor, much as over-relaxation speeds up a slow iteration. Extrapolating the weights does not
achieve this (docs/reports/lift.md); instead, the depth network is trained to give the new depth.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Scalar

from gan2shape_jax.method import models
from gan2shape_jax.method.settings import Settings

_BATCH = 8
_LEARNING_RATE = 2e-4  # initial; it decays to zero
_SCALE = 1e4  # factor on squared depth errors, so that Adam's epsilon is negligible


def mean_change(
    start: models.Params,
    end: models.Params,
    images: Float[np.ndarray, "n s s 3"],
    settings: Settings,
    *,
    mirrored: bool,
) -> Float[np.ndarray, "s s"]:
    """Returns the average difference in the depth of images between two sets of networks, scene units.

    Args:
      start: the networks before a stage.
      end: the networks after it.
      images: the images, in [-1, 1].
      settings: of the method.
      mirrored: whether to symmetrise the change, as for objects that are assumed to be symmetric.
    """
    change = np.mean(depths(end, images, settings) - depths(start, images, settings), axis=0)
    both: np.ndarray = (change + change[:, ::-1]) / 2 if mirrored else change
    return both


def carried_on(
    params: models.Params,
    change: Float[np.ndarray, "s s"],
    images: Float[np.ndarray, "n s s 3"],
    settings: Settings,
    *,
    iterations: int,
) -> models.Params:
    """Returns networks whose depth is shifted by a change; only the depth network differs.

    Args:
      params: the parameters of all networks.
      change: the change of the canonical depth, scene units; depth is kept within the camera's range.
      images: the images to train the depth network on, in [-1, 1]; the result is deterministic.
      settings: of the method.
      iterations: the number of Adam iterations, on eight images each.
    """
    least, most = settings.camera.min_depth, settings.camera.max_depth
    wanted = np.clip(depths(params, images, settings) + change, least, most)
    optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, iterations))
    depth = params["depth"]
    state = optimizer.init(depth)
    order = np.random.default_rng(0).integers(0, len(images), (iterations, _BATCH))
    for some in order:
        gradient = _gradient(depth, jnp.asarray(images[some]), jnp.asarray(wanted[some]), settings=settings)
        update, state = optimizer.update(gradient, state)
        depth = optax.apply_updates(depth, update)
    return params | {"depth": depth}


def depths(params: models.Params, images: Float[np.ndarray, "n s s 3"], settings: Settings) -> np.ndarray:
    """Returns the canonical depth (n, S, S) of images, scene units."""
    parts = []
    for first in range(0, len(images), _BATCH):
        some = images[first : first + _BATCH]
        whole = np.pad(some, ((0, _BATCH - len(some)), (0, 0), (0, 0), (0, 0)))  # compiles one program only
        parts.append(np.asarray(_depths(params["depth"], jnp.asarray(whole), settings=settings))[: len(some)])
    return np.concatenate(parts)


@jax.jit
def _depths(depth: models.Params, images: Array, *, settings: Settings) -> Array:
    return models.depth({"depth": depth}, images, settings)


@jax.jit
def _gradient(depth: models.Params, images: Array, wanted: Array, *, settings: Settings) -> models.Params:
    def loss(depth: models.Params) -> Float[Scalar, ""]:
        off = models.depth({"depth": depth}, images, settings) - wanted
        return _SCALE * jnp.mean(jnp.square(off))

    gradient: models.Params = jax.grad(loss)(depth)
    return gradient
