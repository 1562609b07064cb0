"""Random latents as used in training: many samples have two, the second one from some layer on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax import stylegan2
from gan2shape_jax.stylegan2 import Architecture, Params

__all__ = ["mixed_styles"]


def mixed_styles(
    key: PRNGKeyArray, generator: Params, *, arch: Architecture, count: int, mixing: float
) -> Float[Array, "b l w"]:
    """Returns the styles of all layers for new samples, some of them mixed from two latents.

    Style mixing keeps neighbouring layers from relying on each other (Karras et al., 2019, section 3.1).

    Args:
      key: the random key.
      generator: the generator's parameters, of which the mapping network is used.
      arch: its architecture.
      count: the number of samples.
      mixing: probability that a sample is mixed.
    """
    latents, whether, where = jax.random.split(key, 3)
    z = jax.random.normal(latents, (2, count, arch.style_dim))
    first, second = stylegan2.map_styles(generator, z, arch=arch)
    # The second latent takes over at layer 1 at the earliest; beyond the last layer means never.
    crossing = jax.random.randint(where, (count,), 1, arch.latents)
    crossing = jnp.where(jax.random.uniform(whether, (count,)) < mixing, crossing, arch.latents)
    late = jnp.arange(arch.latents) >= crossing[:, None]
    return jnp.where(late[..., None], second[:, None], first[:, None])
