"""`gan2shape-jax evaluate`: errors of finished runs, recomputed from what they saved, side by side.

The other runs are compared with the first.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import os
import pathlib
import sys
import zlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from gan2shape_jax.apps.evaluate.runs import FoundRun, find_runs, manifest
from gan2shape_jax.apps.evaluate.tables import (
    Interval,
    csv_text,
    interval_text,
    markdown_table,
    mean_interval,
    median_interval,
    paired_interval,
)
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import option_types
from gan2shape_jax.io.arrays import load_depth
from gan2shape_jax.io.files import atomic_text, require_folder_place
from gan2shape_jax.method import metrics
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.table import complete_metrics, markdown_cell

__all__ = ["DEPTH_METRICS", "METRICS", "Score", "ScoredRun", "compare", "depth_errors", "main", "score_run"]


_EPILOG = """\
examples:
  gan2shape-jax evaluate results/ictface
  gan2shape-jax evaluate results/a results/b --out results/a_b          compares b with a
  gan2shape-jax evaluate results/mine --truth depths                    NAME.npy or NAME.png for every image
  gan2shape-jax evaluate identity results/ictface --embedding FACE.onnx (evaluate identity --help)
  gan2shape-jax evaluate consistency results/mine                       without true depth (... consistency --help)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, or 1 after an error that has been printed."""
    return exit_code(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["identity"]:
        from gan2shape_jax.apps.evaluate import identity  # imports the networks, which the rest does not need

        return identity.run(arguments[1:])
    if arguments[:1] == ["consistency"]:
        from gan2shape_jax.apps.evaluate import consistency

        return consistency.run(arguments[1:])
    return _run(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax evaluate",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Errors of finished runs with 95% intervals, computed anew from the saved arrays.",
    )
    parser.add_argument(
        "results",
        type=option_types.path("RESULTS"),
        nargs="+",
        metavar="RESULTS",
        help="folders of runs, or of single images; the first is what the others are compared with",
    )
    parser.add_argument(
        "--truth",
        type=option_types.path("--truth"),
        metavar="FOLDER",
        help="true depths, NAME.npy (scene units) or NAME.png, instead of those in the results",
    )
    parser.add_argument(
        "--out",
        type=option_types.path("--out"),
        metavar="FOLDER",
        help="writes evaluation.md, images.csv, summary.csv and manifest.json there",
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    truth = arguments.truth
    if truth is not None and not truth.is_dir():
        raise UserError(f"--truth {truth} is not a folder of true depths: there is no such folder")
    if arguments.out is not None:
        require_folder_place(arguments.out)
    run_folders = find_runs(arguments.results)
    runs = [ScoredRun(run, score_run(run, truth)) for run in run_folders]
    comparisons = [compare(runs[0], other) for other in runs[1:]]
    text = markdown(runs, comparisons)
    print(text)
    if arguments.out is not None:
        record = json.dumps(manifest(run_folders, truth), indent=2, allow_nan=False)
        for name, content in (
            ("evaluation.md", text),
            ("images.csv", images_csv(runs)),
            ("summary.csv", summary_csv(runs, comparisons)),
            ("manifest.json", record + "\n"),
        ):
            atomic_text(arguments.out / name, content)
        print(f"written to {arguments.out}", file=sys.stderr)
    return 1 if any(score.broken for run in runs for score in run.scores) else 0


DEPTH_METRICS = ("side", "mad", "mad_unit", "mae", "mse")
METRICS = (*DEPTH_METRICS, "reconstruction_l1", "inversion_l1")


@dataclasses.dataclass(frozen=True)
class Score:
    """One image of a run.

    Attributes:
        name: of the image.
        figures: by names of `METRICS`; unknown ones are absent.
        problem: what was wrong, or "".
        broken: whether the problem is a damaged or mismatched file, rather than a missing ground truth.
        size: side of the image, pixels; 0 if the result could not be read.
        truth: checksum of the true depth that was used, or None.
    """

    name: str
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    problem: str = ""
    broken: bool = False
    size: int = 0
    truth: int | None = None


def score_run(
    run: FoundRun, truth: pathlib.Path | None = None, *, on_done: Callable[[str], None] = lambda name: None
) -> list[Score]:
    """Scores every image of a run; one that cannot be scored says why and does not stop the others.

    Args:
        run: the run and its results.
        truth: folder of true depths `NAME.npy` (scene units) or `NAME.png`, used instead of those in the results.
        on_done: called with the name of every image that is done.
    """
    crop = (run.config or {}).get("data", {}).get("crop")
    scores = []
    for name, folder in run.images.items():
        scores.append(_score(name, folder, truth, crop))
        on_done(name)
    missed = {name: reason for name, reason in run.failures.items() if name not in run.images}
    scores += [Score(name, problem=f"the run failed: {reason}") for name, reason in missed.items()]
    return sorted(scores, key=lambda score: score.name)


def _score(name: str, folder: pathlib.Path, truth: pathlib.Path | None, crop: int | None) -> Score:
    try:
        result = load_result(folder)
    except UserError as error:
        return Score(name, problem=str(error), broken=True)
    size = result.camera.image_size
    figures = {
        key: value
        for key, value in complete_metrics(result).items()
        if key in METRICS[len(DEPTH_METRICS) :] and value is not None
    }
    try:
        depth = result.true_depth if truth is None else _read_truth(truth, name, result, crop)
    except UserError as error:
        return Score(name, figures, str(error), broken=True, size=size)
    if depth is None:
        where = (
            "the result has no true depth (--truth names a folder of some)"
            if truth is None
            else (f"no true depth {name}.npy or {name}.png in {truth}")
        )
        return Score(name, figures, where, size=size)
    errors = depth_errors(result.warped_depth, depth, result.camera)
    checksum = zlib.crc32(np.ascontiguousarray(depth, "<f4").tobytes())
    if not all(math.isfinite(value) for value in errors.values()):
        problem = "true depth and reconstruction have no pixel in common: is it the truth of another image or crop?"
        return Score(name, figures, problem, broken=True, size=size, truth=checksum)
    return Score(name, errors | figures, size=size, truth=checksum)


def depth_errors(warped: np.ndarray, truth: np.ndarray, camera: Camera) -> dict[str, float]:
    """Returns `DEPTH_METRICS` of a depth (S, S) in the input's view; NaN if the depths have no pixel in common."""
    return {key: float(value) for key, value in _errors(warped, truth, camera=camera).items()}


@functools.partial(jax.jit, static_argnames="camera")
def _errors(warped: jax.Array, truth: jax.Array, *, camera: Camera) -> dict[str, jax.Array]:
    return metrics.depth_metrics(warped, truth, render.valid_pixels(warped, camera), camera)


def _read_truth(folder: pathlib.Path, name: str, result: Result, crop: int | None) -> np.ndarray | None:
    """Reads the true depth of an image, by its folder's name or its own; None if `folder` has neither."""
    camera = result.camera
    for stem in (name, result.name):
        for kind in (".npy", ".png"):
            path = folder / f"{stem}{kind}"
            if os.path.isfile(path):
                return load_depth(path, camera.image_size, crop, camera.min_depth, camera.max_depth)
    return None


@dataclasses.dataclass(frozen=True)
class ScoredRun:
    """A run with the scores of its images."""

    run: FoundRun
    scores: list[Score]

    @property
    def label(self) -> str:
        """The label of the run."""
        return self.run.label


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One run against another.

    Attributes:
        base: label of the run that the other is compared with.
        other: label of the other.
        differences: mean of `other - base` over the images for which both have the metric, by metric.
        images: number of images that both have scored.
        notes: sentences on what cannot be paired.
    """

    base: str
    other: str
    differences: dict[str, Interval]
    images: int
    notes: list[str]


def summarize(scores: Sequence[Score]) -> dict[str, dict[str, Interval]]:
    """Returns mean and median with their intervals, by metric; metrics that no image has are omitted."""
    summaries = {}
    for metric in METRICS:
        values = [score.figures[metric] for score in scores if metric in score.figures]
        if values:
            summaries[metric] = {"mean": mean_interval(values), "median": median_interval(values)}
    return summaries


def compare(base: ScoredRun, other: ScoredRun) -> Comparison:
    """Returns the paired differences of two runs.

    Images that only one of them has scored, or whose size differs, are left out; where the true depth differs, depth
    errors are left out. The notes say which.
    """
    first = {score.name: score for score in base.scores if score.figures}
    second = {score.name: score for score in other.scores if score.figures}
    common = sorted(first.keys() & second.keys())
    notes = [
        _only(base.label, sorted(first.keys() - second.keys())),
        _only(other.label, sorted(second.keys() - first.keys())),
    ]
    misfits = [name for name in common if first[name].size != second[name].size]
    if misfits:
        one, two = (scores[misfits[0]].size for scores in (first, second))
        notes.append(f"{_listed(misfits)}: of different sizes ({one} and {two} pixels for {misfits[0]}), not compared")
    paired = [name for name in common if name not in misfits]
    other_truth = [name for name in paired if first[name].truth != second[name].truth]
    if other_truth:
        notes.append(f"{_listed(other_truth)}: the runs' true depths differ, depth errors not compared")
    differences = {}
    for metric in METRICS:
        names = [
            name
            for name in paired
            if metric in first[name].figures
            and metric in second[name].figures
            and (name not in other_truth or metric.endswith("_l1"))
        ]
        if names:
            differences[metric] = paired_interval(
                [first[name].figures[metric] for name in names], [second[name].figures[metric] for name in names]
            )
    return Comparison(base.label, other.label, differences, len(paired), [note for note in notes if note])


def _only(label: str, names: list[str]) -> str:
    return f"only in {label}: {_listed(names)}" if names else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


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
