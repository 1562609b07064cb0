"""3D shape from one photo with nothing but a 2D GAN: GAN2Shape (Pan et al., ICLR 2021) in JAX."""

__version__ = "0.1.0"
