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


def relative(actual, wanted) -> float:
    """The largest relative L2 of an item."""
    actual, wanted = (array.reshape(len(array), -1) for array in _pair(actual, wanted))
    return float((np.linalg.norm(actual - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


def largest(actual, wanted) -> float:
    """The largest absolute difference of two arrays of one shape."""
    actual, wanted = _pair(actual, wanted)
    return float(np.abs(actual - wanted).max())


def per_value(actual, wanted) -> float:
    """The largest difference of a value relative to the reference's value; any is infinite where that is zero."""
    actual, wanted = _pair(actual, wanted)
    off, size = np.abs(actual - wanted), np.abs(wanted)
    return float(np.where(off == 0, 0, off / np.where(size > 0, size, np.finfo(np.float64).tiny)).max())


def share_off(close) -> float:
    """The share of values that are not close."""
    return float(np.mean(~np.asarray(close)))


def _pair(actual, wanted) -> tuple[np.ndarray, np.ndarray]:
    actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    assert actual.shape == wanted.shape
    return actual, wanted


class _Row(NamedTuple):
    reference: str
    measure: str
    tolerance: float
    measured: float


class Record:
    """The largest difference of each component so far."""

    def __init__(self):
        self._rows: dict[str, _Row] = {}

    def check(
        self, component: str, difference: float, requested: float, reference: str = PYTORCH, measure: str = RELATIVE_L2
    ) -> None:
        """Asserts that a difference is at most what is asked, and remembers the component's largest one.

        `component` is told in the field's terms, `reference` is a golden file or `PYTORCH`.
        """
        difference = float(difference)
        row = _Row(reference, measure, requested, difference)
        before = self._rows.setdefault(component, row)
        assert before[:3] == row[:3], f"{component} is compared in two ways: {before[:3]} and {row[:3]}"
        if difference > before.measured or np.isnan(difference):  # NaN stays
            self._rows[component] = row
        assert difference <= requested, (
            f"{component}: differs from {reference} by {difference:.2e} ({measure}), asked are {requested:.0e}"
        )

    def markdown(self, command: str) -> str:
        """The table of everything compared so far, golden files before PyTorch counterparts."""
        rows = sorted(self._rows.items(), key=lambda item: (item[1].reference == PYTORCH, item[1].reference))
        return "\n".join([*_heading(command, self._rows), *map(_line, rows), ""])


def _summary(rows: dict[str, _Row]) -> Iterable[str]:
    """Five lines for those who want no more: how many comparisons, of which kind, and how close to their bounds."""
    golden = sum(row.reference != PYTORCH for row in rows.values())
    over = sum(not row.measured <= row.tolerance for row in rows.values())
    component, closest = max(
        rows.items(), key=lambda item: item[1].measured / item[1].tolerance if item[1].tolerance else 0
    )
    return (
        f"- {len(rows)} components are compared; {over or 'none'} exceed their bound.",
        f"- {golden} are compared with tensors that the published code computed, {len(rows) - golden} with PyTorch.",
        f"- {sum(row.measured == 0 for row in rows.values())} agree exactly.",
        f"- Closest to its bound: {component}, {_number(closest.measured)} of {_number(closest.tolerance)}.",
        "- How whole runs compare with the published code is on the benchmarks page, not here.",
    )


def _heading(command: str, rows: dict[str, _Row]) -> Iterable[str]:
    reference = {name: metadata.version(name) for name in ("jax", "torch") if importlib.util.find_spec(name)}
    torch = f", PyTorch {reference['torch']}" if "torch" in reference else ""
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
        f"JAX {reference['jax']}{torch}, {platform_used}, Python {platform.python_version()}.",
        "",
        "| component | reference | difference | bound | largest seen |",
        "|---|---|---|---:|---:|",
    )


def _line(item: tuple[str, _Row]) -> str:
    component, row = item
    kind = f"`{row.reference}`" if row.reference != PYTORCH else PYTORCH
    observed = _number(row.measured) if row.measured <= row.tolerance else f"**{_number(row.measured)}, too large**"
    return f"| {component} | {kind} | {row.measure} | {_number(row.tolerance)} | {observed} |"


def _number(value: float) -> str:
    return f"{value:.1e}" if value else "0"
