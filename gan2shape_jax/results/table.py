"""Figures of one image and of all images: `metrics.json`, `results.csv`, `results.md`, the console.

Metrics are dictionaries of numbers, some nested (`prior`); what is not known, such as depth metrics without true depth,
is absent. Names and messages become cells in which nothing acts as Markdown, HTML, a formula or a terminal command. A
spreadsheet evaluates a CSV cell that begins with `=`, `+`, `-` or `@`, or with a tab or line break before one. As OWASP
advises, such text gets an apostrophe in front, and so does text that begins with one, so that `csv_value` gives back
what was written.
"""

import csv
import dataclasses
import io
import math
import os
import pathlib
import re
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gan2shape_jax.errors import message_line, one_line
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.results.result import Result

__all__ = ["COLUMNS", "Column", "Row", "complete_metrics", "csv_cell", "csv_value", "figure", "markdown_cell"]
__all__ += ["print_table", "write_table"]


class Column(NamedTuple):
    """A figure of the tables: title, path in the metrics, digits after the point, meaning, unit."""

    title: str
    path: tuple[str, ...]
    digits: int
    words: str
    unit: str = ""

    def text(self, value: float | None) -> str:
        """Returns the value as people read it; a dash if it is not known."""
        return "–" if value is None else f"{value:.{self.digits}f}"


_START = "of the shape that the method started from"
_DIFFERENCE = "Mean difference between photo and {} (black to white is 2)"
COLUMNS = (
    Column("side", ("side",), 4, "Error of depth, whatever its scale (SIDE)"),
    Column("mad", ("mad",), 1, "Mean angle between normals and true normals, degrees", "°"),
    Column("mad_unit", ("mad_unit",), 1, "The same with normals of length one, degrees", "°"),
    Column("mae", ("mae",), 4, "Mean absolute error of depth"),
    Column("mse", ("mse",), 6, "Mean squared error of depth"),
    Column("prior_side", ("prior", "side"), 4, f"SIDE {_START}"),
    Column("prior_mad", ("prior", "mad"), 1, f"Angle between normals {_START}, degrees", "°"),
    Column("reconstruction_l1", ("reconstruction_l1",), 3, _DIFFERENCE.format("reconstruction")),
    Column("inversion_l1", ("inversion_l1",), 3, _DIFFERENCE.format("the GAN's picture of it")),
)
# A console narrower than this cannot show every column and omits these; `results.csv` has them all.
_WIDE = 110
_DETAILS = ("mad_unit", "mae", "mse")

# What a spreadsheet may evaluate, with the full-width forms that some do, and the apostrophe that marks text.
_MARKED = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
# What Markdown interprets. Underscores inside words and stars between spaces, which it leaves alone, stay as they are.
_MARKDOWN = re.compile(r"(?P<plain>(?<=[^\W_])_+(?=[^\W_])|(?<=\s)\*(?=\s|$))|[\\`*_~|\[\]]|^[#+=-]+(?=\s|$)")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of the table: its name, what became of it, and its metrics (empty if it failed)."""

    name: str
    status: str = "done"
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def figures(self) -> list[float | None]:
        """The value of each of `COLUMNS`, None where it is not known."""
        return [figure(self.metrics, column.path) for column in COLUMNS]


def complete_metrics(result: Result) -> dict[str, Any]:
    """Returns the result's metrics, with the two differences that need no true depth filled in if absent.

    `reconstruction_l1` is taken over the input's object mask, `inversion_l1` over the whole picture; the latter is
    None without a GAN image.
    """
    weight = result.input_mask if result.input_mask.any() else np.ones_like(result.input_mask)
    difference = np.abs(result.reconstruction - result.image).mean(axis=-1)
    gan = result.gan_image
    known = {
        "reconstruction_l1": float((difference * weight).sum() / weight.sum()),
        "inversion_l1": None if gan is None else float(np.abs(gan - result.image).mean()),
    }
    return {**result.metrics, **{key: value for key, value in known.items() if key not in result.metrics}}


def write_table(folder: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Writes `results.csv` and `results.md` into `folder`.

    The CSV is for programs: one row per image, numbers in full, an empty cell for each unknown one; `csv_value`
    gives back name and status. The Markdown is for people: rounded, with the mean and the median of the known values
    below the images.
    """
    titles = [column.title for column in COLUMNS]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", "status", *titles])
    for row in rows:
        numbers = ("" if value is None else repr(value) for value in row.figures)
        writer.writerow([csv_cell(row.name), csv_cell(message_line(row.status)), *numbers])
    atomic_text(pathlib.Path(folder) / "results.csv", buffer.getvalue())
    lines = [["name", *titles, "status"], ["---", *["---:"] * len(titles), "---"]]
    lines += [[markdown_cell(name), *texts, markdown_cell(status)] for name, texts, status in _lines(rows)]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    atomic_text(pathlib.Path(folder) / "results.md", text)


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Prints the table of `results.md`; on a narrow console, without the least important columns."""
    console = console or Console()
    kept = [k for k, column in enumerate(COLUMNS) if console.width >= _WIDE or column.title not in _DETAILS]
    table = Table(box=box.SIMPLE, padding=(0, 0), pad_edge=False)
    table.add_column("name")
    for k in kept:
        table.add_column(COLUMNS[k].title.replace("reconstruction", "recon.").replace("_", " "), justify="right")
    table.add_column("status", overflow="fold")
    for name, texts, status in _lines(rows):
        cells = (one_line(name), *(texts[k] for k in kept), message_line(status))
        table.add_row(*map(Text, cells), style="bold" if not status else None)
    console.print(table)


def _lines(rows: Sequence[Row]) -> list[tuple[str, list[str], str]]:
    """Returns name, rounded figures and status of each image, then of the mean and the median of what is known."""
    lines = [(row.name, row.figures, row.status) for row in rows]
    known = [[value for value in values if value is not None] for values in zip(*(line[1] for line in lines))]
    known = known or [[] for _ in COLUMNS]
    for name, summarise in (("mean", statistics.fmean), ("median", statistics.median)):
        lines.append((name, [summarise(values) if values else None for values in known], ""))
    return [
        (name, [column.text(value) for column, value in zip(COLUMNS, values, strict=True)], status)
        for name, values, status in lines
    ]


def figure(metrics: Any, path: Sequence[str]) -> float | None:
    """Returns the number at `path` in nested metrics, or None if it is absent or not finite."""
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    known = isinstance(metrics, (int, float)) and not isinstance(metrics, bool) and math.isfinite(metrics)
    return float(metrics) if known else None


def markdown_cell(text: str) -> str:
    """Returns text for a Markdown cell or line: on one line, white space collapsed, markup escaped."""
    return _MARKDOWN.sub(lambda found: found["plain"] or f"\\{found[0]}", message_line(text)).translate(_HTML)


def csv_cell(text: str) -> str:
    """Returns text for a CSV cell: control characters escaped, an apostrophe before what might be evaluated."""
    return one_line(f"'{text}" if text.startswith(_MARKED) else text)


def csv_value(cell: str) -> str:
    """Returns the text that `csv_cell` was given, provided it had no control characters."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_MARKED) else cell
