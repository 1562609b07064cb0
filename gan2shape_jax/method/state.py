"""The state that a run carries from iteration to iteration, as explicit pytrees.

`TrainState` is donated to every train step, except on CPU; `Problem` holds what is given about one image.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.models import Params
from gan2shape_jax.method.settings import Settings

__all__ = [
    "KnownConditions",
    "PreparedImage",
    "Problem",
    "ProjectedSamples",
    "TrainState",
    "initial_state",
]


@flax.struct.dataclass
class Problem:
    """One input image with what is given about it.

    Attributes:
      image: (1, S, S, 3).
      mask: (S, S).
      latent: (1, W) or (1, L, W); None, like gan_image and prior, where nothing is trained and the GAN plays no part.
      gan_image: (1, S, S, 3), the GAN's image of the latent, or None.
      prior: (S, S), the depth that the depth network is first fitted to, or that a refinement is held to, or None.
      true_depth: (S, S), or None.
      key: the image's random key.
    """

    image: jax.Array
    mask: jax.Array
    latent: Any
    gan_image: Any
    prior: Any
    true_depth: jax.Array | None
    key: jax.Array


@dataclasses.dataclass(frozen=True)
class PreparedImage:
    """One image, ready to be reconstructed; `inversion_l1` is None where the GAN plays no part in it."""

    name: str
    problem: Problem
    settings: Settings
    inversion_l1: float | None


@flax.struct.dataclass
class KnownConditions:
    """What pseudo-images were drawn with: views (N, 6) in network units, lights (N, 4) as in `factors`."""

    views: jax.Array
    lights: jax.Array


@flax.struct.dataclass
class ProjectedSamples:
    """Projected images (N, S, S, 3) and their masks (N, S, S), kept for step 3.

    The anchored step also keeps the pseudo-images (N, S, S, 3) that were projected, and what these were drawn with.
    """

    images: jax.Array
    masks: jax.Array
    known: KnownConditions | None = None
    pseudo: jax.Array | None = None


@flax.struct.dataclass
class TrainState:
    """Everything that changes while one image is reconstructed.

    Attributes:
      params: parameters of the five networks.
      opt_state: optimiser state of the networks that the current step trains.
      factors: factors of the last step-1 forward pass; step 2 renders its pseudo-images from them.
      mask: (S, S), the latest canonical object mask.
      average: moving average of `params`, in tasks that keep one; otherwise ().
    """

    params: Params
    opt_state: Any
    factors: Factors
    mask: jax.Array
    average: Any = ()


def initial_state(params: Params, settings: Settings) -> TrainState:
    """Returns the state before the first step, for the given initial parameters."""
    square = (settings.image_size, settings.image_size)
    blank = Factors(  # a separate buffer for every field: no buffer can be donated twice
        depth=jnp.ones(square),
        albedo=jnp.zeros((*square, 3)),
        view=jnp.zeros(6),
        light=jnp.zeros(4),
        mask=jnp.ones(square),
    )
    return TrainState(params=params, opt_state=(), factors=blank, mask=jnp.ones(square))
