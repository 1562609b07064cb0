"""`gan2shape-jax evaluate consistency`: how good shapes are where no true depth is known.

The report says what is measured (`_PREAMBLE`). Depths are (S, S) in the input's view, scene units.

For the first measure, how well a shape explains unseen pictures, the GAN turns renderings into plausible pictures, as
in step 2 of the method. Here all compared shapes are rendered, including the ellipsoid and another object's shape, so
that none is favoured, and the encoder is trained for this image alone. The photo on each shape is then turned and relit
until it looks like such a picture (`drape`): the error that remains is the shape's error.
"""

import argparse
import dataclasses
import functools
import operator
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy import ndimage

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.evaluate import reports
from gan2shape_jax.apps.evaluate.command import depth_errors
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.geometry.camera import Camera, inverse_warped_grid
from gan2shape_jax.method import metrics, models, prior
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.sampling import sampled_conditions
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import Context, Iteration, PreparedImage
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import collect_batch, reference_code
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.results.page import csv_text
from gan2shape_jax.results.reconstruction import Reconstruction, load
from gan2shape_jax.run import prepare
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.run.recipes import RECIPES
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training.task import one_image

Map = Float[np.ndarray, "s s"]
# In brackets, since runs are called by their folders, such as flat.
FLAT, ELLIPSOID, ANOTHER = BASELINES = ("(flat)", "(ellipsoid)", "(another image's)")
_MEASURES = ("unseen_error", "apart", "side")
_MOST_ROUNDS = 64
_EPILOG = """\
examples:
  gan2shape-jax evaluate consistency results/cat --out results/cats_measured
  gan2shape-jax evaluate consistency results/seed0 results/seed1 results/seed2

About two minutes an image on two cores: an encoder of its own learns to make pictures of it that no run was trained on.
"""


def evaluate_consistency(words: Sequence[str]) -> int:
    """Runs the command; returns 0, or 1 if an image could not be measured; `UserError` if none can be."""
    arguments = reports.parse(
        words,
        "evaluate consistency",
        "How good shapes are where no true depth is known: unseen views, agreement.",
        _EPILOG,
        results="folders of runs on the same images, such as of several seeds",
        out="writes md, csv and manifest.json there",
        options=_add_options,
    )
    runs = reports.find_runs(arguments.results)
    names = [name for name in runs[0].images if all(name in each.images for each in runs)]
    if not names:
        raise UserError("the runs have no image in common")
    subject = subject_of(runs)
    measured: dict[str, Measured] = {}
    problems: dict[str, str] = {}
    for number, name in enumerate(names[: arguments.images]):
        try:
            results = {each.label: load(each.images[name]) for each in runs}
            another = load(runs[0].images[names[number - 1]]) if len(names) > 1 else None
            measured[name] = measure(name, results, another, subject, rounds=arguments.rounds)
        except UserError as error:
            problems[name] = str(error)
        print(one_line(f"{name}: {number + 1} of {len(names[: arguments.images])}"), file=sys.stderr)
    rows = [
        [name, shape, *(figures.get(key) for key in _MEASURES)]
        for name, errors in measured.items()
        for shape, figures in errors.items()
    ]
    tables = {"consistency.csv": csv_text(["name", "shape", *_MEASURES], rows)}
    reports.publish(arguments, "consistency.md", report(measured, problems), tables, runs)
    return 1 if problems else 0


def _add_options(parser: argparse.ArgumentParser) -> None:
    images, rounds = option_types.whole("--images", 1, 10**6), option_types.whole("--rounds", 1, _MOST_ROUNDS)
    parser.add_argument("--images", type=images, metavar="N", help="of the list's images, so many (default: all)")
    about = "of 4 unseen pictures of each shape that is compared (default: 1)"
    parser.add_argument("--rounds", type=rounds, default=1, metavar="N", help=about)


# What was measured for one image, by shape, which is a run's or a baseline, and then, where known, by measure:
# "unseen_error" in units of pictures in [-1, 1]; "apart", mean SIDE between a run's shape and the other runs' shapes;
# "side", SIDE against the true depth.
Measured = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What runs on one list share: the first one's configuration, and the GAN."""

    plan: Plan  # for the GAN alone, without trained networks
    architecture: Architecture
    frozen: FrozenModels
    latents: pathlib.Path  # folder of those that the first run found


def subject_of(runs: Sequence[reports.ResultsFolder]) -> Subject:
    """Loads the GAN that the runs share; `UserError` if they differ in GAN, size or camera, or a file is missing."""
    configs = [reports.read_config(run) for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        for path in ("gan.checkpoint", "image_size", "camera", "data.crop"):
            value = operator.attrgetter(path)
            if value(config) != value(configs[0]):
                raise UserError(
                    f"{run.label} differs from {runs[0].label} in config.{path}: only runs of one GAN and one camera "
                    "can be measured together"
                )
    config = configs[0].copy_and_resolve_references().unlock()
    config.recipe, config.networks.pretrained = "predict", ""  # needs no masks, which results have, and no model
    plan = Plan(RECIPES["predict"], config.lock(), None)
    return Subject(plan, *prepare.load_frozen(plan), runs[0].home / "latents")


def measure(
    name: str,
    results: Mapping[str, Reconstruction],
    another: Reconstruction | None,
    subject: Subject,
    *,
    rounds: int = 1,
) -> Measured:
    """Measures the shapes that runs gave one image, and another image's, if given.

    Each round takes 4 pictures of each shape. Raises `UserError`: the image is no longer in the run's list, its mask
    shows no object, or no part of it is visible on all shapes.
    """
    first, config = next(iter(results.values())), subject.plan.config
    entry = reports.listed_entry(config, name)
    prepared = prepare.load_image(
        subject.plan, entry, subject.architecture, subject.frozen, subject.latents, keep=False
    )
    shapes = {run: result.input_depth for run, result in results.items()}
    near, far = config.prior.near, config.prior.far
    ellipsoid = prior.ellipsoid(first.input_mask, category=config.category, near=near, far=far)
    drawn = shapes | {ELLIPSOID: np.asarray(ellipsoid, np.float32)}
    if another is not None:
        another_depth = render.warp_depth(jnp.asarray(another.depth), jnp.asarray(first.view), first.camera)
        drawn[ANOTHER] = np.asarray(another_depth)
    compared = drawn | {FLAT: np.full_like(first.depth, (first.camera.min_depth + first.camera.max_depth) / 2)}
    errors = errors_by(compared, pictures_of(drawn, first.light, prepared, subject.frozen, batches=rounds), first)
    if not all(map(np.isfinite, errors.values())):
        raise UserError(f"{name}: no part of the object is visible on all shapes from the views that were drawn")
    measured = {shape: {"unseen_error": errors[shape]} for shape in (*shapes, *BASELINES) if shape in errors}
    for run, depth in shapes.items():
        if others := [other for key, other in shapes.items() if key != run]:
            between = [float(apart(depth, other, first.input_mask, first.camera)) for other in others]
            measured[run]["apart"] = float(np.mean(between))
    if first.true_depth is not None:
        for shape, figures in measured.items():
            figures["side"] = depth_errors(compared[shape], first.true_depth, first.camera)["side"]
    return measured


@functools.partial(jax.jit, static_argnames="camera")
def apart(first: jax.Array, second: jax.Array, mask: jax.Array, camera: Camera) -> Float[jax.Array, ""]:
    """Returns the SIDE between two depths over the object, where both show a surface; NaN if they share none."""
    shown = render.valid_pixels(first, camera) * render.valid_pixels(second, camera) * (mask > 0.5)
    return metrics.side(first, second, metrics.erode(shown))


_PREAMBLE = """\
Without true depth. Unseen error: what remains where the photo, on its shape, is turned and relit until it looks like
pictures of the same object that no training saw; mean absolute difference, pictures in [-1, 1]. Beside runs, a flat
plane, the ellipsoid and another image's shape were measured too. Apart: SIDE between a run's shape and the other runs'.
Lower is better; means over images with 95% intervals (Student's t).
"""


def report(measured: Mapping[str, Measured], problems: Mapping[str, str]) -> list[str]:
    """Returns what the numbers mean, tables of shapes and images, and what was left out.

    All images have the same shapes.
    """
    some = list(measured.values())
    tables = ["no image was measured\n"]
    if some:
        rows = [
            [name, *(f"{each['unseen_error']:.4f}" for each in errors.values())] for name, errors in measured.items()
        ]
        images = "Unseen error of each image:\n\n" + reports.markdown_table(["image", *some[0]], rows)
        tables = [_shapes(some), images]
    left_out = reports.bullets([f"{name}: {reason}" for name, reason in problems.items()], "Left out:")
    return [_PREAMBLE, *tables, left_out]


def _shapes(measured: Sequence[Measured]) -> str:
    titles = ["shape", "images", "unseen error", "below the ellipsoid's by", "below it on", "apart", "SIDE"]
    rows = []
    for shape in measured[0]:
        gains = [
            1 - measured_here[shape]["unseen_error"] / measured_here[ELLIPSOID]["unseen_error"]
            for measured_here in measured
        ]
        better = [f"{100 * np.mean(gains):.0f}%", f"{sum(gain > 0 for gain in gains)} of {len(gains)}"]
        means = []
        for key in _MEASURES:
            values = [
                value for measured_here in measured if np.isfinite(value := measured_here[shape].get(key, np.nan))
            ]
            means.append(reports.interval_text(reports.mean_interval(values), 4) if values else "–")
        rows.append([shape, str(len(measured)), means[0], *(["", ""] if shape == ELLIPSOID else better), *means[1:]])
    return reports.markdown_table(titles, rows)


ITERATIONS = 150
_DRAPE_RATE = 0.03  # Adam's learning rate, in the units below, decaying to zero
# How far views and lights are expected to be from the start of the search: radians, scene units, strengths, slopes.
_VIEW_UNITS = (0.3, 0.3, 0.3, 0.03, 0.03, 0.0)
_LIGHT_UNITS = (0.2, 0.2, 0.3, 0.3)
_HOLD = 2e-3  # weight of the squared distance from the start, so that no shape is turned out of sight
_DARKEST = 0.1  # lower bound of the shading that a picture is divided by
ENCODER_ITERATIONS = 300
_RATE = 1e-4
_BATCH = 4
_OBJECT = 0.5


class Pictures(NamedTuple):
    """Pictures (n, S, S, 3), as of the GAN, and the views (n, 6) by which they are turned from the input's view."""

    images: np.ndarray
    views: np.ndarray


def without_holes(depth: Map, camera: Camera) -> tuple[Map, Map]:
    """Returns a depth with holes filled by the nearest surface, and a mask that is 1 where there was a surface."""
    empty = depth >= camera.background_depth
    if empty.all():
        return np.full(depth.shape, camera.max_depth, np.float32), np.zeros(depth.shape, np.float32)
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return np.asarray(depth[tuple(nearest)], np.float32), np.asarray(~empty, np.float32)


def pictures_of(
    shapes: Mapping[str, Map], light: np.ndarray, prepared: PreparedImage, frozen: FrozenModels, *, batches: int
) -> Pictures:
    """Returns the GAN's versions of renderings of the photo on each shape, using an encoder trained for the photo.

    Shapes are depths in the input's view, by name, all rendered under the same views and lights: `batches` times 4
    pictures of each. The encoder is trained on each shape in turn.
    """
    chosen = {"regularize_offset": True, "use_mask": False, "learning_rate": _RATE, "batch_size": _BATCH}
    settings = changed(prepared.settings, **chosen)
    example, camera = prepared.example, settings.camera
    lit, photo = jnp.asarray(light, jnp.float32), example.image[0]
    turns = []  # the photo on each shape, as factors whose canonical view is the input's
    for depth in shapes.values():
        shape = jnp.asarray(without_holes(depth, camera)[0])
        albedo = _unlit(photo, lighting.shade(lighting.normals(shape, camera), lit)[0])
        turns.append(Factors(shape, albedo, view=jnp.zeros(6), light=lit, mask=jnp.ones(shape.shape)))
    lesson = Phase(0, 1, STEP2, ENCODER_ITERATIONS, flip=False)
    example = dataclasses.replace(example, key=key_of(example.key, Stream.CONSISTENCY))
    fresh = models.init_params(key_of(example.key, Stream.NETWORKS), settings)
    context = Context(example, frozen, settings)
    task = one_image(context)
    state = task.begin(task.initial(fresh), lesson)
    for number in range(ENCODER_ITERATIONS):
        factors = jax.tree.map(jnp.array, turns[number % len(turns)])  # training donates them
        state = dataclasses.replace(state, factors=factors)
        state, _ = task.advance(state, lesson, number, None, 1)
    code = _code(state.params, context)
    key = key_of(example.key, Stream.COLLECT)
    images, views = [], []
    for factors_of_turn in turns:
        for batch in map(jnp.int32, range(batches)):
            iteration = Iteration(key, batch, factors_of_turn, code)
            images.append(_collected(state.params, iteration, context).images)
            drawn = _conditions(iteration, context)
            views.append(view_from_raw(drawn.views, settings.view_range))
    return Pictures(np.concatenate(images), np.concatenate(views))


_code = jax.jit(reference_code)
_collected = jax.jit(collect_batch)
_conditions = jax.jit(sampled_conditions)


def _unlit(photo: Float[Array, "s s 3"], shading: Float[Array, "s s"]) -> Float[Array, "s s 3"]:
    """Returns a photo's albedo under this shading, in [-1, 1] where the photo is not too light for it."""
    return (photo / 2 + 0.5) / jnp.maximum(shading, _DARKEST)[..., None] * 2 - 1


def errors_by(shapes: Mapping[str, Map], pictures: Pictures, result: Reconstruction) -> dict[str, float]:
    """Returns the mean absolute error that remains on each shape, in the units of pictures in [-1, 1].

    NaN if no part of the object is visible on all shapes in any picture. Shapes are depths in the input's view, by
    name; photo, mask, light and camera are those of any result of the image.
    """
    whole = {name: without_holes(depth, result.camera) for name, depth in shapes.items()}
    everywhere = result.input_mask * np.prod([shown for _, shown in whole.values()], axis=0)
    inside = np.asarray(ndimage.binary_erosion(everywhere > _OBJECT), np.float32)  # outlines belong to no surface
    draped = [drape(depth, inside, pictures, result, iterations=ITERATIONS) for depth, _ in whole.values()]
    errors = common_errors(draped, pictures.images)
    informative = np.isfinite(errors).any(0)  # pictures of sides that some shape does not show are uninformative
    means = errors[:, informative].mean(1) if informative.any() else np.full(len(shapes), np.nan)
    return dict(zip(shapes, map(float, means), strict=True))


class Draped(NamedTuple):
    """The photo on a shape (n, S, S, 3), viewed and lit as in n pictures; where shown (n, S, S); its views (n, 6)."""

    pictures: np.ndarray
    coverage: np.ndarray
    views: np.ndarray


def drape(depth: Map, mask: Map, pictures: Pictures, result: Reconstruction, *, iterations: int = ITERATIONS) -> Draped:
    """Returns a result's photo on a shape, seen and lit as in each picture, as closely as the shape allows.

    `mask` says where the photo counts, in [0, 1]; the search, by Adam, starts from the views of the pictures.
    """
    arrays = depth, result.signed_image, mask, result.light, pictures.views
    scene = tuple(jnp.asarray(each, jnp.float32) for each in arrays)
    targets, count = jnp.asarray(pictures.images, jnp.float32), len(pictures.images)
    moved = _Moved(jnp.zeros(4), jnp.zeros((count, 6)), jnp.zeros((count, 4)))
    state, rate = _ADAM.init(moved), optax.cosine_decay_schedule(_DRAPE_RATE, iterations)
    for number in range(iterations):
        moved, state = _improve(moved, state, rate(number), scene, targets, camera=result.camera)
    return Draped(*map(np.asarray, _look(moved, scene, camera=result.camera)))


def common_errors(draped: list[Draped], pictures: Float[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "c n"]:
    """Returns each shape's mean absolute error on each picture over pixels where all show the object; NaN without."""
    both = np.prod([shape.coverage for shape in draped], axis=0)
    total = both.sum((1, 2))
    errors = [(np.abs(shape.pictures - pictures).mean(-1) * both).sum((1, 2)) for shape in draped]
    return np.where(total > 1, np.asarray(errors) / np.maximum(total, 1), np.nan)


# Depth (s, s), photo (s, s, 3), mask (s, s) and light (4,), and the views (n, 6) that the search starts from.
_Scene = tuple[jax.Array, ...]


class _Moved(NamedTuple):
    """The search variables, in expected units: light of the photo (4,), views (n, 6), lights (n, 4)."""

    own_light: jax.Array
    views: jax.Array
    lights: jax.Array


_ADAM = optax.scale_by_adam()


def _rendered(moved: _Moved, scene: _Scene, camera: Camera) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the draped photo (n, s, s, 3), where it is visible (n, s, s), and the views (n, 6)."""
    depth, photo, mask, light, views = scene
    normal = lighting.normals(depth, camera)
    own, _ = lighting.shade(normal, light + moved.own_light * jnp.asarray(_LIGHT_UNITS))
    theirs, _ = lighting.shade(normal[None], light + moved.lights * jnp.asarray(_LIGHT_UNITS))
    texture = lighting.apply_shading(_unlit(photo, own)[None], theirs)
    turned = views + moved.views * jnp.asarray(_VIEW_UNITS)
    count = len(views)
    warped = render.warp_depth(jnp.broadcast_to(depth, (count, *depth.shape)), turned, camera)
    grid = inverse_warped_grid(warped, turned, camera)
    rendered = jnp.clip(resample.grid_sample(texture, grid), -1, 1)
    covered = resample.grid_sample(jnp.broadcast_to(mask[..., None], (count, *mask.shape, 1)), grid)[..., 0]
    return rendered, jax.lax.stop_gradient(covered * render.valid_pixels(warped, camera)), turned


_look = jax.jit(_rendered, static_argnames="camera")


@functools.partial(jax.jit, static_argnames="camera")
def _improve(
    moved: _Moved, state: optax.OptState, rate: jax.Array, scene: _Scene, pictures: jax.Array, *, camera: Camera
) -> tuple[_Moved, optax.OptState]:
    def loss(moved: _Moved) -> Float[Array, ""]:
        rendered, covered, _ = _rendered(moved, scene, camera)
        each = jnp.sum(jnp.abs(rendered - pictures).mean(-1) * covered, (1, 2)) / (jnp.sum(covered, (1, 2)) + 1)
        away = jnp.sum(jnp.square(moved.views)) + jnp.sum(jnp.square(moved.lights))
        return jnp.sum(each) + _HOLD * (away + jnp.sum(jnp.square(moved.own_light)) * len(pictures))

    updates, state = _ADAM.update(jax.grad(loss)(moved), state)
    return jax.tree.map(lambda value, step: value - rate * step, moved, updates), state
