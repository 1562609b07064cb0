"""`gan2shape-jax evaluate`: errors of finished runs, recomputed from what they saved, side by side.

The other runs are compared with the first. A folder is that of a run (`config.json` beside the folder of all results),
that of one image (`result.json`), or any folder above these. An image's name is its folder's path below the folder of
its run's results, with `/`, prefixed by the run's own path if a folder above the run was named.
"""

import argparse
import dataclasses
import math
import pathlib
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax.apps import option_types
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError, exit_code
from gan2shape_jax.geometry import render
from gan2shape_jax.io import output_folders
from gan2shape_jax.io.arrays import load_depth
from gan2shape_jax.io.data import find
from gan2shape_jax.io.files import MIB, atomic_text, file_inside, is_aside, read_object
from gan2shape_jax.io.weights import listed
from gan2shape_jax.method import metrics
from gan2shape_jax.results.reconstruction import load
from gan2shape_jax.results.tables import csv_text, markdown_cell
from gan2shape_jax.run.folder import is_result, results_root, run_above

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
_LEVEL = 0.95
_EPILOG = """\
examples:
  gan2shape-jax evaluate results/ictface
  gan2shape-jax evaluate results/a results/b --out results/a_b          compares b with a
  gan2shape-jax evaluate results/mine --truth depths                    NAME.npy or NAME.png for every image
  gan2shape-jax evaluate identity results/ictface --embedding FACE.onnx (evaluate identity --help)
"""
_PREFACE = """\
Means with 95% intervals over images (Student's t). SIDE is scale-invariant, MAD in degrees (the published code's short
normals, and unit ones), MAE and MSE in scene units.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, or 1 after an error that has been printed."""
    return exit_code(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(words: list[str]) -> int:
    about = "Errors of finished runs with 95% intervals, recomputed from the saved arrays."
    results = "folders of runs, or of single images; the others are compared with the first"
    out = "writes evaluation.md, images.csv and summary.csv there"
    options = parser("evaluate", about, _EPILOG, results=results, out=out)
    depths = "true depths, NAME.npy (scene units) or NAME.png, instead of those in the results"
    option_types.add_path(options, "--truth", "FOLDER", depths)
    arguments = parsed(options, words)
    truth = arguments.truth
    if truth is not None and not truth.is_dir():
        raise UserError(f"--truth {truth} is not a folder of true depths: there is no such folder")
    runs = {run.label: score_run(run, truth) for run in find_runs(arguments.results)}
    base, *others = runs
    comparisons = {other: compare(runs, base, other) for other in others}
    means = {label: mean_figures(score.figures for score in scores) for label, scores in runs.items()}
    rows = [[label, name, *dataclasses.astuple(mean)] for label, of in means.items() for name, mean in of.items()]
    for other, comparison in comparisons.items():
        differences = comparison.differences.items()
        rows += [[f"{other} - {base}", name, *dataclasses.astuple(mean)] for name, mean in differences]
    images = [
        [label, score.name, score.size or None, score.problem, *map(score.figures.get, METRICS)]
        for label, scores in runs.items()
        for score in scores
    ]
    tables = {
        "images.csv": csv_text(["run", "name", "size", "problem", *METRICS], images),
        "summary.csv": csv_text(["run", "metric", "mean", "low", "high", "images"], rows),
    }
    parts = [_PREFACE, _summary(means)]
    parts += [_comparison(base, other, comparison) for other, comparison in comparisons.items()]
    publish(arguments.out, "evaluation.md", [*parts, _problems(runs)], tables)
    return 1 if any(score.broken for scores in runs.values() for score in scores) else 0


# --- runs and their results ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ResultsFolder:
    """One run and its results; `home` is its folder, or, if `root` is that of one image, the run around it."""

    label: str  # the shortest end of its path that distinguishes it from the others
    root: pathlib.Path  # the folder that was named
    home: pathlib.Path
    images: dict[str, pathlib.Path]  # result folders by image name, sorted by name
    failures: dict[str, str]  # reasons by name, for the images that the run gave up on

    def config(self, name: str) -> ConfigDict | None:
        """Returns the configuration that an image's result was made with, its own or its run's; None if none is there.

        Raises `UserError`: it is damaged.
        """
        result = self.images[name]
        folders = (folder for folder in (result, run_above(result) or self.home) if (folder / "config.json").exists())
        folder = next(folders, None)
        return None if folder is None else read_config(file_inside(folder, "config.json"))


def find_runs(paths: Sequence[pathlib.Path]) -> list[ResultsFolder]:
    """Returns the runs at `paths`, in their order.

    Raises `UserError`: a path does not exist, holds no result or is named twice; or a file of a run is damaged.
    """
    resolved = [path.resolve() for path in paths]
    for k, path in enumerate(resolved):  # the folder of all a run's results stands for the run
        of_run = path == results_root(path.parent) and not is_result(path) and (path.parent / "config.json").is_file()
        resolved[k] = path.parent if of_run else path
    for path in resolved:
        if resolved.count(path) > 1:
            raise UserError(f"{path} is named twice: name each result folder once")
    counts = range(1, max(len(path.parts) for path in resolved))  # as many of the last parts as tell them apart
    ends = (["/".join(path.parts[-count:]) for path in resolved] for count in counts)
    labels = next((each for each in ends if len(set(each)) == len(each)), list(map(str, resolved)))
    return [_find(path, root, label) for path, root, label in zip(paths, resolved, labels, strict=True)]


def _find(folder: pathlib.Path, root: pathlib.Path, label: str) -> ResultsFolder:
    if not root.is_dir():
        raise UserError(f"{folder} is not a results folder: there is no such folder")
    single = is_result(root)
    home = run_above(root) or root.parent if single else root
    images = {root.name: root} if single else _below(root)
    failures: dict[str, str] = {}
    if not single and (path := root / "failures.json").exists():
        failures = read_object(path, "a run's failures", limit=16 * MIB)  # 100,000 lines
    if not images and not failures:
        raise UserError(f"{folder} holds no results: name a run's folder, or one with a result.json in it")
    return ResultsFolder(label, root, home, images, failures)


def _below(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns result folders by name; hidden folders and those set aside do not count."""
    folders: dict[str, pathlib.Path] = {}
    for folder in sorted(path.parent for path in root.rglob("result.json") if path.is_file()):
        below, run = folder.relative_to(root), run_above(folder)
        if any(part.startswith(".") or is_aside(part) for part in below.parts):
            continue
        if run is not None and run.is_relative_to(root) and folder.is_relative_to(results_root(run)):
            below = run.relative_to(root) / folder.relative_to(results_root(run))
        if (name := below.as_posix()) in folders:
            raise UserError(f"{folders[name]} and {folder} are both results of {name}: move one of them elsewhere")
        folders[name] = folder
    return dict(sorted(folders.items()))


# --- errors against the truth, and runs against each other --------------------------------------------------------


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
    scores = [_score(run, name, truth) for name in run.images]
    missed = {name: reason for name, reason in run.failures.items() if name not in run.images}
    scores += [Score(name, problem=f"the run failed: {reason}") for name, reason in missed.items()]
    return sorted(scores, key=lambda score: score.name)


def _score(run: ResultsFolder, name: str, truth: pathlib.Path | None) -> Score:
    try:
        result = load(run.images[name])
    except UserError as error:
        return Score(name, problem=str(error), broken=True)
    size, stored = result.camera.image_size, result.metrics
    figures = {key: stored[key] for key in METRICS if key.endswith("_l1") and stored.get(key) is not None}
    try:
        depth, camera = result.true_depth if truth is None else None, result.camera
        if truth is not None:  # by the image's folder's name, or its own
            paths = (find(str(truth), stem, (".npy", ".png")) for stem in (name, result.name))
            path = next(filter(None, paths), None)
            if path is not None:
                config = run.config(name)
                crop = None if config is None else config.data.crop
                depth = load_depth(path, size, crop, camera.min_depth, camera.max_depth)
    except UserError as error:
        return Score(name, figures, str(error), broken=True, size=size)
    if depth is None:
        unknown = "the result has no true depth (name a folder of them with --truth)"
        where = unknown if truth is None else f"no true depth {name}.npy or {name}.png in {truth}"
        return Score(name, figures, where, size=size)
    valid = render.valid_pixels(jnp.asarray(result.input_depth), camera)
    measured = _metrics(result.input_depth, depth, valid, camera=camera)
    errors, checksum = {key: float(value) for key, value in measured.items()}, zlib.crc32(depth.tobytes())
    if not all(math.isfinite(value) for value in errors.values()):
        problem = "true depth and reconstruction have no pixel in common: is it the truth of another image or crop?"
        return Score(name, figures, problem, broken=True, size=size, truth=checksum)
    return Score(name, errors | figures, size=size, truth=checksum)


_metrics = jax.jit(metrics.depth_metrics, static_argnames="camera")


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean, the ends of its 95% interval and the number of values; the ends are NaN for fewer than two values."""

    mean: float
    low: float
    high: float
    count: int


def mean_of(values: Sequence[float] | Float[np.ndarray, " n"]) -> Mean:
    """Returns the mean, of at least one value, with Student's t interval.

    It is exact for normal errors and about right for the handful of images in such tables.
    """
    mean, count = float(np.mean(values)), len(values)
    from scipy import stats  # here, because its import is slow

    half = float(stats.t.ppf((1 + _LEVEL) / 2, count - 1) * stats.sem(values)) if count > 1 else np.nan
    return Mean(mean, mean - half, mean + half, count)


def mean_figures(figures: Iterable[Mapping[str, float]]) -> dict[str, Mean]:
    """Returns the mean of each of `METRICS` over the images that have it; what none has is left out."""
    every = list(figures)
    values = {metric: [each[metric] for each in every if metric in each] for metric in METRICS}
    return {metric: mean_of(some) for metric, some in values.items() if some}


class Comparison(NamedTuple):
    """A run against the one that it is compared with."""

    differences: dict[str, Mean]  # mean of `other - base` over the images for which both have the metric
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
        notes.append(f"{listed(misfits, 10)}: of different sizes, not compared")
    paired = [name for name in common if name not in misfits]
    other_truth = [name for name in paired if ours[name].truth != theirs[name].truth]
    if other_truth:
        notes.append(f"{listed(other_truth, 10)}: the runs' true depths differ, depth errors not compared")

    def difference(name: str) -> dict[str, float]:
        metrics = [key for key in METRICS if name not in other_truth or key.endswith("_l1")]
        first, second = ours[name].figures, theirs[name].figures
        return {key: second[key] - first[key] for key in metrics if key in first and key in second}

    return Comparison(mean_figures(map(difference, paired)), len(paired), notes)


# --- the report ---------------------------------------------------------------------------------------------------


def mean_text(mean: Mean, digits: int, *, signed: bool = False) -> str:
    """Returns `1.23 (1.10 to 1.36)`, or the mean alone if there is no interval."""
    kind = f"{'+' if signed else ''}.{digits}f"
    ends = f" ({mean.low:{kind}} to {mean.high:{kind}})" if mean.count > 1 else ""
    return f"{mean.mean:{kind}}{ends}"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table whose cells are text, not markup; line breaks become spaces."""
    first, *others = (f"| {' | '.join(map(markdown_cell, line))} |" for line in (titles, *rows))
    return "\n".join([first, f"|{' --- |' * len(titles)}", *others]) + "\n"


def bullets(lines: Sequence[str], heading: str = "") -> str:
    """Returns a Markdown list of text, not markup, below a heading; '' if there are no lines."""
    listed = "".join(f"- {markdown_cell(line)}\n" for line in lines)
    return f"{heading}\n\n{listed}" if listed and heading else listed


def _summary(means: Mapping[str, Mapping[str, Mean]]) -> str:
    measured = [metric for metric in METRICS if any(metric in of for of in means.values())]
    rows = []
    for label, of in means.items():
        count = max((mean.count for mean in of.values()), default=0)
        cells = [mean_text(of[metric], METRICS[metric][1]) if metric in of else "–" for metric in measured]
        rows.append([label, str(count), *cells])
    return markdown_table(["run", "images", *(METRICS[metric][0] for metric in measured)], rows)


def _comparison(base: str, other: str, comparison: Comparison) -> str:
    pair = f"{markdown_cell(other)} against {markdown_cell(base)}, paired by image ({comparison.images} in common)"
    heading = f"{pair}; negative is better; * where the interval excludes zero:\n"
    rows = []
    for metric, mean in comparison.differences.items():
        title, digits = METRICS[metric]
        marked = title + (" *" if mean.low > 0 or mean.high < 0 else "")
        rows.append([marked, mean_text(mean, digits + 1, signed=True), str(mean.count)])
    table = markdown_table(["metric", "mean difference", "images"], rows) if rows else "nothing in common to compare\n"
    return "\n".join(part for part in (heading, table, bullets(comparison.notes)) if part)


def _problems(runs: Runs) -> str:
    every = [(label, score) for label, scores in runs.items() for score in scores]
    lines = [f"{label}: {score.name}: {score.problem}" for label, score in every if score.problem]
    if len({score.size for _, score in every if score.size}) > 1:
        lines.append("images of several sizes: normals, and with them MAD, depend on the size")
    return bullets(lines, "Notes:")


def parser(command: str, about: str, epilog: str, *, results: str, out: str) -> argparse.ArgumentParser:
    """Returns the parser of `gan2shape-jax COMMAND`: folders RESULTS, and --out, which `parsed` checks."""
    parser = option_types.parser(command, about, epilog)
    parser.add_argument("results", type=option_types.path("RESULTS"), nargs="+", metavar="RESULTS", help=results)
    option_types.add_path(parser, "--out", "FOLDER", out)
    return parser


def parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Returns the arguments; raises `UserError` if a value is out of bounds, or --out cannot be written."""
    arguments = parser.parse_args(words)
    if arguments.out is not None:
        output_folders.require_output_folder(arguments.out, output_folders.EVALUATION)
    return arguments


def publish(out: pathlib.Path | None, name: str, parts: Iterable[str], tables: Mapping[str, str]) -> None:
    """Prints a report, of the `parts` that are not empty; writes it and the tables into the folder `out`, if any."""
    text = "\n".join(part for part in parts if part)
    print(text)
    if out is None:
        return
    output_folders.mark(out, output_folders.EVALUATION)
    for file, content in {name: text, **tables}.items():
        atomic_text(out / file, content)
    print(f"written to {out}", file=sys.stderr)
