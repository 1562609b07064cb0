"""How far a figure over a few images can be trusted: 95% intervals of means and medians.

Means get Student's t interval, exact for normal errors and about right for the handful of images in such tables;
medians get a percentile bootstrap with a fixed seed, so that the same values give the same interval.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from gan2shape_jax.results.table import csv_cell, markdown_cell

__all__ = [
    "DRAWS",
    "LEVEL",
    "SEED",
    "Interval",
    "mean_interval",
    "median_interval",
    "paired_interval",
    "interval_text",
    "markdown_table",
    "csv_text",
]

LEVEL = 0.95
DRAWS, SEED = 10_000, 0


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its 95% interval and the number of values; ends are NaN for fewer than two values."""

    estimate: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero; False if there is none."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float] | Float[np.ndarray, " n"]) -> Interval:
    """Returns the mean with Student's t interval.

    Raises:
        ValueError: no values.
    """
    sample = _some(values)
    mean, count = float(sample.mean()), len(sample)
    if count < 2:
        return Interval(mean, np.nan, np.nan, count)
    half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * sample.std(ddof=1) / np.sqrt(count)
    return Interval(mean, float(mean - half), float(mean + half), count)


def median_interval(values: Sequence[float] | Float[np.ndarray, " n"]) -> Interval:
    """Returns the median with the interval of the medians of 10,000 samples drawn with replacement.

    Raises:
        ValueError: no values.
    """
    sample = _some(values)
    median, count = float(np.median(sample)), len(sample)
    if count < 2:
        return Interval(median, np.nan, np.nan, count)
    drawn = np.random.default_rng(SEED).integers(count, size=(DRAWS, count))
    low, high = np.quantile(np.median(sample[drawn], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(median, float(low), float(high), count)


def paired_interval(
    first: Sequence[float] | Float[np.ndarray, " n"], second: Sequence[float] | Float[np.ndarray, " n"]
) -> Interval:
    """Returns the mean of `second - first`, item by item, with Student's t interval.

    Raises:
        ValueError: no values, or two lists of different lengths.
    """
    before, after = _some(first), _some(second)
    if before.shape != after.shape:
        raise ValueError(f"{len(before)} and {len(after)} values do not pair")
    return mean_interval(after - before)


def _some(values: Sequence[float] | np.ndarray) -> np.ndarray:
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not sample.size:
        raise ValueError(f"intervals are of a list of values, not of an array of shape {sample.shape}")
    return sample


def interval_text(interval: Interval, digits: int, *, signed: bool = False) -> str:
    """Returns `1.23 (1.10 to 1.36)`, or the estimate alone if there is no interval."""
    sign = "+" if signed else ""
    estimate = f"{interval.estimate:{sign}.{digits}f}"
    if interval.count < 2:
        return estimate
    return f"{estimate} ({interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f})"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table whose cells are text, not markup; line breaks become spaces."""
    first, *others = (f"| {' | '.join(map(markdown_cell, line))} |" for line in (titles, *rows))
    return "\n".join([first, f"|{' --- |' * len(titles)}", *others]) + "\n"


def csv_text(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns comma-separated values; None is an empty cell, numbers keep all digits, text is never a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([[csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows])
    return text.getvalue()
