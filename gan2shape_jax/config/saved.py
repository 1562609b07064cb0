"""Reading back the configuration that a run wrote as JSON."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config.python_files import load_python
from gan2shape_jax.config.tree import flatten, set_field
from gan2shape_jax.errors import UserError

__all__ = ["from_json", "read_config"]


def read_config(path: pathlib.Path) -> ConfigDict:
    """Returns the configuration in a run's `config.json`.

    Raises:
        UserError: the file cannot be read, or holds no configuration.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a run's configuration: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} cannot be read as a run's configuration: it holds no JSON object")
    return from_json(tree, path)


def from_json(tree: Mapping[str, Any], source: pathlib.Path) -> ConfigDict:
    """Returns the locked configuration of a JSON object; fields that were added since then have their defaults.

    Args:
        tree: the object, groups of fields as objects inside it.
        source: the file that it was read from, for messages.

    Raises:
        UserError: a value is not of its field's type.
    """
    config = load_python("base").unlock()
    saved = flatten(tree)
    for field, default in flatten(config).items():
        if field in saved:
            set_field(config, field, _typed(saved[field], default, f"{source}: config.{field}"))
    return config.lock()


def _typed(value: Any, default: Any, what: str) -> Any:
    """Returns a JSON value as the field's type: lists become tuples, whole numbers may stand for others."""
    value = _as_tuples(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    optional = default is None and (value is None or isinstance(value, int))
    if optional or type(value) is type(default):
        return value
    raise UserError(f"{what} is {value!r}, which is no value of that field: the file is damaged")


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
