"""The names of `gan2shape_jax.config` where they lay before it was divided into modules."""

from gan2shape_jax.config.load import load_config
from gan2shape_jax.config.overrides import apply_overrides
from gan2shape_jax.config.python_files import load_file, names
from gan2shape_jax.config.tree import flatten, to_json

__all__ = ["apply_overrides", "flatten", "load_config", "load_file", "names", "to_json"]
