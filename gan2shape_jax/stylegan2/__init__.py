"""StyleGAN2 in JAX: generator, discriminator, latents and weight files, as pure functions.

Parameters are nested dictionaries, images NHWC in [-1, 1], sizes in an `Architecture` (hashable:
static under jit).
"""

from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.discriminator import discriminate, discriminator_features
from gan2shape_jax.stylegan2.generator import map_styles, random_noise, synthesize
from gan2shape_jax.stylegan2.latents import mean_w, mix_styles, truncate
from gan2shape_jax.stylegan2.weights import init_params, load, read_header, save

__all__ = ["Architecture", "Params", "discriminate", "discriminator_features", "init_params", "load", "map_styles"]
__all__ += ["mean_w", "mix_styles", "random_noise", "read_header", "save", "synthesize", "truncate"]
