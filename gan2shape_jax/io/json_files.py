"""Reads JSON that somebody else may have written: regular files of modest size, plain and finite content.

What Python's reader accepts but nothing here could use is an error with a message: names given twice, NaN and infinity,
numbers beyond 64 bits, text nested a thousand levels deep.
"""

import collections
import json
import math
import os
from typing import Any

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import regular_files

__all__ = ["DEEPEST", "LARGEST", "parse_json", "read_json", "read_object"]

LARGEST = 4 * regular_files.MIB  # a configuration takes 10 KiB; `[[],[],...` takes 30 times its size in memory
DEEPEST = 32  # levels of nested lists and objects
_DIGITS = 20  # of a 64-bit integer, with its sign


def read_json(path: str | os.PathLike[str], kind: str, *, limit: int = LARGEST, nan_is_none: bool = False) -> Any:
    """Returns the content of a JSON file: dictionaries, lists, text, finite numbers, booleans and None.

    Args:
      path: the file.
      kind: what it is read as, for messages: "a run's configuration".
      limit: the largest size accepted, bytes; memory is at most some 30 times as much.
      nan_is_none: whether NaN and infinity, which Python writes for unknown values, become None.

    Raises:
      UserError: the file cannot be opened, is too large, or is not such JSON; the message names it.
      FileNotFoundError: there is no such file.
    """
    try:
        return _parsed(regular_files.read_text(path, limit=limit, encoding="utf-8"), nan_is_none=nan_is_none)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged and cannot be read as {kind}: {error}") from error


def read_object(
    path: str | os.PathLike[str], kind: str, *, limit: int = LARGEST, nan_is_none: bool = False
) -> dict[str, Any]:
    """Returns the content of a JSON file that holds an object; arguments and errors as for `read_json`."""
    content = read_json(path, kind, limit=limit, nan_is_none=nan_is_none)
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged and cannot be read as {kind}: it holds no JSON object")
    return content


def parse_json(text: str | bytes, source: object, kind: str, *, nan_is_none: bool = False) -> Any:
    """Returns the content of JSON text, such as the header of another file.

    Args:
      text: characters, or their UTF-8 bytes.
      source: where it comes from, for messages.
      kind: what it is read as, for messages.
      nan_is_none: see `read_json`.

    Raises:
      UserError: it is not such JSON; the message has `source`.
    """
    try:
        return _parsed(text.decode("utf-8") if isinstance(text, bytes) else text, nan_is_none=nan_is_none)
    except ValueError as error:
        raise UserError(f"{source} is damaged and cannot be read as {kind}: {error}") from error


def _parsed(text: str, *, nan_is_none: bool = False) -> Any:
    """Raises `ValueError` for what is not JSON, or not accepted here."""
    try:
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=(lambda text: None) if nan_is_none else _constant,
            parse_float=_float,
            parse_int=_whole,
        )
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels of lists and objects inside each other") from None
    _require_shallow(content)
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        ((twice, _),) = collections.Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{_shown(twice)} is given twice")
    return content


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number that can be used")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_shown(text)} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"{_shown(text)} is too large")
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _require_shallow(content: Any) -> None:
    level = [content]
    for _ in range(DEEPEST + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    if level:
        raise ValueError(f"more than {DEEPEST} levels of lists and objects inside each other")
