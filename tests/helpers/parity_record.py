"""The differences that parity tests see, held against what is asked, kept by component, written as a table."""

import importlib.util
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import NamedTuple

import numpy as np

PYTORCH = "PyTorch counterpart"  # written for the test, with random weights

# How a difference is measured.
RELATIVE_L2 = "relative L2"  # norm of the difference over the reference's norm, of an item
PER_VALUE = "relative, per value"
LARGEST = "largest absolute"


def relative(found, wanted) -> float:
    """The largest relative L2 of an item."""
    found, wanted = (array.reshape(len(array), -1) for array in _pair(found, wanted))
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


def largest(found, wanted) -> float:
    """The largest absolute difference of two arrays of one shape."""
    found, wanted = _pair(found, wanted)
    return float(np.abs(found - wanted).max())


def per_value(found, wanted) -> float:
    """The largest difference of a value relative to the reference's value; any is infinite where that is zero."""
    found, wanted = _pair(found, wanted)
    off, size = np.abs(found - wanted), np.abs(wanted)
    return float(np.where(off == 0, 0, off / np.where(size > 0, size, np.finfo(np.float64).tiny)).max())


def share_off(close) -> float:
    """The share of values that are not close."""
    return float(np.mean(~np.asarray(close)))


def _pair(found, wanted) -> tuple[np.ndarray, np.ndarray]:
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape
    return found, wanted


class _Row(NamedTuple):
    reference: str
    measure: str
    asked: float
    seen: float


class Record:
    """The largest difference of each component so far."""

    def __init__(self):
        self._rows: dict[str, _Row] = {}

    def check(
        self, component: str, difference: float, asked: float, reference: str = PYTORCH, measure: str = RELATIVE_L2
    ) -> None:
        """Asserts that a difference is at most what is asked, and remembers the component's largest one.

        `component` is told in the field's terms, `reference` is a golden file or `PYTORCH`.
        """
        difference = float(difference)
        row = _Row(reference, measure, asked, difference)
        before = self._rows.setdefault(component, row)
        assert before[:3] == row[:3], f"{component} is compared in two ways: {before[:3]} and {row[:3]}"
        if difference > before.seen or np.isnan(difference):  # NaN stays
            self._rows[component] = row
        assert difference <= asked, (
            f"{component}: differs from {reference} by {difference:.2e} ({measure}), asked are {asked:.0e}"
        )

    def markdown(self, command: str) -> str:
        """The table of everything compared so far, golden files before PyTorch counterparts."""
        rows = sorted(self._rows.items(), key=lambda item: (item[1].reference == PYTORCH, item[1].reference))
        return "\n".join([*_heading(command, self._rows), *map(_line, rows), ""])


def _summary(rows: dict[str, _Row]) -> Iterable[str]:
    """Five lines for those who want no more: how many comparisons, of which kind, and how close to their bounds."""
    golden = sum(row.reference != PYTORCH for row in rows.values())
    over = sum(not row.seen <= row.asked for row in rows.values())
    component, closest = max(rows.items(), key=lambda item: item[1].seen / item[1].asked if item[1].asked else 0)
    return (
        f"- {len(rows)} components are compared; {over or 'none'} exceed their bound.",
        f"- {golden} are compared with tensors that the published code computed, {len(rows) - golden} with PyTorch.",
        f"- {sum(row.seen == 0 for row in rows.values())} agree exactly.",
        f"- Closest to its bound: {component}, {_number(closest.seen)} of {_number(closest.asked)}.",
        "- How whole runs compare with the published code is on the benchmarks page, not here.",
    )


def _heading(command: str, rows: dict[str, _Row]) -> Iterable[str]:
    known = {name: metadata.version(name) for name in ("jax", "torch") if importlib.util.find_spec(name)}
    torch = f", PyTorch {known['torch']}" if "torch" in known else ""
    platform_used = importlib.import_module("jax").devices()[0].platform.upper()
    return (
        "# Parity with the published implementation",
        "",
        *_summary(rows),
        "",
        "Written by the tests themselves: every row is a bound that a test asserts, with the largest difference seen",
        "by it. Golden files hold tensors computed by the published PyTorch code; PyTorch counterparts are networks",
        "written for the tests, saved in the published file layout with random weights, converted and compared.",
        "Relative L2 is the norm of the difference over the norm of the reference, of the worst item.",
        "",
        f"    {command}",
        "",
        f"JAX {known['jax']}{torch}, {platform_used}, Python {platform.python_version()}.",
        "",
        "| component | reference | difference | bound | largest seen |",
        "|---|---|---|---:|---:|",
    )


def _line(item: tuple[str, _Row]) -> str:
    component, row = item
    kind = f"`{row.reference}`" if row.reference != PYTORCH else PYTORCH
    seen = _number(row.seen) if row.seen <= row.asked else f"**{_number(row.seen)}, too large**"
    return f"| {component} | {kind} | {row.measure} | {_number(row.asked)} | {seen} |"


def _number(value: float) -> str:
    return f"{value:.1e}" if value else "0"
