"""What all commands of `evaluate` share: finding results and their runs, intervals, tables, and the command line.

A folder is that of a run (`config.json` beside the folder of all results), that of one image (`result.json`), or any
folder above these. An image's name is its folder's path below the folder of its run's results, with `/`, prefixed by
the run's own path if a folder above the run was named.

Student's t interval is exact for normal errors and about right for the handful of images in such tables; the bootstrap
has a fixed seed, so that the same values give the same interval.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from scipy import stats

import gan2shape_jax
from gan2shape_jax.apps import option_types
from gan2shape_jax.config import load
from gan2shape_jax.errors import UserError, printable
from gan2shape_jax.io import output_folders
from gan2shape_jax.io.files import MIB, atomic_text, file_inside, is_aside, read_object
from gan2shape_jax.io.image_lists import read_names, stem_of
from gan2shape_jax.method.streams import FIXED_SEED
from gan2shape_jax.results.files import open_file
from gan2shape_jax.results.page import markdown_cell
from gan2shape_jax.run.folder import is_result, results_root, run_above
from gan2shape_jax.run.identity import identity_of


@dataclasses.dataclass(frozen=True)
class ResultsFolder:
    """One run and its results; `home` is its folder, or, if `root` is that of one image, the run around it."""

    label: str  # the shortest end of its path that distinguishes it from the others
    root: pathlib.Path  # the folder that was named
    home: pathlib.Path
    images: dict[str, pathlib.Path]  # result folders by image name, sorted by name
    failures: dict[str, str]  # reasons by name, for the images that the run gave up on

    @functools.cached_property
    def configs(self) -> list[ConfigDict]:
        """The configurations of its results, of which there are several in a folder of photos; [] if none is there.

        Raises `UserError` if that of the run is damaged; one of a result is reported.
        """
        own = [folder / "config.json" for folder in self.images.values() if (folder / "config.json").exists()]
        if not own:
            files = [path for path in (self.home / "config.json",) if path.exists()]
            return list(map(load.read_config, files))
        configs: dict[str, ConfigDict] = {}
        for path in own:
            try:
                config = load.read_config(file_inside(path.parent, path.name))
                configs.setdefault(identity_of(config).fingerprint, config)
            except UserError as error:
                print(f"warning: {printable(str(error))}", file=sys.stderr)
        return list(configs.values())

    @property
    def config(self) -> ConfigDict | None:
        """The configuration of all its results; None if there is none or more than one."""
        return self.configs[0] if len(self.configs) == 1 else None


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
        raise UserError(
            f"{folder} holds no results: name a run's folder, or one with a result.json in it (a run writes an "
            "image's folder when the image is finished)"
        )
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


def read_config(run: ResultsFolder) -> ConfigDict:
    """Returns the run's configuration; raises `UserError` if it has none."""
    if len(run.configs) > 1:
        raise UserError(
            f"{run.root} holds results of several models, or some that are refined and some that are not: name the "
            "folder of one result"
        )
    if run.config is None:
        raise UserError(f"{run.home} has no config.json: without it the run's networks are unknown")
    return run.config


def listed_entry(config: ConfigDict, name: str) -> str:
    """Returns the line of a run's image list that names an image; `UserError` if the list no longer does."""
    listed = {stem_of(entry): entry for entry in read_names(config.data.image_list, config.data.image_root)}
    if name not in listed:
        raise UserError(f"{config.data.image_list}, the image list of the run, does not name {name} any more")
    return listed[name]


_LEVEL = 0.95
_DRAWS = 10_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its 95% interval and the number of values; ends are NaN for fewer than two values."""

    estimate: float
    low: float
    high: float
    count: int


def mean_interval(values: Sequence[float] | Float[np.ndarray, " n"]) -> Interval:
    """Returns the mean, of at least one value, with Student's t interval."""
    mean, count = float(np.mean(values)), len(values)
    half = float(stats.t.ppf((1 + _LEVEL) / 2, count - 1) * stats.sem(values)) if count > 1 else np.nan
    return Interval(mean, mean - half, mean + half, count)


def median_interval(values: Sequence[float] | Float[np.ndarray, " n"]) -> Interval:
    """Returns the median, of at least one value, with the interval of medians of 10,000 samples drawn anew."""
    sample, count = np.asarray(values, np.float64), len(values)
    drawn = np.random.default_rng(FIXED_SEED).integers(count, size=(_DRAWS, count))
    ends = np.quantile(np.median(sample[drawn], axis=1), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    low, high = ends.tolist() if count > 1 else (np.nan, np.nan)
    return Interval(float(np.median(sample)), low, high, count)


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
    parser.add_argument("results", type=option_types.path("RESULTS"), nargs="+", metavar="RESULTS", help=results)
    options(parser)
    option_types.add_path(parser, "--out", "FOLDER", out)
    arguments = parser.parse_args(argv)
    if arguments.out is not None:
        output_folders.require_output_folder(arguments.out, output_folders.EVALUATION)
    return arguments


def publish(
    arguments: argparse.Namespace,
    name: str,
    parts: Iterable[str],
    tables: Mapping[str, str],
    runs: Sequence[ResultsFolder],
    **more: Any,
) -> None:
    """Prints a report, of the `parts` that are not empty.

    If the folder --out was given, writes report, tables, and the record of the runs with `more` facts there.
    """
    text = "\n".join(part for part in parts if part)
    print(text)
    if arguments.out is None:
        return
    manifest = {  # apart from `path` and `platform`, it does not depend on where the results are
        "gan2shape_jax": gan2shape_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "scipy")},
        "truth": None,
        "runs": [_record(run) for run in runs],
        **more,
    }
    record = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    output_folders.mark(arguments.out, output_folders.EVALUATION)
    for file, content in {name: text, **tables, "manifest.json": record}.items():
        atomic_text(arguments.out / file, content)
    print(f"written to {arguments.out}", file=sys.stderr)


def _record(run: ResultsFolder) -> dict[str, Any]:
    digest, made_with = hashlib.sha256(), None
    for name, folder in run.images.items():
        content = b""  # of a result that cannot be read, which the report names
        with contextlib.suppress(OSError, UserError), open_file(folder, "result.json") as file:
            content = file.read()
        digest.update(os.fsencode(name) + b"\0" + content + b"\0")
    with contextlib.suppress(OSError, UserError):
        made_with = read_object(run.home / "versions.json", "a run's record of versions")
    return {
        "label": run.label,
        "path": str(run.root),
        "images": len(run.images),
        "failed": len(run.failures),
        "config_sha256": None if run.config is None else identity_of(run.config).fingerprint,
        "results_sha256": digest.hexdigest()[:16],
        "made_with": made_with,
    }
