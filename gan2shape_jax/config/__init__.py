"""Configurations: finding, overriding, documenting and validating them.

A configuration is an `ml_collections.ConfigDict` made by the `get_config` function of a Python file; its fields are
named by dotted paths and described in `configs/base.py`. Files that belong to the package are given as absolute paths
below its `assets` folder, so that a run may start anywhere. A user's own config file starts from a bundled one:

    from gan2shape_jax.config import load_config
"""

from gan2shape_jax.config.load import apply_overrides, load_config, names, set_field, to_json
from gan2shape_jax.config.schema import flatten

__all__ = ["apply_overrides", "flatten", "load_config", "names", "set_field", "to_json"]
