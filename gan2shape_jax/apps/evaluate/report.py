"""Tables of an evaluation as Markdown and CSV."""

import csv
import io
from collections.abc import Sequence

from gan2shape_jax.apps.evaluate.compare import Comparison, ScoredRun, summarize
from gan2shape_jax.apps.evaluate.intervals import Interval
from gan2shape_jax.apps.evaluate.scores import METRICS
from gan2shape_jax.results.cells import csv_cell, markdown_cell

__all__ = ["csv_text", "images_csv", "interval_text", "markdown", "markdown_table", "summary_csv"]

_DIGITS = {"side": 4, "mad": 1, "mad_unit": 1, "mae": 4, "mse": 6, "reconstruction_l1": 3, "inversion_l1": 3}
_TITLES = {
    "side": "SIDE",
    "mad": "MAD, degrees",
    "mad_unit": "MAD, unit normals",
    "mae": "MAE",
    "mse": "MSE",
    "reconstruction_l1": "reconstruction L1",
    "inversion_l1": "inversion L1",
}

_PREFACE = """\
Estimates with 95% intervals over images: Student's t for means, a bootstrap for medians. SIDE is scale-invariant,
MAD in degrees (the published code's short normals, and unit ones), MAE and MSE in scene units.
"""


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


def images_csv(runs: Sequence[ScoredRun]) -> str:
    """Returns a CSV with a row per image: run, name, size, any problem, and every metric."""
    rows = [
        [run.label, score.name, score.size or None, score.problem, *(score.figures.get(m) for m in METRICS)]
        for run in runs
        for score in run.scores
    ]
    return csv_text(["run", "name", "size", "problem", *METRICS], rows)


def summary_csv(runs: Sequence[ScoredRun], comparisons: Sequence[Comparison]) -> str:
    """Returns a CSV with a row per run, metric and statistic: estimate, 95% interval, number of images."""
    rows: list[list[object]] = []
    for run in runs:
        for metric, statistics in summarize(run.scores).items():
            rows += [[run.label, metric, name, i.estimate, *_ends(i), i.count] for name, i in statistics.items()]
    for comparison in comparisons:
        rows += [
            [
                f"{comparison.other} - {comparison.base}",
                metric,
                "mean paired difference",
                i.estimate,
                *_ends(i),
                i.count,
            ]
            for metric, i in comparison.differences.items()
        ]
    return csv_text(["run", "metric", "statistic", "estimate", "low", "high", "images"], rows)


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return (None, None) if interval.count < 2 else (interval.low, interval.high)


def markdown(runs: Sequence[ScoredRun], comparisons: Sequence[Comparison]) -> str:
    """Returns the whole report: summaries, comparisons, images side by side, and problems."""
    parts = [_PREFACE, _summaries(runs)]
    parts += [_comparison(comparison) for comparison in comparisons]
    parts += [_images(runs), _problems(runs)]
    return "\n".join(part for part in parts if part)


def _summaries(runs: Sequence[ScoredRun]) -> str:
    by_label = {run.label: summarize(run.scores) for run in runs}
    known = [metric for metric in METRICS if any(metric in summary for summary in by_label.values())]
    rows = []
    for label, summary in by_label.items():
        for statistic in ("mean", "median"):
            cells = [interval_text(summary[m][statistic], _DIGITS[m]) if m in summary else "–" for m in known]
            count = max((s[statistic].count for s in summary.values()), default=0)
            rows.append([label, statistic, str(count), *cells])
    return markdown_table(["run", "", "images", *(_TITLES[m] for m in known)], rows)


def _comparison(comparison: Comparison) -> str:
    other, base = markdown_cell(comparison.other), markdown_cell(comparison.base)
    lines = [
        f"{other} against {base}, paired by image ({comparison.images} in common); negative "
        "is better; * where the interval excludes zero:\n"
    ]
    rows = [
        [
            _TITLES[metric] + (" *" if interval.excludes_zero else ""),
            interval_text(interval, _DIGITS[metric] + 1, signed=True),
            str(interval.count),
        ]
        for metric, interval in comparison.differences.items()
    ]
    if rows:
        lines.append(markdown_table(["metric", "mean difference", "images"], rows))
    else:
        lines.append("nothing in common to compare\n")
    return "\n".join(
        [*lines, *(f"- {markdown_cell(note)}" for note in comparison.notes), *([""] if comparison.notes else [])]
    )


def _images(runs: Sequence[ScoredRun]) -> str:
    names = sorted({score.name for run in runs for score in run.scores})
    by_name = [{score.name: score for score in run.scores} for run in runs]
    rows = []
    for name in names:
        cells = []
        for scores in by_name:
            figures = scores[name].figures if name in scores else {}
            cells.append(
                f"{figures['side']:.4f} / {figures['mad']:.1f} / {figures['mad_unit']:.1f}"
                if "side" in figures
                else "–"
            )
        rows.append([name, *cells])
    table = markdown_table(["image", *(run.label for run in runs)], rows)
    return f"SIDE / MAD / MAD with unit normals, by image:\n\n{table}"


def _problems(runs: Sequence[ScoredRun]) -> str:
    lines = [
        f"- {markdown_cell(f'{run.label}: {score.name}: {score.problem}')}"
        for run in runs
        for score in run.scores
        if score.problem
    ]
    sizes = {score.size for run in runs for score in run.scores if score.size}
    if len(sizes) > 1:
        lines.append(
            f"- images of several sizes ({', '.join(map(str, sorted(sizes)))} pixels): normals, and with them "
            "MAD, depend on the size; compare like with like"
        )
    return "\n".join(["What to know:\n", *lines, ""]) if lines else ""
