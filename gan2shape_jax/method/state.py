"""What passes between iterations, as explicit pytrees, and the record that tells one step of the method from another.

`TrainState` is donated to every train step, except on CPU; `Example` holds one image with its mask and latent; a `Step`
is run by `iteration`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Int, PRNGKeyArray, Scalar

from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.models import Params
from gan2shape_jax.method.settings import Settings


@flax.struct.dataclass
class Example:
    """One input image with its mask, latent and prior; None where nothing is trained and the GAN plays no part."""

    image: jax.Array  # (1, S, S, 3)
    mask: jax.Array  # (S, S)
    latent: Any  # (1, W) or (1, L, W), or None
    gan_image: Any  # (1, S, S, 3), the GAN's image of the latent, or None
    prior: Any  # (S, S), the depth that the depth network is first fitted to, or that a refinement is held to, or None
    true_depth: jax.Array | None  # (S, S), or None
    key: Any  # the image's random key, or None
    # (k, 2) where landmarks are in the image, pixels, NaN where none were detected; None where the model has none
    landmarks: Any = None


@flax.struct.dataclass
class Context:
    """What a step computes with and leaves as it is."""

    example: Example  # None for a step that draws its images
    frozen: FrozenModels
    settings: Settings


@dataclasses.dataclass(frozen=True)
class PreparedImage:
    """One image, ready to be reconstructed; `inversion_l1` is None where the GAN plays no part in it."""

    name: str
    example: Example
    settings: Settings
    inversion_l1: float | None

    def context(self, frozen: FrozenModels) -> Context:
        """Returns the context of a step: this example, the frozen networks and the settings."""
        return Context(self.example, frozen, self.settings)


@flax.struct.dataclass
class SampledConditions:
    """What pseudo-images were drawn with: views (N, 6) in network units, lights (N, 4) as in `factors`."""

    views: jax.Array
    lights: jax.Array


@flax.struct.dataclass
class PseudoImages:
    """Renderings (N, S, S, 3) under drawn views and lights, and their masks (N, S, S)."""

    images: jax.Array
    masks: jax.Array


@flax.struct.dataclass
class ProjectedSamples:
    """Projected images (N, S, S, 3) and their masks (N, S, S), kept for step 3.

    The anchored step also keeps the pseudo-images (N, S, S, 3) that were projected, and what these were drawn with.
    """

    images: jax.Array
    masks: jax.Array
    known: SampledConditions | None = None
    pseudo: jax.Array | None = None


@flax.struct.dataclass
class TrainState:
    """Everything that changes while one image is reconstructed."""

    params: Params  # of the five networks
    opt_state: Any  # of the networks that the current step trains
    factors: Factors  # of the last step-1 forward pass; step 2 renders its pseudo-images from them
    mask: jax.Array  # (S, S), the latest canonical object mask
    average: Any = ()  # moving average of `params`, in tasks that keep one


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


Metrics = dict[str, jax.Array]
# The loss, with the scalars to log and whatever else from the forward pass `Step.update` keeps.
LossAndMetrics = tuple[jax.Array, tuple[Metrics, Any]]


@flax.struct.dataclass
class Iteration:
    """What tells an iteration from the others, and what it has from before: its draws are a function of this."""

    key: PRNGKeyArray  # the phase's
    number: Int[Scalar, ""] | int  # from 0 in the phase
    factors: Factors  # as step 1 has left them
    constants: Any = None  # what the phase has computed before its first iteration


@dataclasses.dataclass(frozen=True)
class Step:
    """All that distinguishes one step from another (GAN2Shape, section 3.2); `iteration` is what they have in common.

    The functions are pure, handle one image and are called inside `jax.jit`. `flip` says whether the mirrored depth map
    has to explain the images too.

    Attributes:
      name: as in schedules, histories and checkpoints.
      networks: the networks that it trains.
      loss: `loss(params, batch, context, flip=...)` returns `LossAndMetrics`; the batch is what `draw` returns.
      draw: `draw(iteration, context)` returns what an iteration sees besides the example: by default the constants.
      cache: `cache(params, context, flip=...)` computes what stays constant during a phase; None where there is
        nothing.
      collect: `collect(params, iteration, context)` returns one batch of the samples that a phase collects before its
        first iteration, where `iteration` has the constants that `cache` returns. The batches together are then the
        constants, in place of these.
      update: `update(state, extra, batch, context)` returns the state with what changes besides the networks; `extra`
        is the last of what the loss returns.
      cost: time per iteration relative to the cheapest step's, to estimate the time left; of the default configuration.
    """

    name: str
    networks: tuple[str, ...]
    loss: Callable[..., LossAndMetrics]
    draw: Callable[[Iteration, Context], Any] = lambda iteration, context: iteration.constants
    cache: Callable[..., Any] | None = None
    collect: Callable[[Params, Iteration, Context], ProjectedSamples] | None = None
    update: Callable[[TrainState, Any, Any, Context], TrainState] = lambda state, extra, batch, context: state
    cost: float = 1.0
