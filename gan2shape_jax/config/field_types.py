"""Whether a configuration has the fields of `configs/base.py`, each with a value of its type.

A config file is the user's own program and may set anything, so this is checked before anything else about a value.
"""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from gan2shape_jax.config.option_types import name_fault
from gan2shape_jax.config.python_files import base_module
from gan2shape_jax.config.tree import flatten

__all__ = ["OPTIONAL", "base_values", "shown", "text_fault", "type_problems"]

OPTIONAL = "data.crop"  # the one whole number that may be None
_LONGEST = 60  # characters of a value in a message
_LARGEST = 10**60  # larger whole numbers are not written out; Python itself refuses to from 4300 digits on
_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text", tuple: "a tuple such as {}"}


@functools.cache
def base_values() -> Mapping[str, Any]:
    """Returns the defaults by dotted path; their types are the types of the fields."""
    return flatten(base_module().get_config())


def shown(value: Any) -> str:
    """Returns a value as shown in messages, however long it is and whatever its own `repr` does."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"a whole number of about {value.bit_length() * 30103 // 100000} digits"
    try:
        text = repr(value)
    except Exception as error:  # an object defined in the config file, or one with a number too long to write
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def type_problems(values: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each field that is missing, unknown, or has a value of the wrong type."""
    base = base_values()
    faults = [f"config.{path} is left out: start from a whole configuration" for path in base if path not in values]
    faults += [_unknown(path) for path in values if path not in base]
    return faults + [fault for path in base if path in values for fault in _type_fault(path, values[path], base[path])]


def _unknown(path: str) -> str:
    close = difflib.get_close_matches(path, list(base_values()), n=1, cutoff=0.6)
    hint = f"; did you mean config.{close[0]}?" if close else ""
    return f"there is no field config.{shown(path)[1:-1]}{hint} (--help lists the groups of fields)"


def _type_fault(path: str, value: Any, default: Any) -> list[str]:
    if path == OPTIONAL:
        fits, kind = value is None or _is_whole(value), "a whole number or None"
    else:
        fits, kind = _fits(value, type(default)), _KINDS[type(default)].format(default)
    if not fits:
        return [f"config.{path} is {kind}, not {shown(value)}"]
    if _is_whole(value) and abs(value) > _LARGEST:
        return [f"config.{path} is {shown(value)}: no field takes so large a number"]
    return [fault] if isinstance(value, str) and (fault := text_fault(path, value)) else []


def _fits(value: Any, kind: type) -> bool:
    """Whether a value has a field's type; a whole number is accepted for any number."""
    if kind in (int, float):
        return _is_whole(value) or (kind is float and isinstance(value, float))
    return isinstance(value, kind)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def text_fault(path: str, text: str) -> str:
    """Returns a sentence on why a text is unusable for a field (most name files and folders), or ''."""
    fault = name_fault(text)
    return f"config.{path} is {shown(text)}: {fault}" if fault else ""
