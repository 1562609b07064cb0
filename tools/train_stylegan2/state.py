"""What training updates: both networks, the average of the generator, the optimisers' moments, and a few scalars."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gan2shape_jax import stylegan2
from gan2shape_jax.stylegan2 import Architecture, Params

from .settings import TrainingSettings

__all__ = ["TrainingState", "fresh_state", "optimizers"]


class TrainingState(NamedTuple):
    """The state between two iterations.

    Attributes:
      generator: its parameters.
      discriminator: its parameters.
      average: moving average of the generator's parameters, which is what is used in the end.
      generator_moments: Adam's moments for the generator.
      discriminator_moments: Adam's moments for the discriminator.
      path_mean: moving average of path lengths.
      probability: probability of each augmentation.
      signs: sum of signs of photos' logits since the probability was last adjusted.
    """

    generator: Params
    discriminator: Params
    average: Params
    generator_moments: optax.OptState
    discriminator_moments: optax.OptState
    path_mean: Float[Array, ""]
    probability: Float[Array, ""]
    signs: Float[Array, ""]


def optimizers(settings: TrainingSettings) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Returns the generator's Adam and the discriminator's.

    Where a penalty is a separate step every n iterations, the learning rate and decays are adjusted to n steps in n + 1
    (Karras et al., 2020, section 3.1).
    """

    def adam(every: int) -> optax.GradientTransformation:
        ratio = every / (every + 1) if every else 1.0
        return optax.adam(settings.learning_rate * ratio, b1=0.0, b2=0.99**ratio, eps=1e-8)

    return adam(settings.path_every if settings.path_weight else 0), adam(settings.r1_every)


def fresh_state(arch: Architecture, settings: TrainingSettings, start: Params | None = None) -> TrainingState:
    """Returns the initial training state.

    Args:
      arch: the architecture.
      settings: the training settings.
      start: {"generator": ..., "discriminator": ...} to start from; random weights otherwise.
    """
    # Separate arrays for each: an iteration's buffers are donated to the next.
    params = stylegan2.init_params(jax.random.key(settings.seed), arch) if start is None else start
    generator, discriminator = params["generator"], params["discriminator"]
    of_generator, of_discriminator = optimizers(settings)
    return TrainingState(
        generator=jax.tree.map(jnp.array, generator),
        discriminator=jax.tree.map(jnp.array, discriminator),
        average=jax.tree.map(jnp.array, generator),
        generator_moments=of_generator.init(generator),
        discriminator_moments=of_discriminator.init(discriminator),
        path_mean=jnp.float32(0),
        probability=jnp.float32(0),
        signs=jnp.float32(0),
    )
