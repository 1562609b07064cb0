"""3D shape from one photo with nothing but a 2D GAN: GAN2Shape (Pan et al., ICLR 2021) in JAX."""

from gan2shape_jax import xla_flags

__version__ = "0.1.0"

xla_flags.avoid_wrong_sums()
