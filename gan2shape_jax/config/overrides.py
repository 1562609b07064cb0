"""Setting a configuration's fields from command-line text."""

import ast
import contextlib
import difflib
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.config import bundled_data
from gan2shape_jax.config.field_types import OPTIONAL, base_values, shown, text_fault
from gan2shape_jax.config.python_files import load_python, names
from gan2shape_jax.config.tree import flatten, set_field
from gan2shape_jax.errors import ConfigError

__all__ = ["apply_overrides", "nearest_field"]

_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def apply_overrides(config: ConfigDict, overrides: Mapping[str, str]) -> ConfigDict:
    """Returns a locked copy with fields set from text, such as `{"schedule.use_mask": "True"}`.

    Changing `data.image_root` drops the bundled latents, masks and depths that the overrides do not set themselves.

    Raises:
        ConfigError: a field that does not exist (the message names the nearest one) or text of the wrong type.
    """
    config = ConfigDict(config).copy_and_resolve_references().unlock()
    fields = flatten(config)
    for path, text in overrides.items():
        if path not in fields:
            raise ConfigError(_unknown_field(path, fields))
        set_field(config, path, _parse(path, text, base_values()[path]))
    if config.data.image_root != fields["data.image_root"]:
        bundled_data.drop_foreign_roots(config, given=overrides, bundled=[load_python(name) for name in names()])
    return config.lock()


def _unknown_field(path: str, fields: Mapping[str, Any]) -> str:
    inside = [field for field in fields if field.startswith(path + ".")]
    if inside:
        return f"config.{path} is a group of fields, set one of them: {', '.join(inside)}"
    return (
        f"there is no config.{path}; the nearest field is config.{nearest_field(path, fields)} "
        "(--help lists the groups of fields)"
    )


def nearest_field(path: str, fields: Collection[str]) -> str:
    """Returns the field that a misspelt path most likely means."""
    initials = [field for field in fields if _with_initials(field) == path]
    close = initials or difflib.get_close_matches(path, list(fields), n=1, cutoff=0.6)
    if close:
        return close[0]
    ends = [_last(field) for field in fields]
    same_end = difflib.get_close_matches(_last(path), ends, n=1, cutoff=0.75)
    if same_end:
        return next(field for field in fields if _last(field) == same_end[0])
    return difflib.get_close_matches(path, list(fields), n=1, cutoff=0.0)[0]


def _last(field: str) -> str:
    return field.rsplit(".", 1)[-1]


def _with_initials(field: str) -> str:
    """Returns the short form of a field: `optimizer.learning_rate` is also known as `optimizer.lr`."""
    *parents, last = field.split(".")
    return ".".join([*parents, "".join(word[0] for word in last.split("_"))])


def _parse(path: str, text: str, default: Any) -> Any:
    """Returns text as a value of the default's type; a default of None marks an optional whole number."""
    if isinstance(default, str):
        if fault := text_fault(path, text):
            raise ConfigError(fault)
        return text
    if isinstance(default, bool):
        if text.lower() in _BOOLS:
            return _BOOLS[text.lower()]
        raise ConfigError(f"config.{path} is true or false, not {shown(text)}")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if isinstance(default, tuple):
        value = _as_tuples(value)
        if not isinstance(value, tuple):
            raise ConfigError(f"config.{path} is a tuple such as {default}, not {shown(text)}")
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        with contextlib.suppress(OverflowError):  # a whole number with hundreds of digits
            if whole or isinstance(value, float):
                return float(value)
        raise ConfigError(f"config.{path} is a number, not {shown(text)}")
    if whole or (value is None and path == OPTIONAL):
        return value
    optional = " or None" if path == OPTIONAL else ""
    raise ConfigError(f"config.{path} is a whole number{optional}, not {shown(text)}")


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
