"""`gan2shape-jax evaluate`: errors of finished runs, recomputed from what they saved, side by side.

The other runs are compared with the first.
"""

import dataclasses
import importlib
import math
import pathlib
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.evaluate import reports
from gan2shape_jax.apps.evaluate.reports import Interval, ResultsFolder, find_runs, interval_text, markdown_table
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io.arrays import load_depth
from gan2shape_jax.io.data import find
from gan2shape_jax.io.weights import listed
from gan2shape_jax.method import metrics
from gan2shape_jax.results.page import csv_text, markdown_cell
from gan2shape_jax.results.reconstruction import load

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
    run, words = _run, list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["identity"], ["consistency"]):  # they import networks, which the rest does not need
        name = words.pop(0)
        run = getattr(importlib.import_module(f"gan2shape_jax.apps.evaluate.{name}"), f"evaluate_{name}")
    return exit_code(lambda: run(words))


def _run(words: list[str]) -> int:
    about = "true depths, NAME.npy (scene units) or NAME.png, instead of those in the results"
    arguments = reports.parse(
        words,
        "evaluate",
        "Errors of finished runs with 95% intervals, recomputed from the saved arrays.",
        _EPILOG,
        results="folders of runs, or of single images; the others are compared with the first",
        out="writes evaluation.md, images.csv, summary.csv and manifest.json there",
        options=lambda parser: option_types.add_path(parser, "--truth", "FOLDER", about),
    )
    truth = arguments.truth
    if truth is not None and not truth.is_dir():
        raise UserError(f"--truth {truth} is not a folder of true depths: there is no such folder")
    found_runs = find_runs(arguments.results)
    runs = {run.label: score_run(run, truth) for run in found_runs}
    base, *others = runs
    comparisons = {f"{other} - {base}": compare(runs, base, other) for other in others}
    estimates: Estimates = {}  # what no image has is omitted
    for label, scores in runs.items():
        for metric in METRICS:
            if values := [score.figures[metric] for score in scores if metric in score.figures]:
                estimates[label, metric, "mean"] = reports.mean_interval(values)
                estimates[label, metric, "median"] = reports.median_interval(values)
    for pair, comparison in comparisons.items():
        for metric, interval in comparison.differences.items():
            estimates[pair, metric, "mean paired difference"] = interval
    rows = [[*key, *dataclasses.astuple(interval)] for key, interval in estimates.items()]
    images = [
        [label, score.name, score.size or None, score.problem, *map(score.figures.get, METRICS)]
        for label, scores in runs.items()
        for score in scores
    ]
    tables = {
        "images.csv": csv_text(["run", "name", "size", "problem", *METRICS], images),
        "summary.csv": csv_text(["run", "metric", "statistic", "estimate", "low", "high", "images"], rows),
    }
    parts = [_PREFACE, _summaries(runs, estimates)]
    parts += [_comparison(base, other, each) for other, each in zip(others, comparisons.values(), strict=True)]
    parts += [_images(runs), _problems(runs)]
    reports.publish(arguments, "evaluation.md", parts, tables, found_runs, truth=None if truth is None else str(truth))
    return 1 if any(score.broken for scores in runs.values() for score in scores) else 0


# Title and digits after the point, by name; the last two need no true depth.
METRICS = {
    "side": ("SIDE", 4),
    "mad": ("MAD, degrees", 1),
    "mad_unit": ("MAD, unit normals", 1),
    "mae": ("MAE", 4),
    "mse": ("MSE", 6),
    "reconstruction_l1": ("reconstruction L1", 3),
    "inversion_l1": ("inversion L1", 3),
}


@dataclasses.dataclass(frozen=True)
class Score:
    """One image of a run: its figures by names of `METRICS`, as far as they are known, and what was wrong."""

    name: str
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    problem: str = ""
    broken: bool = False  # whether the problem is a damaged or mismatched file, not a missing ground truth
    size: int = 0  # pixels a side; 0 if the result could not be read
    truth: int | None = None  # checksum of the true depth that was used


Runs = Mapping[str, Sequence[Score]]  # the scores of each run's images, by the run's label


def score_run(run: ResultsFolder, truth: pathlib.Path | None = None) -> list[Score]:
    """Scores every image of a run; one that cannot be scored says why and does not stop the others.

    `truth` is a folder of depths `NAME.npy` (scene units) or `NAME.png`, used instead of those in the results.
    """
    crop = None if run.config is None else run.config.data.crop
    scores = [_score(name, folder, truth, crop) for name, folder in run.images.items()]
    missed = {name: reason for name, reason in run.failures.items() if name not in run.images}
    scores += [Score(name, problem=f"the run failed: {reason}") for name, reason in missed.items()]
    return sorted(scores, key=lambda score: score.name)


def _score(name: str, folder: pathlib.Path, truth: pathlib.Path | None, crop: int | None) -> Score:
    try:
        result = load(folder)
    except UserError as error:
        return Score(name, problem=str(error), broken=True)
    size, metrics = result.camera.image_size, result.metrics
    figures = {key: metrics[key] for key in METRICS if key.endswith("_l1") and metrics.get(key) is not None}
    try:
        depth, camera = result.true_depth, result.camera
        if truth is not None:  # by the image's folder's name, or its own
            paths = (find(str(truth), stem, (".npy", ".png")) for stem in (name, result.name))
            path = next(filter(None, paths), None)
            depth = None if path is None else load_depth(path, size, crop, camera.min_depth, camera.max_depth)
    except UserError as error:
        return Score(name, figures, str(error), broken=True, size=size)
    if depth is None:
        unknown = "the result has no true depth (name a folder of them with --truth)"
        where = unknown if truth is None else f"no true depth {name}.npy or {name}.png in {truth}"
        return Score(name, figures, where, size=size)
    errors = depth_errors(result.input_depth, depth, camera)
    checksum = zlib.crc32(np.ascontiguousarray(depth, "<f4").tobytes())
    if not all(math.isfinite(value) for value in errors.values()):
        problem = "true depth and reconstruction have no pixel in common: is it the truth of another image or crop?"
        return Score(name, figures, problem, broken=True, size=size, truth=checksum)
    return Score(name, errors | figures, size=size, truth=checksum)


_metrics = jax.jit(metrics.depth_metrics, static_argnames="camera")


def depth_errors(warped: np.ndarray, truth: np.ndarray, camera: Camera) -> dict[str, float]:
    """Returns the depth metrics of a depth (S, S) in the input's view; NaN if the depths have no pixel in common."""
    errors = _metrics(warped, truth, render.valid_pixels(jnp.asarray(warped), camera), camera=camera)
    return {key: float(value) for key, value in errors.items()}


class Comparison(NamedTuple):
    """A run against the one that it is compared with."""

    differences: dict[str, Interval]  # mean of `other - base` over the images for which both have the metric
    images: int  # that both have scored
    notes: list[str]  # sentences on what cannot be paired


def compare(runs: Runs, base: str, other: str) -> Comparison:
    """Returns the paired differences of two runs, given by their labels.

    Images that only one of them has scored, or whose size differs, are left out; where the true depth differs, depth
    errors are left out. The notes say which.
    """
    ours, theirs = ({score.name: score for score in runs[label] if score.figures} for label in (base, other))
    notes = []
    for label, names in ((base, ours.keys() - theirs.keys()), (other, theirs.keys() - ours.keys())):
        notes += [f"only in {label}: {listed(sorted(names), 10)}"] if names else []
    common = sorted(ours.keys() & theirs.keys())
    misfits = [name for name in common if ours[name].size != theirs[name].size]
    if misfits:
        sizes = f"{ours[misfits[0]].size} and {theirs[misfits[0]].size} pixels for {misfits[0]}"
        notes.append(f"{listed(misfits, 10)}: of different sizes ({sizes}), not compared")
    paired = [name for name in common if name not in misfits]
    other_truth = [name for name in paired if ours[name].truth != theirs[name].truth]
    if other_truth:
        notes.append(f"{listed(other_truth, 10)}: the runs' true depths differ, depth errors not compared")
    differences = {}
    for metric in METRICS:
        some = (name for name in paired if name not in other_truth or metric.endswith("_l1"))
        both = [(ours[name].figures, theirs[name].figures) for name in some]
        if changes := [two[metric] - first[metric] for first, two in both if metric in first and metric in two]:
            differences[metric] = reports.mean_interval(changes)
    return Comparison(differences, len(paired), notes)


_PREFACE = """\
Estimates with 95% intervals over images: Student's t for means, a bootstrap for medians. SIDE is scale-invariant,
MAD in degrees (the published code's short normals, and unit ones), MAE and MSE in scene units.
"""


Estimates = dict[tuple[str, str, str], Interval]  # by run or pair of runs, metric and statistic


def _summaries(runs: Runs, estimates: Estimates) -> str:
    metrics = [metric for metric in METRICS if any(metric == measured for _, measured, _ in estimates)]
    rows = []
    for label in runs:
        count = max((each.count for (run, *_), each in estimates.items() if run == label), default=0)
        for statistic in ("mean", "median"):
            intervals = [estimates.get((label, metric, statistic)) for metric in metrics]
            cells = [
                interval_text(interval, METRICS[m][1]) if interval else "–" for m, interval in zip(metrics, intervals)
            ]
            rows.append([label, statistic, str(count), *cells])
    return markdown_table(["run", "", "images", *(METRICS[m][0] for m in metrics)], rows)


def _comparison(base: str, other: str, comparison: Comparison) -> str:
    heading = (
        f"{markdown_cell(other)} against {markdown_cell(base)}, paired by image ({comparison.images} in common); "
        "negative is better; * where the interval excludes zero:\n"
    )
    rows = []
    for metric, interval in comparison.differences.items():
        title, digits = METRICS[metric]
        marked = title + (" *" if interval.low > 0 or interval.high < 0 else "")
        rows.append([marked, interval_text(interval, digits + 1, signed=True), str(interval.count)])
    table = markdown_table(["metric", "mean difference", "images"], rows) if rows else "nothing in common to compare\n"
    return "\n".join(part for part in (heading, table, reports.bullets(comparison.notes)) if part)


def _images(runs: Runs) -> str:
    by_name = [{score.name: score.figures for score in scores} for scores in runs.values()]
    rows = []
    for name in sorted(set().union(*by_name)):
        by_run = [figures.get(name, {}) for figures in by_name]
        cells = [f"{f['side']:.4f} / {f['mad']:.1f} / {f['mad_unit']:.1f}" if "side" in f else "–" for f in by_run]
        rows.append([name, *cells])
    return f"SIDE / MAD / MAD with unit normals, by image:\n\n{markdown_table(['image', *runs], rows)}"


def _problems(runs: Runs) -> str:
    every = [(label, score) for label, scores in runs.items() for score in scores]
    lines = [f"{label}: {score.name}: {score.problem}" for label, score in every if score.problem]
    sizes = sorted({score.size for _, score in every if score.size})
    if len(sizes) > 1:
        lines.append(
            f"images of several sizes ({', '.join(map(str, sizes))} pixels): normals, and with them "
            "MAD, depend on the size; compare results of one size"
        )
    return reports.bullets(lines, "Notes:")
