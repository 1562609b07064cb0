"""`gan2shape-jax convert stylegan2`, and what it calls, as `tools.convert_stylegan2.convert`."""

from gan2shape_jax.apps.convert.stylegan2 import Converted, convert, read_checkpoint

__all__ = ["Converted", "convert", "read_checkpoint"]
