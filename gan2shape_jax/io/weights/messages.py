"""Describes the contents of weight files in error messages: truncated and never expanded."""

from collections.abc import Iterable, Sequence
from typing import Any

from gan2shape_jax.io.child import MIB

__all__ = ["LIMIT", "Refused", "listed", "printable", "short"]

LIMIT = 4096 * MIB  # maximum bytes of a weight file; StyleGAN2 for 1024 pixels with its optimizers has 830 MB

_NAMES = 40
_LENGTH = 80  # characters of a name or value


class Refused(Exception):
    """A weight file is damaged, or asks for something that no honest file needs; the message says for what.

    Attributes:
      name: the name of the function or class that it asks for, or "".
    """

    name: str = ""

    @classmethod
    def call(cls, name: str) -> "Refused":
        """Returns the error for a file that names a function or class outside the closed list."""
        error = cls(printable(name, 200))
        error.name = name
        return error


def listed(names: Iterable[str], count: int = _NAMES) -> str:
    """Returns the first `count` names, joined by commas, and how many more there are."""
    every: Sequence[str] = list(names)
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(_cut(name) for name in every[:count]) + more


def short(value: Any) -> str:
    """Returns the truncated `repr` of a plain value; for any other value, only its type."""
    if isinstance(value, (str, bytes)):
        return _cut(repr(value[:_LENGTH]))
    if value is None or isinstance(value, (bool, int, float)):
        return _cut(repr(value))
    return f"a {type(value).__name__}"


def printable(text: str, length: int) -> str:
    """Returns the beginning of untrusted text, with line breaks and terminal control characters replaced."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:length])


def _cut(text: str) -> str:
    return text if len(text) <= 2 * _LENGTH else f"{text[:_LENGTH]}...{text[-_LENGTH // 2 :]}"
