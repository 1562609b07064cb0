"""Describes a file's contents in error messages: truncated and never expanded.

A list of names can be as long as the file, and a value that contains another one twice, many levels deep, would take
forever to print.
"""

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["listed", "printable", "short"]

_NAMES = 40
_LENGTH = 80  # characters of a name or value


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
