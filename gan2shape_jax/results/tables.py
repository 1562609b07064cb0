"""The table of all images of a run: `results.csv`, `results.md`, and on the console.

Names and messages become cells in which nothing acts as Markdown, HTML, a formula or a terminal command. A spreadsheet
evaluates a CSV cell that begins with `=`, `+`, `-` or `@`, or with a tab or line break before one. As OWASP advises,
such text gets an apostrophe in front, and so does text that begins with one, so that `csv_value` gives back what was
written.
"""

import csv
import io
import os
import pathlib
import re
import statistics
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gan2shape_jax.errors import message_line, one_line
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.results.files import finite
from gan2shape_jax.results.result import COLUMNS, Row

# A console narrower than this cannot show every column and omits these; `results.csv` has them all.
_WIDE = 110
_DETAILS = ("mad_unit", "mae", "mse")

# What a spreadsheet may evaluate, with the full-width forms that some do, and the apostrophe that marks text.
_MARKED = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
# What Markdown interprets. Underscores inside words and stars between spaces, which it leaves alone, stay as they are.
_MARKDOWN = re.compile(r"(?P<plain>(?<=[^\W_])_+(?=[^\W_])|(?<=\s)\*(?=\s|$))|[\\`*_~|\[\]]|^[#+=-]+(?=\s|$)")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def write_table(folder: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Writes `results.csv` and `results.md` into `folder`.

    The CSV is for programs: one row per image, numbers in full, an empty cell for each unknown one; `csv_value`
    gives back name and status. The Markdown is for people: rounded, what is known of some image, with the mean
    and the median below, and then what each figure is.
    """
    titles = [column.title for column in COLUMNS]
    cells = [[row.name, message_line(row.status), *row.figures] for row in rows]
    atomic_text(pathlib.Path(folder) / "results.csv", csv_text(["name", "status", *titles], cells))
    kept = known_columns(rows)
    lines = [["name", *(COLUMNS[k].label for k in kept), "status"], ["---", *["---:"] * len(kept), "---"]]
    for name, texts, status in _lines(rows):
        lines.append([markdown_cell(name), *(texts[k] for k in kept), markdown_cell(status)])
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    legend = [f"- {column.label}: {column.words} ({column.term})\n" for column in map(COLUMNS.__getitem__, kept)]
    atomic_text(pathlib.Path(folder) / "results.md", "\n".join([text, "".join(legend)]) if kept else text)


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Prints the table of `results.md`; on a narrow console, without the least important columns."""
    console = console or Console()
    kept = [k for k in known_columns(rows) if console.width >= _WIDE or COLUMNS[k].title not in _DETAILS]
    table = Table(box=box.SIMPLE, padding=(0, 0), pad_edge=False)
    table.add_column("name", overflow="fold")
    for k in kept:
        table.add_column(Text.assemble(COLUMNS[k].label, (f"\n{COLUMNS[k].term}", "dim")), justify="right")
    table.add_column("status", overflow="fold")
    for name, texts, status in _lines(rows):
        cells = (one_line(name), *(texts[k] for k in kept), message_line(status))
        table.add_row(*map(Text, cells), style="bold" if not status else None)
    console.print(table)


def known_columns(rows: Sequence[Row]) -> list[int]:
    """Returns the numbers of the columns in which some row has a figure."""
    figures = [row.figures for row in rows]
    return [k for k in range(len(COLUMNS)) if any(line[k] is not None for line in figures)]


def _lines(rows: Sequence[Row]) -> list[tuple[str, list[str], str]]:
    """Returns name, rounded figures and status of each image, then of the mean and the median of what is known."""
    lines = [(row.name, row.figures, row.status) for row in rows]
    columns = [[value for value in values if value is not None] for values in zip(*(line[1] for line in lines))]
    columns = columns or [[] for _ in COLUMNS]
    for name, summarise in (("mean", statistics.fmean), ("median", statistics.median)):
        lines.append((name, [summarise(values) if values else None for values in columns], ""))
    return [
        (name, [column.text(value) for column, value in zip(COLUMNS, values, strict=True)], status)
        for name, values, status in lines
    ]


def markdown_cell(text: str) -> str:
    """Returns text for a Markdown cell or line: on one line, white space collapsed, markup escaped."""
    return _MARKDOWN.sub(lambda match: match["plain"] or f"\\{match[0]}", message_line(text)).translate(_HTML)


def csv_text(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns comma-separated values; None and NaN are empty cells, numbers keep all digits, text is no formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    for row in rows:
        writer.writerow([csv_cell(cell) if isinstance(cell, str) else finite(cell) for cell in row])
    return text.getvalue()


def csv_cell(text: str) -> str:
    """Returns text for a CSV cell: control characters escaped, an apostrophe before what might be evaluated."""
    return one_line(f"'{text}" if text.startswith(_MARKED) else text)


def csv_value(cell: str) -> str:
    """Returns the text that `csv_cell` quoted, provided it had no control characters."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_MARKED) else cell
