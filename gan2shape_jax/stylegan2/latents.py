"""Operations on latents: the mean of W, truncation towards it, mixing of two, and W+ from W."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.generator import map_styles

__all__ = ["mean_w", "mix_styles", "truncate"]


def mean_w(key: PRNGKeyArray, gen_params: Params, *, arch: Architecture, samples: int = 4096) -> Float[Array, "1 w"]:
    """Returns the mean latent (1, W): the stored one, or else the mean over `samples` draws of z."""
    if arch.stored_mean:
        stored: Array = gen_params["mean_w"]
        return stored[None]
    z = jax.random.normal(key, (samples, arch.style_dim), gen_params["input"].dtype)
    return map_styles(gen_params, z, arch=arch).mean(axis=0, keepdims=True)


def truncate(
    w: Float[Array, "*batch w"], mean: Float[Array, "*#batch w"], psi: float | Float[Array, ""]
) -> Float[Array, "*batch w"]:
    """Moves latents towards the mean: psi = 1 leaves them unchanged, psi = 0 gives the mean."""
    return mean + psi * (w - mean)


def mix_styles(
    w1: Float[Array, "b w"], w2: Float[Array, "b w"], crossover: int, *, arch: Architecture
) -> Float[Array, "b l w"]:
    """Returns W+ latents: the styles of `w1` before index `crossover` (0 to L), those of `w2` from there on."""
    if not 0 <= crossover <= arch.latents:
        raise ValueError(f"crossover {crossover} outside 0 to {arch.latents}")
    early = jnp.arange(arch.latents)[None, :, None] < crossover
    return jnp.where(early, w1[:, None], w2[:, None])
