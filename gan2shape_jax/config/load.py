"""Loading the configuration named on a command line, whatever kind of file it is in."""

from ml_collections import ConfigDict

from gan2shape_jax.config import lifting
from gan2shape_jax.config.python_files import load_python
from gan2shape_jax.errors import ConfigError

__all__ = ["load_config"]


def load_config(spec: str) -> ConfigDict:
    """Returns the locked configuration named on a command line.

    Args:
        spec: `NAME[:VARIANT]` of a bundled configuration, `PATH.py[:VARIANT]`, or `PATH.yml`, a settings file of
            the published implementation; every configuration has the variants of `lifting`.

    Raises:
        ConfigError: there is no such configuration or variant, or its file does not run.
    """
    name, _, variant = spec.partition(":")
    if not name.endswith((".yml", ".yaml")):
        return load_python(spec)
    if variant and variant not in lifting.VARIANTS:
        raise ConfigError(f"{name} is a YAML file: it has no variant {variant!r}")
    from gan2shape_jax.config.original.files import load_yaml  # imports YAML and the checks: only where needed

    config = load_yaml(name)
    return lifting.VARIANTS[variant](config.unlock()).lock() if variant else config
