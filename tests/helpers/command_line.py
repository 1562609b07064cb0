"""The command line that gives a configuration, as what differs from a bundled one."""

from ml_collections import ConfigDict

from gan2shape_jax.config import flatten, load_config


def overrides(config: ConfigDict, base: str = "ictface") -> list[str]:
    """Returns a `--config.FIELD=VALUE` for every field in which `config` differs from the bundled `base`."""
    before = flatten(load_config(base))
    return [f"--config.{field}={value}" for field, value in flatten(config).items() if value != before[field]]
