"""`gan2shape-jax convert`, and what it calls for a StyleGAN2, as `tools.convert.convert`."""

from gan2shape_jax.apps.convert.stylegan2 import ConvertedGan, convert, read_checkpoint

__all__ = ["ConvertedGan", "convert", "read_checkpoint"]
