r"""Names and messages as table cells in which nothing acts as Markdown, HTML, a formula or a terminal command.

A spreadsheet evaluates a CSV cell that begins with `=`, `+`, `-` or `@`, or with a tab or line break before one.
As OWASP advises, such text gets an apostrophe in front, which marks it as text. So does text that begins with an
apostrophe itself, so that `csv_value` gives back what was written.
"""

import re

from gan2shape_jax.errors import message_line, one_line

__all__ = ["csv_cell", "csv_value", "markdown_cell"]

# The full-width forms of = + - @ too: some spreadsheets evaluate them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKED = (*_FORMULA, "'")

# What Markdown interprets. Underscores inside words and stars between spaces, which it leaves alone, stay as they are.
_MARKDOWN = re.compile(r"(?P<plain>(?<=[^\W_])_+(?=[^\W_])|(?<=\s)\*(?=\s|$))|[\\`*_~|\[\]]|^[#+=-]+(?=\s|$)")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def markdown_cell(text: str) -> str:
    """Returns text for a Markdown cell or line: on one line, white space collapsed, markup escaped."""
    return _MARKDOWN.sub(lambda found: found["plain"] or f"\\{found[0]}", message_line(text)).translate(_HTML)


def csv_cell(text: str) -> str:
    """Returns text for a CSV cell: control characters escaped, an apostrophe before what might be evaluated."""
    return one_line(f"'{text}" if text.startswith(_MARKED) else text)


def csv_value(cell: str) -> str:
    """Returns the text that `csv_cell` was given, provided it had no control characters."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_MARKED) else cell
