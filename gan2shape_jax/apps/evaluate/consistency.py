"""`gan2shape-jax evaluate consistency`: how good shapes are where no true depth is known.

The report says what is measured (`_PREAMBLE`); `unseen` has the first of the three measures. Depths are (S, S) in the
input's view, scene units.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import operator
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from scipy import stats

from gan2shape_jax.apps.evaluate import reports
from gan2shape_jax.apps.evaluate.command import depth_errors
from gan2shape_jax.apps.evaluate.reports import markdown_table
from gan2shape_jax.apps.evaluate.runs import FoundRun, find_runs, listed_entry, read_config
from gan2shape_jax.apps.evaluate.unseen import errors_by, pictures_of
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
_MEASURES = ("unseen_error", "apart", "mirrored", "side")
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
    measured: dict[str, Measured] = {}
    problems: dict[str, str] = {}
    for number, name in enumerate(names[: arguments.images]):
        try:
            results = {each.label: load_result(each.images[name]) for each in runs}
            another = load_result(runs[0].images[names[number - 1]]) if len(names) > 1 else None
            one = measure(name, results, another, subject, rounds=arguments.rounds)
            for label, predictor in networks.items():
                if predictor is not None:
                    one[label]["mirrored"] = mirrored_apart(predictor, subject, name, results[label])
            measured[name] = one
        except UserError as error:
            problems[name] = str(error)
        print(one_line(f"{name}: {number + 1} of {len(names[: arguments.images])}"), file=sys.stderr)
    rows = [
        [name, shape, *(figures.get(key) for key in _MEASURES)]
        for name, one in measured.items()
        for shape, figures in one.items()
    ]
    tables = {"consistency.csv": reports.csv_text(["name", "shape", *_MEASURES], rows)}
    reports.publish(arguments, "consistency.md", report(measured, problems), tables, runs)
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


# What was measured for one image, by shape, which is a run's or a baseline, and then, where known, by measure:
# "unseen_error" in units of pictures in [-1, 1]; "apart", mean SIDE between a run's shape and the other runs' shapes;
# "mirrored", SIDE between a run's shape and that of the mirrored image; "side", SIDE against the true depth.
Measured = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What runs on one list share: the first one's configuration, and the GAN."""

    config: ConfigDict  # for the GAN alone, without trained networks
    architecture: Architecture
    frozen: FrozenModels
    latents: pathlib.Path  # folder of those that the first run found


def subject_of(runs: Sequence[FoundRun]) -> Subject:
    """Loads the GAN that the runs share; `UserError` if they differ in GAN, size or camera, or a file is missing."""
    if named_alike := [run.label for run in runs if run.label in BASELINES]:
        raise UserError(f"a run is called {named_alike[0]}, as what runs are compared with is: rename its folder")
    configs = [read_config(run) for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        for path in ("gan.checkpoint", "image_size", "camera", "data.crop"):
            value = operator.attrgetter(path)
            if value(config) != value(configs[0]):
                raise UserError(
                    f"{run.label} differs from {runs[0].label} in config.{path}: only runs of one GAN and one camera "
                    "can be measured together"
                )
    config = configs[0].copy_and_resolve_references().unlock()
    config.mode, config.networks.pretrained = "predict", ""  # needs no masks, which results have, and no model
    return Subject(config.lock(), *prepare.load_frozen(config), runs[0].home / "latents")


def measure(
    name: str, results: Mapping[str, Result], another: Result | None, subject: Subject, *, rounds: int = 1
) -> Measured:
    """Measures the shapes that runs gave one image, and another image's, if given, but not what is mirrored.

    Each round takes 4 pictures of each shape.

    Raises:
      UserError: the image is no longer in the run's list, its mask shows no object, or no part of it is visible on all
        shapes.
    """
    first, config = next(iter(results.values())), subject.config
    entry = listed_entry(config, name)
    prepared = prepare.load_image(config, entry, subject.architecture, subject.frozen, subject.latents, keep=False)
    shapes = {run: result.warped_depth for run, result in results.items()}
    near, far = config.prior.near, config.prior.far
    ellipsoid = prior.ellipsoid(first.input_mask, category=config.category, near=near, far=far)
    drawn = shapes | {ELLIPSOID: np.asarray(ellipsoid, np.float32)}
    if another is not None:
        seen = render.warp_depth(jnp.asarray(another.depth), jnp.asarray(first.view), first.camera)
        drawn[ANOTHER] = np.asarray(seen)
    compared = drawn | {FLAT: np.full_like(first.depth, (first.camera.min_depth + first.camera.max_depth) / 2)}
    pictures = pictures_of(drawn, first.light, prepared, subject.frozen, batches=rounds)
    errors = errors_by(compared, pictures, first)
    if not all(map(np.isfinite, errors.values())):
        raise UserError(f"{name}: no part of the object is seen on all shapes from the sides that were drawn")
    measured = {shape: {"unseen_error": errors[shape]} for shape in (*shapes, *BASELINES) if shape in errors}
    for run, depth in shapes.items():
        if others := [other for key, other in shapes.items() if key != run]:
            between = [float(apart(depth, other, first.input_mask, first.camera)) for other in others]
            measured[run]["apart"] = float(np.mean(between))
    if first.true_depth is not None:
        for shape, figures in measured.items():
            figures["side"] = depth_errors(compared[shape], first.true_depth, first.camera)["side"]
    return measured


def mirrored_apart(networks: predict.Predictor, subject: Subject, name: str, result: Result) -> float:
    """Returns the SIDE between the shape of an image and the mirrored shape of its mirror image by the same networks.

    `UserError` if the image is no longer in the run's list.
    """
    item = data.load_item(subject.config, listed_entry(subject.config, name))
    mirror = dataclasses.replace(item, image=item.image[:, ::-1].copy(), mask=item.mask[:, ::-1].copy(), depth=None)
    other = networks.explain(networks.prepared(mirror))
    return float(apart(result.warped_depth, other.warped_depth[:, ::-1], result.input_mask, result.camera))


@functools.partial(jax.jit, static_argnames="camera")
def apart(first: jax.Array, second: jax.Array, mask: jax.Array, camera: Camera) -> Float[jax.Array, ""]:
    """Returns the SIDE between two depths over the object, where both show a surface; NaN if they share none."""
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


def report(measured: Mapping[str, Measured], problems: Mapping[str, str]) -> list[str]:
    """Returns what the numbers mean, tables of shapes, images and, if the truth is known, ranks, and what was left out.

    All images have the same shapes.
    """
    some = list(measured.values())
    tables = [_shapes(some), _images(measured), _ranks(some)] if some else ["nothing was measured\n"]
    left_out = reports.bullets([f"{name}: {reason}" for name, reason in problems.items()], "Left out:")
    return [_PREAMBLE, *tables, left_out]


def _shapes(measured: Sequence[Measured]) -> str:
    titles = ["shape", "images", "unseen error", "below the ellipsoid's by", "below it on", "apart", "mirrored", "SIDE"]
    rows = []
    for shape in measured[0]:
        gains = [1 - one[shape]["unseen_error"] / one[ELLIPSOID]["unseen_error"] for one in measured]
        better = [f"{100 * np.mean(gains):.0f}%", f"{sum(gain > 0 for gain in gains)} of {len(gains)}"]
        means = []
        for key in _MEASURES:
            values = [value for one in measured if np.isfinite(value := one[shape].get(key, np.nan))]
            means.append(reports.interval_text(reports.mean_interval(values), 4) if values else _NOTHING)
        rows.append([shape, str(len(measured)), means[0], *(["", ""] if shape == ELLIPSOID else better), *means[1:]])
    return markdown_table(titles, rows)


def _images(measured: Mapping[str, Measured]) -> str:
    shapes = next(iter(measured.values()))
    rows = [[name, *(f"{one[shape]['unseen_error']:.4f}" for shape in shapes)] for name, one in measured.items()]
    return "Unseen error of each image:\n\n" + markdown_table(["image", *shapes], rows)


def _ranks(measured: Sequence[Measured]) -> str:
    """Returns how the measures rank shapes compared with SIDE; '' if no true depth is known."""
    known = [one for one in measured if any("side" in figures for figures in one.values())]
    if not known:
        return ""
    ranked = [rank for one in known if np.isfinite(rank := _spearman(one.values(), "unseen_error")[0])]
    mean = f"{np.mean(ranked):.2f}" if ranked else _NOTHING
    rows = [["unseen error", "the shapes of one image, mean over images", str(len(ranked)), mean]]
    titles = {"unseen_error": "unseen error", "relative": "unseen error by the ellipsoid's"}
    for shape in (shape for shape in known[0] if shape not in BASELINES):
        relative = [one[shape]["unseen_error"] / one[ELLIPSOID]["unseen_error"] for one in known]
        some = [one[shape] | {"relative": each} for one, each in zip(known, relative, strict=True)]
        for key in ("unseen_error", "relative", "apart", "mirrored"):
            rank, count = _spearman(some, key)
            if count >= _FEWEST_RANKED:
                rows.append([titles.get(key, key), f"images, by {shape}", str(count), f"{rank:.2f}"])
    heading = "Where the true depth is known: Spearman's rank correlation with SIDE.\n\n"
    return heading + markdown_table(["measure", "ranks", "of", "correlation"], rows)


def _spearman(some: Iterable[Mapping[str, float]], key: str) -> tuple[float, int]:
    """Returns Spearman's correlation of a measure with SIDE, NaN for fewer than three pairs, and how many are known."""
    values = np.array([(figures.get(key, np.nan), figures.get("side", np.nan)) for figures in some])
    known = values[np.isfinite(values).all(axis=-1)]
    if len(known) < _FEWEST_RANKED:
        return np.nan, len(known)
    return float(stats.spearmanr(known[:, 0], known[:, 1]).statistic), len(known)
