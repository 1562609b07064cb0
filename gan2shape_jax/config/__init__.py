"""Configurations: finding, overriding, documenting and validating them.

A config file of one's own starts from a bundled one:

    from gan2shape_jax.config import load_config
"""

from gan2shape_jax.config.fields import apply_overrides, flatten, load_config

__all__ = ["apply_overrides", "flatten", "load_config"]
