"""Tables and JSON of the timings."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from .clock import Timing

# Rows by name, each with the timings of ours and of every PyTorch variant by name.
Rows = dict[str, dict[str, Timing]]
OURS = "jax"


@dataclasses.dataclass(frozen=True)
class Report:
    """All figures of one configuration.

    Attributes:
      name: the configuration's name; drawn: what was drawn at random.
      steps, parts: timings by row and by who ran it: "jax", or a PyTorch variant.
      iterations: iterations in the whole schedule, by row of `steps`.
      peak_gib: peak memory, by what it was measured on.
    """

    name: str
    drawn: tuple[str, ...]
    steps: Rows
    parts: Rows
    iterations: dict[str, int]
    peak_gib: dict[str, float]


def whole_schedule_s(rows: Rows, iterations: Mapping[str, int], who: str) -> float:
    """Seconds of an image's whole schedule, from the medians, without compilation, inversion and outputs."""
    return sum(rows[name][who].median_s * count for name, count in iterations.items())


def _totals(report: Report) -> dict[str, float]:
    """The whole schedule's seconds by who ran it; nothing unless every kind of iteration was timed."""
    if set(report.steps) != set(report.iterations):
        return {}
    return {who: whole_schedule_s(report.steps, report.iterations, who) for who in _who(report.steps)}


def tables(report: Report) -> Iterable[Table]:
    """The tables of one configuration: steps with the whole schedule, then parts."""
    if report.steps:
        table = _table(f"{report.name}: an iteration of each step, ms", report.steps, ("iterations", "compile, s"))
        for name, row in report.steps.items():
            counted = str(report.iterations.get(name, "")), f"{row[OURS].compile_s:.1f}"
            table.add_row(name, *counted, *_cells(row), end_section=name == list(report.steps)[-1])
        if totals := _totals(report):
            compiled = f"{sum(row[OURS].compile_s for row in report.steps.values()):.1f}"
            table.add_row("whole schedule, s", "", compiled, f"{totals[OURS]:.1f}", "", *_others(totals))
            table.add_row("images an hour", "", "", *_per_hour(totals))
        yield table
    if report.parts:
        table = _table(f"{report.name}: parts, value and gradient on a batch, ms", report.parts, ())
        for name, row in report.parts.items():
            table.add_row(name, *_cells(row))
        yield table


def _who(rows: Rows) -> list[str]:
    return list(next(iter(rows.values())))


def _table(title: str, rows: Rows, before: tuple[str, ...]) -> Table:
    others = _who(rows)[1:]
    columns = [column for who in others for column in (f"{who}, median", "least", "ratio")]
    table = Table("", *before, "jax, median", "least", *columns, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _cells(row: Mapping[str, Timing]) -> list[str]:
    """Median and minimum of each, in milliseconds, and the others' times relative to ours."""
    cells = []
    for who, timing in row.items():
        cells += [f"{timing.median_s * 1e3:.1f}", f"{timing.least_s * 1e3:.1f}"]
        cells += [] if who == OURS else [f"{timing.median_s / row[OURS].median_s:.2f}"]
    return cells


def _others(totals: Mapping[str, float]) -> list[str]:
    return [
        cell
        for who, total in totals.items()
        if who != OURS
        for cell in (f"{total:.1f}", "", f"{total / totals[OURS]:.2f}")
    ]


def _per_hour(totals: Mapping[str, float]) -> list[str]:
    return [
        cell for who, total in totals.items() for cell in ((f"{3600 / total:.2f}", "") + (() if who == OURS else ("",)))
    ]


def to_json(report: Report) -> dict[str, Any]:
    """Everything in the report, with derived figures."""
    totals = _totals(report)
    return dataclasses.asdict(report) | {
        "whole_schedule_s": totals,
        "images_per_hour": {who: 3600 / total for who, total in totals.items()},
        "torch_over_jax": {who: total / totals[OURS] for who, total in totals.items() if who != OURS},
    }
