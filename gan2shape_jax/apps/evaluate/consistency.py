"""How good shapes are where no true depth is known.

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
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from scipy import stats

from gan2shape_jax.apps.evaluate.command import depth_errors
from gan2shape_jax.apps.evaluate.runs import FoundRun, find_runs, listed_entry, manifest, read_config
from gan2shape_jax.apps.evaluate.tables import csv_text, interval_text, markdown_table, mean_interval
from gan2shape_jax.apps.evaluate.unseen import (
    ENCODER_ITERATIONS,
    ITERATIONS,
    errors_by,
    pictures_of,
    seen_from_the_input,
)
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import data, option_types
from gan2shape_jax.io.files import atomic_text, require_folder_place
from gan2shape_jax.method import metrics, prior
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.table import markdown_cell
from gan2shape_jax.run import predict, prepare
from gan2shape_jax.stylegan2 import Architecture

__all__ = [
    "BASELINES",
    "ELLIPSOID",
    "Measured",
    "Subject",
    "apart",
    "measure",
    "mirrored_apart",
    "report",
    "run",
    "shapes_csv",
    "subject_of",
]


FLAT, ELLIPSOID, ANOTHER = (
    "(flat)",
    "(ellipsoid)",
    "(another image's)",
)  # runs are called by their folders, such as flat
BASELINES = (FLAT, ELLIPSOID, ANOTHER)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured for one image.

    Attributes:
      name: of the image.
      errors: on unseen pictures, by run and by baseline, in units of pictures in [-1, 1].
      apart: mean SIDE between a run's shape and the other runs' shapes, by run; empty for a single run.
      mirrored: SIDE between a run's shape and that of the mirrored image, if its networks explain images in one pass.
      sides: SIDE against the true depth, by run and by baseline; empty if it is not known.
    """

    name: str
    errors: dict[str, float]
    apart: dict[str, float]
    mirrored: dict[str, float]
    sides: dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What runs on one list share.

    Attributes:
      config: of the first run.
      plain: the same, but for the GAN alone, without trained networks.
      architecture: of the GAN.
      frozen: the GAN.
      latents: folder of the latents that the first run found.
    """

    config: ConfigDict
    plain: ConfigDict
    architecture: Architecture
    frozen: FrozenModels
    latents: pathlib.Path


def subject_of(runs: Sequence[FoundRun]) -> Subject:
    """Loads the GAN that the runs share.

    Raises:
      UserError: a run has no configuration, the runs differ in GAN, size or camera, or a file is missing.
    """
    named_alike = [run.label for run in runs if run.label in BASELINES]
    if named_alike:
        raise UserError(f"a run is called {named_alike[0]}, as what runs are compared with is: rename its folder")
    configs = [read_config(run) for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        for field in ("gan.checkpoint", "image_size", "camera", "data.crop"):
            first, other = (_field(each, field) for each in (configs[0], config))
            if first != other:
                raise UserError(
                    f"{run.label} differs from {runs[0].label} in config.{field}: only runs of one GAN and one camera "
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
    """Measures the shapes that runs gave one image; `mirrored` is left empty.

    Args:
      name: of the image, as results folders are named.
      results: of the image, by run.
      another: result of another image, for its shape; or None.
      subject: of the runs.
      rounds: number of rounds, each of 4 pictures of each shape.
      iterations: for which the encoder is trained.
      search_iterations: of the search for the views and lights of unseen pictures.

    Raises:
      UserError: the image is no longer in the run's list, its mask shows no object, or no part of it is visible on all
        shapes.
    """
    first = next(iter(results.values()))
    prepared = _prepared(name, subject)
    shapes = {run: result.warped_depth for run, result in results.items()}
    drawn = shapes | _baselines(first, another, subject.config)
    compared = drawn | {FLAT: np.full_like(first.depth, (first.camera.min_depth + first.camera.max_depth) / 2)}
    pictures = pictures_of(drawn, first.light, prepared, subject.frozen, batches=rounds, iterations=iterations)
    errors = errors_by(
        compared, pictures, first.image, first.input_mask, first.light, first.camera, iterations=search_iterations
    )
    if not all(map(np.isfinite, errors.values())):
        raise UserError(f"{name}: no part of the object is seen on all shapes from the sides that were drawn")
    return Measured(name, errors, _all_apart(shapes, first), {}, _sides(compared, first))


def mirrored_apart(networks: predict.Predictor, subject: Subject, name: str, result: Result) -> float:
    """Returns the SIDE between the shape of an image and the mirrored shape of its mirror image.

    Args:
      networks: that produced the result.
      subject: of the runs.
      name: of the image, as results folders are named.
      result: of the image.

    Raises:
      UserError: the image is no longer in the run's list.
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


def _prepared(name: str, subject: Subject) -> PreparedImage:
    """Returns an image with its latent: from a file, as found by the run, or found now."""
    entry = listed_entry(subject.config, name)
    return prepare.load_image(subject.plain, entry, subject.architecture, subject.frozen, subject.latents, keep=False)


def _all_apart(shapes: Mapping[str, np.ndarray], first: Result) -> dict[str, float]:
    """Returns the mean SIDE of each shape to the others."""
    return {
        run: float(
            np.mean(
                [apart(depth, other, first.input_mask, first.camera) for key, other in shapes.items() if key != run]
            )
        )
        for run, depth in shapes.items()
        if len(shapes) > 1
    }


def _sides(shapes: Mapping[str, np.ndarray], first: Result) -> dict[str, float]:
    if first.true_depth is None:
        return {}
    return {name: depth_errors(depth, first.true_depth, first.camera)["side"] for name, depth in shapes.items()}


def _baselines(first: Result, another: Result | None, config: ConfigDict) -> dict[str, np.ndarray]:
    near, far = config.prior.near, config.prior.far
    ellipsoid = prior.ellipsoid(first.input_mask, category=config.category, near=near, far=far)
    found = {ELLIPSOID: np.asarray(ellipsoid, np.float32)}
    if another is not None:
        found[ANOTHER] = seen_from_the_input(another.depth, first.view, first.camera)
    return found


def _field(config: ConfigDict, path: str) -> object:
    value = config
    for part in path.split("."):
        value = value[part]
    return value.to_dict() if isinstance(value, ConfigDict) else value


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
    parts = [
        _PREAMBLE,
        *([_runs(measured), _images(measured), _ranks(measured)] if measured else ["nothing was measured\n"]),
    ]
    wrong = [f"- {markdown_cell(f'{name}: {reason}')}" for name, reason in problems.items()]
    return "\n".join([part for part in parts if part] + (["Left out:", "", *wrong, ""] if wrong else []))


def shapes_csv(measured: Sequence[Measured]) -> str:
    """Returns a CSV with a row per image and shape: its errors, and SIDE if the truth is known."""
    rows = [
        [one.name, shape, error, one.apart.get(shape), one.mirrored.get(shape), one.sides.get(shape)]
        for one in measured
        for shape, error in one.errors.items()
    ]
    return csv_text(["name", "shape", "unseen_error", "apart", "mirrored", "side"], rows)


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
        below = "" if shape == ELLIPSOID else f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
        share = "" if shape == ELLIPSOID else f"{100 * np.mean(gains):.0f}%"
        others = [
            _mean([getattr(one, key)[shape] for one in some if shape in getattr(one, key)])
            for key in ("apart", "mirrored", "sides")
        ]
        rows.append([shape, str(len(some)), _mean([one.errors[shape] for one in some]), share, below, *others])
    return markdown_table(titles, rows)


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return interval_text(mean_interval(known), 4) if known else _NOTHING


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
    within = [_spearman(one, list(one.errors)) for one in known]
    ranked = [value for value in within if np.isfinite(value)]
    rows = [
        [
            "unseen error",
            "the shapes of one image, mean over images",
            str(len(ranked)),
            f"{np.mean(ranked):.2f}" if ranked else _NOTHING,
        ]
    ]
    measures: dict[str, Callable[[Measured], dict[str, float]]] = {
        "unseen error": lambda one: one.errors,
        "unseen error by the ellipsoid's": lambda one: {
            key: value / one.errors[ELLIPSOID] for key, value in one.errors.items()
        },
        "apart": lambda one: one.apart,
        "mirrored": lambda one: one.mirrored,
    }
    for shape in _shapes(known):
        for title, values in measures.items():
            pairs = [
                (values(one)[shape], one.sides[shape]) for one in known if shape in values(one) and shape in one.sides
            ]
            finite = np.array([pair for pair in pairs if np.isfinite(pair).all()])
            if shape in BASELINES or len(finite) < _FEWEST_RANKED:
                continue
            rank = stats.spearmanr(finite[:, 0], finite[:, 1]).statistic
            rows.append([title, f"images, by {shape}", str(len(finite)), f"{rank:.2f}"])
    return "Where the true depth is known: Spearman's rank correlation with SIDE.\n\n" + markdown_table(
        ["measure", "ranks", "of", "correlation"], rows
    )


def _spearman(one: Measured, shapes: Sequence[str]) -> float:
    pairs = np.array([(one.errors[shape], one.sides[shape]) for shape in shapes if shape in one.sides])
    if len(pairs) < _FEWEST_RANKED:
        return float("nan")
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


_EPILOG = """\
examples:
  gan2shape-jax evaluate consistency results/catface --out results/cats_measured
  gan2shape-jax evaluate consistency results/seed0 results/seed1 results/seed2

About two minutes an image on two cores: an encoder of its own learns to make pictures of it that no run has seen.
Where true depths are known, as of the bundled faces, the report also says how well each measure ranks shapes.
"""
_MOST_ROUNDS = 64


def run(argv: Sequence[str]) -> int:
    """Runs the command; returns 0, or 1 if an image could not be measured.

    Raises:
        UserError: a folder without results, runs that cannot be compared, or a missing file.
    """
    arguments = _parser().parse_args(argv)
    if arguments.out is not None:
        require_folder_place(arguments.out)
    runs = find_runs(arguments.results)
    names = [name for name in runs[0].images if all(name in each.images for each in runs)]
    if not names:
        raise UserError("the runs have no image in common: shapes of the same images are compared")
    subject = subject_of(runs)
    networks = {each.label: found for each in runs if (found := _networks(each)) is not None}
    measured: list[Measured] = []
    problems: dict[str, str] = {}
    for number, name in enumerate(names[: arguments.images]):
        try:
            results = {each.label: load_result(each.images[name]) for each in runs}
            another = load_result(runs[0].images[names[number - 1]]) if len(names) > 1 else None
            one = measure(name, results, another, subject, rounds=arguments.rounds)
            measured.append(_mirrored(one, results, networks, subject))
        except UserError as error:
            problems[name] = str(error)
        print(one_line(f"{name}: {number + 1} of {len(names[: arguments.images])}"), file=sys.stderr)
    text = report(measured, problems)
    print(text)
    if arguments.out is not None:
        _write(arguments.out, text, measured, runs)
    return 1 if problems else 0


def _write(out: pathlib.Path, text: str, measured: Sequence[Measured], runs: Sequence[FoundRun]) -> None:
    atomic_text(out / "consistency.md", text)
    atomic_text(out / "consistency.csv", shapes_csv(measured))
    atomic_text(out / "manifest.json", json.dumps(manifest(runs), indent=2, allow_nan=False) + "\n")


def _networks(run: FoundRun) -> predict.Predictor | None:
    """Returns the networks of a run that explains images in one pass; None for other runs, or if they are missing."""
    config = read_config(run)
    if config.mode != "predict" or not pathlib.Path(config.networks.pretrained).is_file():
        return None
    return predict.load(config, None)


def _mirrored(
    one: Measured,
    results: dict[str, Result],
    networks: dict[str, predict.Predictor],
    subject: Subject,
) -> Measured:
    for label, found in networks.items():
        one.mirrored[label] = mirrored_apart(found, subject, one.name, results[label])
    return one


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax evaluate consistency",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="How good shapes are where no true depth is known: unseen views, agreement, mirror images.",
    )
    add = parser.add_argument
    add(
        "results",
        type=option_types.path("RESULTS"),
        nargs="+",
        metavar="RESULTS",
        help="folders of runs on the same images, such as of several seeds",
    )
    whole = option_types.whole
    add("--images", type=whole("--images", 1, 10**6), metavar="N", help="of the list's images, so many (default: all)")
    add(
        "--rounds",
        type=whole("--rounds", 1, _MOST_ROUNDS),
        default=1,
        metavar="N",
        help="of 4 unseen pictures of each shape that is compared (default: 1)",
    )
    add(
        "--out",
        type=option_types.path("--out"),
        metavar="FOLDER",
        help="writes md, csv and manifest.json there",
    )
    return parser
