"""`gan2shape-jax evaluate consistency`: how good shapes are where no true depth is known.

Three measures, lower is better for each:

* the error that remains after a photo on its shape is turned and relit to match pictures of the same object that were
  never trained on (`unseen`), compared with a flat plane, an ellipsoid and another image's shape;
* how far apart the shapes of several runs (such as several seeds) are, as SIDE;
* for networks that explain an image in one pass, how far its shape is from that of its mirror image, as SIDE.

Depths are (S, S) in the input's view, scene units.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from scipy import stats

from gan2shape_jax.apps.evaluate import reports
from gan2shape_jax.apps.evaluate.command import depth_errors
from gan2shape_jax.apps.evaluate.reports import markdown_table
from gan2shape_jax.apps.evaluate.runs import FoundRun, find_runs, listed_entry, manifest, read_config
from gan2shape_jax.apps.evaluate.unseen import (
    ENCODER_ITERATIONS,
    ITERATIONS,
    errors_by,
    pictures_of,
    seen_from_the_input,
)
from gan2shape_jax.config import flatten
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import data, option_types
from gan2shape_jax.method import metrics, prior
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.run import predict, prepare
from gan2shape_jax.stylegan2 import Architecture

# In brackets, since runs are called by their folders, such as flat.
FLAT, ELLIPSOID, ANOTHER = BASELINES = ("(flat)", "(ellipsoid)", "(another image's)")
_MOST_ROUNDS = 64
_EPILOG = """\
examples:
  gan2shape-jax evaluate consistency results/catface --out results/cats_measured
  gan2shape-jax evaluate consistency results/seed0 results/seed1 results/seed2

About two minutes an image on two cores: an encoder of its own learns to make pictures of it that no run has seen.
Where true depths are known, as of the bundled faces, the report also says how well each measure ranks shapes.
"""


def run(words: Sequence[str]) -> int:
    """Runs the command; returns 0, or 1 if an image could not be measured; `UserError` if none can be."""
    arguments = reports.parse(
        words,
        "evaluate consistency",
        "How good shapes are where no true depth is known: unseen views, agreement, mirror images.",
        _EPILOG,
        results="folders of runs on the same images, such as of several seeds",
        out="writes md, csv and manifest.json there",
        options=_add_options,
    )
    runs = find_runs(arguments.results)
    names = [name for name in runs[0].images if all(name in each.images for each in runs)]
    if not names:
        raise UserError("the runs have no image in common: shapes of the same images are compared")
    subject = subject_of(runs)
    networks = {each.label: _networks(each) for each in runs}
    measured: list[Measured] = []
    problems: dict[str, str] = {}
    for number, name in enumerate(names[: arguments.images]):
        try:
            results = {each.label: load_result(each.images[name]) for each in runs}
            another = load_result(runs[0].images[names[number - 1]]) if len(names) > 1 else None
            one = measure(name, results, another, subject, rounds=arguments.rounds)
            for label, predictor in networks.items():
                if predictor is not None:
                    one.mirrored[label] = mirrored_apart(predictor, subject, name, results[label])
            measured.append(one)
        except UserError as error:
            problems[name] = str(error)
        print(one_line(f"{name}: {number + 1} of {len(names[: arguments.images])}"), file=sys.stderr)
    tables = {"consistency.csv": _shapes_csv(measured)}
    reports.publish(arguments, "consistency.md", report(measured, problems), tables, manifest(runs))
    return 1 if problems else 0


def _add_options(parser: argparse.ArgumentParser) -> None:
    images, rounds = option_types.whole("--images", 1, 10**6), option_types.whole("--rounds", 1, _MOST_ROUNDS)
    parser.add_argument("--images", type=images, metavar="N", help="of the list's images, so many (default: all)")
    about = "of 4 unseen pictures of each shape that is compared (default: 1)"
    parser.add_argument("--rounds", type=rounds, default=1, metavar="N", help=about)


def _networks(run: FoundRun) -> predict.Predictor | None:
    """Returns the networks of a run that explains images in one pass; None for other runs, or if they are missing."""
    config = read_config(run)
    if config.mode != "predict" or not pathlib.Path(config.networks.pretrained).is_file():
        return None
    return predict.load_predictor(config, None)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured for one image, by run and, for errors and sides, by baseline; empty if not known."""

    name: str
    errors: dict[str, float]  # on unseen pictures, in units of pictures in [-1, 1]
    apart: dict[str, float]  # mean SIDE between a run's shape and the other runs' shapes
    mirrored: dict[str, float]  # SIDE between a run's shape and that of the mirrored image
    sides: dict[str, float]  # SIDE against the true depth


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What runs on one list share: the first one's configuration, and the GAN."""

    config: ConfigDict
    plain: ConfigDict  # the same, but for the GAN alone, without trained networks
    architecture: Architecture
    frozen: FrozenModels
    latents: pathlib.Path  # folder of those that the first run found


def subject_of(runs: Sequence[FoundRun]) -> Subject:
    """Loads the GAN that the runs share; `UserError` if they differ in GAN, size or camera, or a file is missing."""
    if named_alike := [run.label for run in runs if run.label in BASELINES]:
        raise UserError(f"a run is called {named_alike[0]}, as what runs are compared with is: rename its folder")
    configs = [read_config(run) for run in runs]
    first, *others = (flatten(config) for config in configs)
    for run, fields in zip(runs[1:], others, strict=True):
        for path, value in first.items():
            group = "camera" if path.startswith("camera.") else path
            if group in ("gan.checkpoint", "image_size", "camera", "data.crop") and fields[path] != value:
                raise UserError(
                    f"{run.label} differs from {runs[0].label} in config.{group}: only runs of one GAN and one camera "
                    "can be measured together"
                )
    plain = configs[0].copy_and_resolve_references().unlock()
    plain.mode, plain.networks.pretrained = "predict", ""  # needs no masks, which results have, and no model
    architecture, frozen = prepare.load_frozen(plain)
    return Subject(configs[0], plain.lock(), architecture, frozen, runs[0].home / "latents")


def measure(
    name: str,
    results: Mapping[str, Result],
    another: Result | None,
    subject: Subject,
    *,
    rounds: int = 1,
    iterations: int = ENCODER_ITERATIONS,
    search_iterations: int = ITERATIONS,
) -> Measured:
    """Measures the shapes that runs gave one image, and another image's, if given; `mirrored` is left empty.

    Each round takes 4 pictures of each shape; `iterations` train the encoder, `search_iterations` find the views and
    lights of unseen pictures.

    Raises:
      UserError: the image is no longer in the run's list, its mask shows no object, or no part of it is visible on all
        shapes.
    """
    first, config = next(iter(results.values())), subject.config
    entry = listed_entry(config, name)
    prepared = prepare.load_image(
        subject.plain, entry, subject.architecture, subject.frozen, subject.latents, keep=False
    )
    shapes = {run: result.warped_depth for run, result in results.items()}
    near, far = config.prior.near, config.prior.far
    ellipsoid = prior.ellipsoid(first.input_mask, category=config.category, near=near, far=far)
    drawn = shapes | {ELLIPSOID: np.asarray(ellipsoid, np.float32)}
    if another is not None:
        drawn[ANOTHER] = seen_from_the_input(another.depth, first.view, first.camera)
    compared = drawn | {FLAT: np.full_like(first.depth, (first.camera.min_depth + first.camera.max_depth) / 2)}
    pictures = pictures_of(drawn, first.light, prepared, subject.frozen, batches=rounds, iterations=iterations)
    errors = errors_by(compared, pictures, first, iterations=search_iterations)
    if not all(map(np.isfinite, errors.values())):
        raise UserError(f"{name}: no part of the object is seen on all shapes from the sides that were drawn")
    between = {}
    for run, depth in shapes.items():
        others = [other for key, other in shapes.items() if key != run]
        if others:
            between[run] = float(np.mean([apart(depth, other, first.input_mask, first.camera) for other in others]))
    sides = {}
    if first.true_depth is not None:
        for key, depth in compared.items():
            sides[key] = depth_errors(depth, first.true_depth, first.camera)["side"]
    return Measured(name, errors, between, {}, sides)


def mirrored_apart(networks: predict.Predictor, subject: Subject, name: str, result: Result) -> float:
    """Returns the SIDE between the shape of an image and the mirrored shape of its mirror image by the same networks.

    `UserError` if the image is no longer in the run's list.
    """
    item = data.load_item(subject.plain, listed_entry(subject.config, name))
    mirror = dataclasses.replace(item, image=item.image[:, ::-1].copy(), mask=item.mask[:, ::-1].copy(), depth=None)
    other = networks.explain(networks.prepared(mirror))
    return apart(result.warped_depth, other.warped_depth[:, ::-1].copy(), result.input_mask, result.camera)


def apart(
    first: Float[np.ndarray, "s s"],
    second: Float[np.ndarray, "s s"],
    mask: Float[np.ndarray, "s s"],
    camera: Camera,
) -> float:
    """Returns the SIDE between two depths over the object, where both show a surface; NaN if they share none."""
    return float(_apart(*(jnp.asarray(each) for each in (first, second, mask)), camera=camera))


@functools.partial(jax.jit, static_argnames="camera")
def _apart(first: jax.Array, second: jax.Array, mask: jax.Array, *, camera: Camera) -> jax.Array:
    shown = render.valid_pixels(first, camera) * render.valid_pixels(second, camera) * (mask > 0.5)
    return metrics.side(first, second, metrics.erode(shown))


_PREAMBLE = """\
Without true depth. Unseen error: what remains where the photo, on its shape, is turned and relit until it looks like
pictures of the same object that no training saw; mean absolute difference, pictures in [-1, 1]. Beside runs, a flat
plane, the ellipsoid and another image's shape were asked too. Apart: SIDE between a run's shape and the other runs'.
Mirrored: SIDE between the shape of an image and that of its mirror image. The less the better; means over images with
95% intervals (Student's t).
"""
_FEWEST_RANKED = 3
_NOTHING = "–"


def report(measured: Sequence[Measured], problems: Mapping[str, str]) -> str:
    """Returns tables of runs, baselines and images, of ranks if the truth is known, and what was left out."""
    tables = [_runs(measured), _images(measured), _ranks(measured)] if measured else ["nothing was measured\n"]
    left_out = reports.bullets([f"{name}: {reason}" for name, reason in problems.items()], "Left out:")
    return "\n".join(part for part in (_PREAMBLE, *tables, left_out) if part)


def _shapes_csv(measured: Sequence[Measured]) -> str:
    """Returns a CSV with a row per image and shape: its errors, and SIDE if the truth is known."""
    rows = [
        [one.name, shape, error, one.apart.get(shape), one.mirrored.get(shape), one.sides.get(shape)]
        for one in measured
        for shape, error in one.errors.items()
    ]
    return reports.csv_text(["name", "shape", "unseen_error", "apart", "mirrored", "side"], rows)


def _shapes(measured: Sequence[Measured]) -> list[str]:
    """Returns the names of runs, then of baselines."""
    names = dict.fromkeys(shape for one in measured for shape in one.errors)
    return [name for name in names if name not in BASELINES] + [name for name in BASELINES if name in names]


def _runs(measured: Sequence[Measured]) -> str:
    titles = ["shape", "images", "unseen error", "below the ellipsoid's by", "below it on", "apart", "mirrored", "SIDE"]
    rows = []
    for shape in _shapes(measured):
        some = [one for one in measured if shape in one.errors]
        gains = [1 - one.errors[shape] / one.errors[ELLIPSOID] for one in some]
        better = [f"{100 * np.mean(gains):.0f}%", f"{sum(gain > 0 for gain in gains)} of {len(gains)}"]
        means = []
        for key in ("errors", "apart", "mirrored", "sides"):
            values = [value for one in some if np.isfinite(value := getattr(one, key).get(shape, np.nan))]
            means.append(reports.interval_text(reports.mean_interval(values), 4) if values else _NOTHING)
        rows.append([shape, str(len(some)), means[0], *(["", ""] if shape == ELLIPSOID else better), *means[1:]])
    return markdown_table(titles, rows)


def _images(measured: Sequence[Measured]) -> str:
    shapes = _shapes(measured)
    rows = [
        [one.name, *(f"{one.errors[shape]:.4f}" if shape in one.errors else _NOTHING for shape in shapes)]
        for one in measured
    ]
    return "Unseen error of each image:\n\n" + markdown_table(["image", *shapes], rows)


def _ranks(measured: Sequence[Measured]) -> str:
    """Returns how the measures rank shapes compared with SIDE; '' if no true depth is known."""
    known = [one for one in measured if one.sides]
    if not known:
        return ""
    within = [_spearman([(error, one.sides.get(key)) for key, error in one.errors.items()])[0] for one in known]
    ranked = [value for value in within if np.isfinite(value)]
    mean = f"{np.mean(ranked):.2f}" if ranked else _NOTHING
    rows = [["unseen error", "the shapes of one image, mean over images", str(len(ranked)), mean]]
    measures: dict[str, Callable[[Measured], dict[str, float]]] = {
        "unseen error": lambda one: one.errors,
        "unseen error by the ellipsoid's": lambda one: {k: e / one.errors[ELLIPSOID] for k, e in one.errors.items()},
        "apart": lambda one: one.apart,
        "mirrored": lambda one: one.mirrored,
    }
    for shape in _shapes(known):
        for title, values in measures.items():
            rank, count = _spearman((values(one).get(shape), one.sides.get(shape)) for one in known)
            if shape not in BASELINES and count >= _FEWEST_RANKED:
                rows.append([title, f"images, by {shape}", str(count), f"{rank:.2f}"])
    heading = "Where the true depth is known: Spearman's rank correlation with SIDE.\n\n"
    return heading + markdown_table(["measure", "ranks", "of", "correlation"], rows)


def _spearman(pairs: Iterable[tuple[float | None, float | None]]) -> tuple[float, int]:
    """Returns Spearman's correlation of the pairs that are known, NaN for fewer than three, and their number."""
    values = np.array(list(pairs), np.float64).reshape(-1, 2)  # None becomes NaN
    known = values[np.isfinite(values).all(axis=-1)]
    if len(known) < _FEWEST_RANKED:
        return np.nan, len(known)
    return float(stats.spearmanr(known[:, 0], known[:, 1]).statistic), len(known)
