"""Reports of `evaluate`: intervals of means and medians, tables, and the command line that all its commands share.

Student's t interval is exact for normal errors and about right for the handful of images in such tables; the bootstrap
has a fixed seed, so that the same values give the same interval.
"""

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

import gan2shape_jax
from gan2shape_jax.apps.evaluate.runs import FoundRun
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import option_types
from gan2shape_jax.io.files import atomic_text, read_object, require_folder_place
from gan2shape_jax.results.page import csv_cell, markdown_cell
from gan2shape_jax.run.folder import config_hash

_LEVEL = 0.95
_DRAWS, _SEED = 10_000, 0


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
    """Returns the mean, of at least one value, with Student's t interval."""
    sample = np.asarray(values, np.float64)
    mean, count = float(sample.mean()), len(sample)
    if count < 2:
        return Interval(mean, np.nan, np.nan, count)
    half = stats.t.ppf((1 + _LEVEL) / 2, count - 1) * sample.std(ddof=1) / np.sqrt(count)
    return Interval(mean, float(mean - half), float(mean + half), count)


def median_interval(values: Sequence[float] | Float[np.ndarray, " n"]) -> Interval:
    """Returns the median, of at least one value, with the interval of medians of 10,000 samples drawn anew."""
    sample = np.asarray(values, np.float64)
    median, count = float(np.median(sample)), len(sample)
    if count < 2:
        return Interval(median, np.nan, np.nan, count)
    drawn = np.random.default_rng(_SEED).integers(count, size=(_DRAWS, count))
    low, high = np.quantile(np.median(sample[drawn], axis=1), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(median, float(low), float(high), count)


def interval_text(interval: Interval, digits: int, *, signed: bool = False) -> str:
    """Returns `1.23 (1.10 to 1.36)`, or the estimate alone if there is no interval."""
    kind = f"{'+' if signed else ''}.{digits}f"
    ends = f" ({interval.low:{kind}} to {interval.high:{kind}})" if interval.count > 1 else ""
    return f"{interval.estimate:{kind}}{ends}"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table whose cells are text, not markup; line breaks become spaces."""
    first, *others = (f"| {' | '.join(map(markdown_cell, line))} |" for line in (titles, *rows))
    return "\n".join([first, f"|{' --- |' * len(titles)}", *others]) + "\n"


def bullets(lines: Sequence[str], heading: str = "") -> str:
    """Returns a Markdown list of text, not markup, below a heading; '' if there are no lines."""
    listed = "".join(f"- {markdown_cell(line)}\n" for line in lines)
    return f"{heading}\n\n{listed}" if listed and heading else listed


def csv_text(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns comma-separated values; None and NaN are empty cells, numbers keep all digits, text is no formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([titles, *([_cell(cell) for cell in row] for row in rows)])
    return text.getvalue()


def _cell(cell: object) -> object:
    if isinstance(cell, float) and math.isnan(cell):
        return None
    return csv_cell(cell) if isinstance(cell, str) else cell


def parse(
    argv: Sequence[str],
    command: str,
    about: str,
    epilog: str,
    *,
    results: str,
    out: str,
    options: Callable[[argparse.ArgumentParser], None],
) -> argparse.Namespace:
    """Returns the arguments of `gan2shape-jax COMMAND`: folders RESULTS, the options that `options` adds, and --out.

    `UserError` if an option's value is out of bounds, or --out cannot be written.
    """
    parser = option_types.parser(command, about, epilog)
    kind = option_types.path("RESULTS")
    parser.add_argument("results", type=kind, nargs="+", metavar="RESULTS", help=results)
    options(parser)
    option_types.add_path(parser, "--out", "FOLDER", out)
    arguments = parser.parse_args(argv)
    if arguments.out is not None:
        require_folder_place(arguments.out)
    return arguments


def publish(
    arguments: argparse.Namespace,
    name: str,
    parts: Iterable[str],
    tables: Mapping[str, str],
    runs: Sequence[FoundRun],
    **more: Any,
) -> None:
    """Prints a report, of the `parts` that are not empty.

    If the folder --out was given, writes report, tables, and the record of the runs with `more` facts there.
    """
    text = "\n".join(part for part in parts if part)
    print(text)
    if arguments.out is None:
        return
    record = json.dumps(_manifest(runs, more), indent=2, allow_nan=False) + "\n"
    for file, content in {name: text, **tables, "manifest.json": record}.items():
        atomic_text(arguments.out / file, content)
    print(f"written to {arguments.out}", file=sys.stderr)


def _manifest(runs: Sequence[FoundRun], more: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record for JSON; apart from `path` and `platform`, it does not depend on where the results are."""
    return {
        "gan2shape_jax": gan2shape_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "scipy")},
        "truth": None,
        "intervals": {
            "level": _LEVEL,
            "mean": "Student's t over images",
            "median": f"percentile bootstrap, {_DRAWS} draws, seed {_SEED}",
        },
        "runs": [_record(run) for run in runs],
        **more,
    }


def _record(run: FoundRun) -> dict[str, Any]:
    digest, made_with = hashlib.sha256(), None
    for name, folder in run.images.items():
        digest.update(os.fsencode(name) + b"\0" + (folder / "result.json").read_bytes() + b"\0")
    with contextlib.suppress(OSError, UserError):
        made_with = read_object(run.home / "versions.json", "a run's record of versions")
    return {
        "label": run.label,
        "path": str(run.root),
        "images": len(run.images),
        "failed": len(run.failures),
        "config_sha256": None if run.config is None else config_hash(run.config),
        "results_sha256": digest.hexdigest()[:16],
        "made_with": made_with,
    }
