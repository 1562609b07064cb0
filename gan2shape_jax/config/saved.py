"""Reading back the configuration that a run wrote as JSON."""

import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config.python_files import load_python
from gan2shape_jax.config.tree import flatten, set_field
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.json_files import read_object

__all__ = ["LARGEST", "from_json", "read_config"]

LARGEST = 2**18  # bytes of a `config.json`, which is about 6 KiB
_SHOWN = 60  # characters of a value shown in a message


def read_config(path: pathlib.Path) -> ConfigDict:
    """Returns the configuration in a run's `config.json`.

    Raises:
        UserError: the file cannot be read, or holds a configuration that no run could have had.
    """
    try:
        return from_json(read_object(path, "a run's configuration", limit=LARGEST), path)
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read as a run's configuration: there is no such file") from error


def from_json(tree: Mapping[str, Any], source: pathlib.Path) -> ConfigDict:
    """Returns the locked configuration of a JSON object; fields added since it was written get their defaults.

    Args:
        tree: the object, with groups of fields as nested objects.
        source: the file that it was read from, for messages.

    Raises:
        UserError: a value has the wrong type for its field, or is one that no run could have had.
    """
    from gan2shape_jax.config import validation  # imports jax, which naming a configuration need not wait for

    config = load_python("base").unlock()
    saved = flatten(tree)
    for field, default in flatten(config).items():
        if field in saved:
            set_field(config, field, _typed(saved[field], default, f"{source}: config.{field}"))
        elif misplaced := _misplaced(tree, field):
            raise UserError(f"{source}: config.{misplaced} is no group of fields: the file is damaged")
    problems = validation.problems(config)
    if problems:
        raise UserError(f"{source}: {problems[0]}")
    return config.lock()


def _misplaced(tree: Mapping[str, Any], field: str) -> str:
    """Returns the group above a field that is no group in the tree, or the field itself if it is a group there."""
    names = field.split(".")
    for count, name in enumerate(names, 1):
        if name not in tree:
            return ""
        tree = tree[name]
        if not isinstance(tree, Mapping):
            return ".".join(names[:count])
    return field


def _typed(value: Any, default: Any, what: str) -> Any:
    """Returns a JSON value as the field's type: lists become tuples, and whole numbers are accepted for any number."""
    value = _as_tuples(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    optional = default is None and (value is None or type(value) is int)
    if optional or type(value) is type(default):
        return value
    shown = repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}..."
    raise UserError(f"{what} is {shown}, which is no value of that field: the file is damaged")


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
