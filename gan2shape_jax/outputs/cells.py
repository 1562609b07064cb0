r"""Names and messages as cells of tables: nothing in them is Markdown, HTML, a formula or a command to the terminal.

A spreadsheet computes a cell of a CSV that begins with `=`, `+`, `-` or `@`, or with a tab or line break before one.
As OWASP advises such text gets an apostrophe in front, by which spreadsheets know text. So does text that begins with
one itself, so that `csv_value` gives back what was written.
"""

import re

from gan2shape_jax.plain_text import message_line, one_line

__all__ = ["csv_cell", "csv_value", "markdown_cell"]

# The wide forms of = + - @ too: some spreadsheets compute them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKED = (*_FORMULA, "'")

# What Markdown reads. Underscores inside words and stars between spaces, which it leaves alone, stay as they are.
_MARKDOWN = re.compile(r"(?P<plain>(?<=[^\W_])_+(?=[^\W_])|(?<=\s)\*(?=\s|$))|[\\`*_~|\[\]]|^[#+=-]+(?=\s|$)")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def markdown_cell(text: str) -> str:
    """Returns text for a cell or a line of Markdown: in one line, white space made single, nothing in it markup."""
    return _MARKDOWN.sub(lambda found: found["plain"] or f"\\{found[0]}", message_line(text)).translate(_HTML)


def csv_cell(text: str) -> str:
    """Returns text for a cell of a CSV: control characters escaped, an apostrophe before what might be computed."""
    return one_line(f"'{text}" if text.startswith(_MARKED) else text)


def csv_value(cell: str) -> str:
    """Returns the text that `csv_cell` was given, where that had no control characters."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_MARKED) else cell
