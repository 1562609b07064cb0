"""Figures of one image and of all images: `metrics.json`, `results.csv`, `results.md`, the console.

Metrics are dictionaries of numbers: `side`, `mad`, `mad_unit` (degrees), `mae`, `mse`, the same
keys under `prior`, and `reconstruction_l1`, `inversion_l1` (mean absolute difference, pictures in
[-1, 1]). What is not known, such as depth metrics without true depth, is absent.

Names and messages become cells in which nothing acts as Markdown, HTML, a formula or a terminal command. A spreadsheet
evaluates a CSV cell that begins with `=`, `+`, `-` or `@`, or with a tab or line break before one. As OWASP advises,
such text gets an apostrophe in front, which marks it as text. So does text that begins with an apostrophe itself, so
that `csv_value` gives back what was written.
"""

import csv
import dataclasses
import io
import math
import os
import pathlib
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gan2shape_jax.errors import message_line, one_line
from gan2shape_jax.io.files import atomic_text
from gan2shape_jax.results.result import Result

__all__ = [
    "COLUMNS",
    "Row",
    "complete_metrics",
    "csv_cell",
    "csv_value",
    "figure",
    "markdown_cell",
    "print_table",
    "write_table",
]

# Title, path in the metrics, digits after the point.
COLUMNS = (
    ("side", ("side",), 4),
    ("mad", ("mad",), 1),
    ("mad_unit", ("mad_unit",), 1),
    ("mae", ("mae",), 4),
    ("mse", ("mse",), 6),
    ("prior_side", ("prior", "side"), 4),
    ("prior_mad", ("prior", "mad"), 1),
    ("reconstruction_l1", ("reconstruction_l1",), 3),
    ("inversion_l1", ("inversion_l1",), 3),
)
# A console narrower than this cannot show every column and omits these; `results.csv` has them all.
_WIDE = 110
_DETAILS = ("mad_unit", "mae", "mse")
_SUMMARIES = (("mean", statistics.fmean), ("median", statistics.median))
_Line = tuple[str, str, list[float | None]]

# The full-width forms of = + - @ too: some spreadsheets evaluate them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKED = (*_FORMULA, "'")

# What Markdown interprets. Underscores inside words and stars between spaces, which it leaves alone, stay as they are.
_MARKDOWN = re.compile(r"(?P<plain>(?<=[^\W_])_+(?=[^\W_])|(?<=\s)\*(?=\s|$))|[\\`*_~|\[\]]|^[#+=-]+(?=\s|$)")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of the table: its name, what became of it, and its metrics (empty if it failed)."""

    name: str
    status: str = "done"
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)


def complete_metrics(result: Result) -> dict[str, Any]:
    """Returns the result's metrics, with the two differences that need no true depth filled in if absent.

    `reconstruction_l1` is taken over the input's object mask, `inversion_l1` over the whole picture; the latter is
    None without a GAN image.
    """
    metrics = dict(result.metrics)
    if "reconstruction_l1" not in metrics:
        weight = result.input_mask if result.input_mask.sum() > 0 else np.ones_like(result.input_mask)
        difference = np.abs(result.reconstruction - result.image).mean(axis=-1)
        metrics["reconstruction_l1"] = float((difference * weight).sum() / weight.sum())
    if "inversion_l1" not in metrics:
        metrics["inversion_l1"] = (
            None if result.gan_image is None else float(np.abs(result.gan_image - result.image).mean())
        )
    return metrics


def write_table(folder: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Writes `results.csv` and `results.md` into `folder`.

    The CSV is for programs: one row per image, numbers in full, an empty cell for each unknown one; `csv_value`
    gives back name and status. The Markdown is for people: rounded, with the mean and the median of the known values
    below the images.
    """
    folder = pathlib.Path(folder)
    titles = [title for title, _, _ in COLUMNS]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", "status", *titles])
    for name, status, values in _image_lines(rows):
        numbers = ("" if value is None else repr(value) for value in values)
        writer.writerow([csv_cell(name), csv_cell(message_line(status)), *numbers])
    atomic_text(folder / "results.csv", buffer.getvalue())
    lines = [
        "| name | " + " | ".join(titles) + " | status |",
        "|---|" + "---:|" * len(titles) + "---|",
    ]
    lines += [
        f"| {' | '.join((markdown_cell(name), *_texts(values), markdown_cell(status)))} |"
        for name, status, values in _all_lines(rows)
    ]
    atomic_text(folder / "results.md", "\n".join(lines) + "\n")


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Prints the table of `results.md`; on a narrow console, without the least important columns."""
    console = console or Console()
    kept = [k for k, (title, _, _) in enumerate(COLUMNS) if console.width >= _WIDE or title not in _DETAILS]
    table = Table(box=box.SIMPLE, padding=(0, 0), pad_edge=False)
    table.add_column("name")
    for k in kept:
        table.add_column(COLUMNS[k][0].replace("reconstruction", "recon.").replace("_", " "), justify="right")
    table.add_column("status", overflow="fold")
    for name, status, values in _all_lines(rows):
        texts = _texts(values)
        cells = (one_line(name), *(texts[k] for k in kept), message_line(status))
        table.add_row(*map(Text, cells), style="bold" if not status else None)
    console.print(table)


def _image_lines(rows: Sequence[Row]) -> list[_Line]:
    """Returns name, status and values of every image."""
    return [(row.name, row.status, [figure(row.metrics, path) for _, path, _ in COLUMNS]) for row in rows]


def _all_lines(rows: Sequence[Row]) -> list[_Line]:
    """Returns the images' lines, then the mean and the median of the known values; their status is empty."""
    lines = _image_lines(rows)
    columns = [[line[2][k] for line in lines] for k in range(len(COLUMNS))]
    return lines + [(name, "", [_summary(summarise, column) for column in columns]) for name, summarise in _SUMMARIES]


def _summary(summarise: Callable[[list[float]], float], column: list[float | None]) -> float | None:
    known = [value for value in column if value is not None]
    return summarise(known) if known else None


def figure(metrics: Any, path: Sequence[str]) -> float | None:
    """Returns the number at `path` in nested metrics, or None if it is absent or not finite."""
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    known = isinstance(metrics, (int, float)) and not isinstance(metrics, bool) and math.isfinite(metrics)
    return float(metrics) if known else None


def _texts(values: Sequence[float | None]) -> list[str]:
    return [
        "–" if value is None else f"{value:.{digits}f}" for value, (_, _, digits) in zip(values, COLUMNS, strict=True)
    ]


def markdown_cell(text: str) -> str:
    """Returns text for a Markdown cell or line: on one line, white space collapsed, markup escaped."""
    return _MARKDOWN.sub(lambda found: found["plain"] or f"\\{found[0]}", message_line(text)).translate(_HTML)


def csv_cell(text: str) -> str:
    """Returns text for a CSV cell: control characters escaped, an apostrophe before what might be evaluated."""
    return one_line(f"'{text}" if text.startswith(_MARKED) else text)


def csv_value(cell: str) -> str:
    """Returns the text that `csv_cell` was given, provided it had no control characters."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_MARKED) else cell
