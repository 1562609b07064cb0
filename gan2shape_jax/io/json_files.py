"""Reads JSON files of modest size; what is wrong with one is a sentence that names it."""

import json
import math
import os
from typing import Any

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.regular_files import MIB, read_text

__all__ = ["LARGEST", "read_json", "read_object"]

LARGEST = 4 * MIB  # a configuration takes 10 KiB


def read_json(path: str | os.PathLike[str], kind: str, *, limit: int = LARGEST) -> Any:
    """Returns the content of a JSON file: dictionaries, lists, text, finite numbers, booleans and None.

    Args:
      path: the file.
      kind: what it is read as, for messages: "a run's configuration".
      limit: the largest size accepted, bytes.

    Raises:
      UserError: the file cannot be opened, is too large, or is not such JSON; the message names it.
      FileNotFoundError: there is no such file.
    """
    try:
        return json.loads(read_text(path, limit=limit), parse_constant=_finite, parse_float=_finite)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged and cannot be read as {kind}: {error}"[:1000]) from error


def read_object(path: str | os.PathLike[str], kind: str, *, limit: int = LARGEST) -> dict[str, Any]:
    """Returns the content of a JSON file that holds an object; arguments and errors as for `read_json`."""
    content = read_json(path, kind, limit=limit)
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged and cannot be read as {kind}: it holds no JSON object")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no number that can be used")
    return value
