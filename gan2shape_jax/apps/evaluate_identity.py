"""`gan2shape-jax evaluate identity`: whether objects keep their identity when several methods turn them in yaw.

"3D" and "GAN" keep the pitch, roll, shift and light of the input and replace its yaw: "3D" samples the lit canonical
texture at the depth seen from each view, as training does, and "GAN" projects those pictures onto the GAN with the
image's encoder (GAN2Shape, section 3.3). GANSpace and SeFa move the input's latent along the direction that turns the
picture most, as judged by the image's own view network, and "mirror" along the axis of yaw that a model's file has from
mirror images. Pictures are (n, S, S, 3) in [-1, 1], yaws in degrees.
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan2shape_jax.apps import evaluate, option_types
from gan2shape_jax.apps.edit import trained
from gan2shape_jax.apps.embedding import Embedding, Preparation, load_embedding
from gan2shape_jax.config import to_json
from gan2shape_jax.errors import UserError, exit_code, one_line
from gan2shape_jax.io.files import atomic_file
from gan2shape_jax.io.image_lists import read_names, stem_of
from gan2shape_jax.io.output_folders import EVALUATION, mark
from gan2shape_jax.method import models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.photos.explain import projector
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import Plan, resolve
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results import pictures
from gan2shape_jax.results.reconstruction import Reconstruction, load
from gan2shape_jax.results.tables import csv_text, markdown_cell
from gan2shape_jax.results.views import rough_views
from gan2shape_jax.run.folder import SavedRun
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.stylegan2.latents import deviations, ganspace, sample_w, sefa, shift
from gan2shape_jax.training import network_files

METHODS = ("3D", "GAN", "mirror", "GANSpace", "SeFa")  # "mirror" where the model's file says how its GAN turns
_COLUMNS = ("run", "name", "method", "yaw_deg", "seen_yaw_deg", "reached", "similarity")

_COMPONENTS = 10  # directions tried for each rival method
_SAMPLES = 10_000  # latents from which GANSpace's directions and all deviations are computed
_BATCH = 20  # pictures per network call
_PROBE = 3.0  # deviations to either side at which candidates are compared
_GRID = np.linspace(-10, 10, 41)  # deviations over which the best is calibrated
_SHOWN = 7  # views per row in the picture
_EPILOG = """\
examples:
  gan2shape-jax evaluate identity results/mine --embedding arcface.onnx --out results/identity
  gan2shape-jax evaluate identity results/mine --embedding facenet.onnx --size 160 --mean 127.5 --std 128

No network comes with the package: face recognition networks have licences of their own, and need faces cropped and
scaled as they were trained (--crop, --size, --mean, --std, --bgr).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0, or 1 after an error that has been printed."""
    return exit_code(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(words: list[str]) -> int:
    """Returns 0, or 1 if an image could not be turned; `UserError` if none can be."""
    arguments = evaluate.parsed(_parser(), words)
    if arguments.embedding is None:
        raise UserError("name a face recognition network: --embedding FACE.onnx (none comes with the package)")
    fields = (field.name for field in dataclasses.fields(Preparation))
    embedding = load_embedding(arguments.embedding, Preparation(**{name: getattr(arguments, name) for name in fields}))
    yaws = np.linspace(-arguments.max_yaw, arguments.max_yaw, arguments.views)
    runs = evaluate.find_runs(arguments.results)
    turned = zip(*(_turn_all(each, embedding, yaws, arguments.out) for each in runs), strict=True)
    rows, ways, problems = (list(itertools.chain(*part)) for part in turned)
    tables = {"identity.csv": csv_text(_COLUMNS, rows)}
    parts = _report(rows, ways, problems, arguments.embedding.name, len(yaws))
    evaluate.publish(arguments.out, "identity.md", parts, tables)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    about = "How well identity is preserved when an object is turned, by your own face-embedding network."
    out = "writes identity.md, identity.csv and a picture per image, RUN/NAME.png, there"
    results = "folders of runs, or of single images"
    parser = evaluate.parser("evaluate identity", about, _EPILOG, results=results, out=out)
    add, number = parser.add_argument, option_types.number
    option_types.add_path(parser, "--embedding", "FACE.onnx", "the network, from pictures to vectors")
    views = option_types.whole("--views", 2, option_types.MOST_FRAMES)
    max_yaw = number("--max-yaw", 0.001, 90, "degrees")
    add("--views", type=views, default=20, help="how many yaws (default: 20)")
    add("--max-yaw", type=max_yaw, default=20.0, metavar="DEG", help="largest yaw to either side (default: 20)")
    size = option_types.size(least=0)
    add("--size", type=size, default=0, metavar="PIXELS", help="its pictures' side (default: from the file)")
    mean, std = number("--mean", -1e6, 1e6), number("--std", 1e-6, 1e6)
    add("--mean", type=mean, default=127.5, help="subtracted from values of 0 to 255 (default: 127.5)")
    add("--std", type=std, default=127.5, help="divides them afterwards (default: 127.5)")
    add("--bgr", action="store_true", help="swaps red and blue")
    crop = number("--crop", 0.01, 1)
    add("--crop", type=crop, default=1.0, metavar="SHARE", help="centred share of the side to keep (default: 1)")
    return parser


def _turn_all(
    run: evaluate.ResultsFolder, embedding: Embedding, yaws: np.ndarray, out: pathlib.Path | None
) -> tuple[list[list[Any]], list[str], list[str]]:
    """Turns every image of a run by every method.

    Returns a row of `_COLUMNS` for each view, along which directions images were turned, and why some were left out.
    """
    views, ways, problems = list[list[Any]](), list[str](), list[str]()
    shared = dict[str, _Shared]()
    for name in run.images:
        try:
            subject = _subject(run, name, shared)
        except UserError as error:
            problems.append(f"{run.label}: {name}: {error}")
            continue
        turned, image = turn(subject, yaws), subject.result.signed_image[None]
        vectors = embedding(np.concatenate([image, *(each.pictures for each in turned)]))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for each, similarity in zip(turned, np.split(vectors[1:] @ vectors[0], len(turned)), strict=True):
            for values in zip(yaws.tolist(), each.seen_deg.tolist(), each.reached.tolist(), similarity.tolist()):
                views.append([run.label, name, each.method, *values])
            ways += [f"{run.label}: {name}: {each.method} along {each.how}"] if each.how else []
        if out is not None:
            chosen = np.linspace(0, len(yaws) - 1, _SHOWN).round().astype(int)
            strip = pictures.strip([*map(pictures.to_uint8, [image, *(each.pictures[chosen] for each in turned)])])
            place = out / run.label.strip("/") / f"{name}.png"
            mark(out, EVALUATION)
            atomic_file(place, functools.partial(pictures.write_png, picture=strip), parents=True)
        print(one_line(f"{run.label}: {name}"), file=sys.stderr)
    return views, ways, problems


class Subject(NamedTuple):
    """One reconstructed image with its latent, its view network and encoder, and the GAN with samples (n, W) of W."""

    result: Reconstruction
    prepared: PreparedImage
    params: models.Params
    frozen: FrozenModels
    samples: np.ndarray


_Shared = tuple[Plan, Architecture, FrozenModels, np.ndarray]


def _subject(run: evaluate.ResultsFolder, name: str, shared: dict[str, _Shared]) -> Subject:
    """Returns an image of a run; raises `UserError` if something of it is not there any more.

    `shared` keeps the plan, GAN and samples that images share, by their configuration: photos may have several.
    """
    config, folder = run.config(name), run.images[name]
    if config is None:
        raise UserError(f"{run.home} has no config.json: without it the run's networks are unknown")
    if (text := to_json(config)) not in shared:
        plan, key = resolve(config), key_of(run_key(config.seed), Stream.DIRECTIONS)
        architecture, frozen = inputs.load_frozen(plan)
        samples = sample_w(key, frozen.generator, arch=architecture, samples=_SAMPLES)
        shared[text] = plan, architecture, frozen, samples
    plan, architecture, frozen, samples = shared[text]
    result = load(folder)
    listed = {stem_of(entry): entry for entry in read_names(config.data.image_list, config.data.image_root)}
    if result.name not in listed:
        raise UserError(f"{config.data.image_list}, the image list of the run, does not name {result.name} any more")
    entry = listed[result.name]
    prepared = inputs.load_image(plan, entry, architecture, frozen, run.home / "latents", keep=False)
    networks = trained(folder, SavedRun(run.home, config), prepared.settings, network_files.SMALL)
    return Subject(result, prepared, networks, frozen, samples)


class Turned(NamedTuple):
    """The pictures (n, S, S, 3) of one method."""

    method: str  # one of `METHODS`
    pictures: np.ndarray
    seen_deg: np.ndarray  # (n,) the yaw that the view network sees in each
    how: str  # the direction that was used, in words; "" for the mesh and for the GAN guided by it
    reached: np.ndarray  # (n,) whether the calibration reached each yaw


def turn(subject: Subject, yaws_deg: Float[np.ndarray, "n"]) -> list[Turned]:
    """Turns the object to each yaw by each of `METHODS` that its model has, in their order."""
    result, settings = subject.result, subject.prepared.settings
    views = np.repeat(result.view[None], len(yaws_deg), axis=0)
    views[:, 1] = np.deg2rad(yaws_deg)
    canonical, how = np.repeat(result.canonical[None], _BATCH, axis=0), settings.sampling
    draw = functools.partial(rough_views, result.depth, canonical, camera=result.camera, sampling=how)
    solid = in_batches(draw, views, size=_BATCH)
    projected = in_batches(projector(subject.params, subject.prepared, subject.frozen), solid, size=_BATCH)
    everywhere, principal = np.ones(len(yaws_deg), bool), ganspace(subject.samples, count=_COMPONENTS)

    def stretching(first: int, last: int) -> np.ndarray:
        layers = range(first, min(last, subject.prepared.settings.architecture.layers))
        return sefa(subject.frozen.generator, layers=layers, count=_COMPONENTS)

    def mirrored(first: int, last: int) -> np.ndarray:
        axis = np.asarray(subject.frozen.pose_edit.subspace.axes[:1])
        whole = (first, last) == (0, subject.prepared.settings.architecture.latents)
        return axis / np.linalg.norm(axis) if whole else axis[:0]  # it was found, and turns, with all styles alike

    return [
        Turned("3D", solid, _predicted_yaws(subject, solid), "", everywhere),
        Turned("GAN", projected, _predicted_yaws(subject, projected), "", everywhere),
        *([] if subject.frozen.pose_edit is None else [_traversed("mirror", mirrored, subject, yaws_deg)]),
        _traversed("GANSpace", lambda first, last: principal, subject, yaws_deg),
        _traversed("SeFa", stretching, subject, yaws_deg),
    ]


def _traversed(
    name: str, directions: Callable[[int, int], np.ndarray], subject: Subject, yaws_deg: np.ndarray
) -> Turned:
    """Makes pictures along the direction that turns the subject most between three deviations to either side.

    `directions` returns those (k, W) to try on the styles from `first` to before `last`.
    """
    candidates = []  # steps (W,) of one deviation, the styles they are applied to, and the direction's number
    latent, settings = subject.prepared.example.latent, subject.prepared.settings
    arch = settings.architecture
    # All styles, and the coarse ones, which hold pose (Karras et al., 2019, section 3).
    count = arch.latents
    ranges = {(0, min(2, count)), (0, min(4, count)), (2, min(6, count)), (0, count)}
    for first, last in sorted(ranges, key=lambda ends: (ends[1] - ends[0], ends)):
        units = directions(first, last)
        steps = units * deviations(subject.samples, units)[:, None]
        candidates += [(step, first, last, number) for number, step in enumerate(steps, start=1)]

    def drawn(some: Sequence[tuple[np.ndarray, int, int, int]], steps: np.ndarray) -> np.ndarray:
        moved = functools.partial(shift, latent, arch=arch)
        latents = [moved(jnp.asarray(step), jnp.asarray(steps), first=k, last=end) for step, k, end, _ in some]
        draw = functools.partial(_synthesized, frozen=subject.frozen, settings=settings)
        return in_batches(draw, np.concatenate(latents), size=_BATCH)

    ends = _predicted_yaws(subject, drawn(candidates, np.array([-_PROBE, _PROBE]))).reshape(-1, 2)
    best = candidates[int(np.argmax(np.ptp(ends, axis=1)))]
    steps, reached = calibrate(_GRID, _predicted_yaws(subject, drawn([best], _GRID)), yaws_deg)
    shown = drawn([best], steps)
    _, first, last, number = best
    how = f"direction {number}, styles {first} to {last - 1}"
    return Turned(name, shown, _predicted_yaws(subject, shown), how, reached)


def _predicted_yaws(subject: Subject, pictures: np.ndarray) -> np.ndarray:
    """Returns the yaws in degrees that the subject's view network sees in pictures."""
    settings, mean = subject.prepared.settings, subject.frozen.view_mean
    views: np.ndarray = in_batches(lambda part: _views(subject.params, part, mean, settings), pictures, size=_BATCH)
    return np.rad2deg(views[:, 1])


_synthesized = jax.jit(projection.synthesize)
_views = jax.jit(models.views)


def calibrate(
    steps: Float[np.ndarray, "m"], yaws_deg: Float[np.ndarray, "m"], targets_deg: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], np.ndarray]:
    """Returns the steps at which a yaw, measured at increasing steps, takes the target values, and whether it does.

    Only the stretch around the smallest step in which the yaw keeps rising (or falling) is used, so that a greater
    target always lies further along. Targets beyond an end of it get the step at that end.
    """
    steps, yaws = np.asarray(steps, np.float64), np.asarray(yaws_deg, np.float64)
    start = int(np.argmin(np.abs(steps)))
    signs = {}
    for sign in (1, -1):  # stretches begin where the values do not rise, the last of these is their end
        starts = np.flatnonzero(np.diff(sign * yaws, prepend=np.inf, append=-np.inf) <= 0)
        signs[sign] = slice(starts[starts <= start][-1], starts[starts > start][0])
    sign, part = max(signs.items(), key=lambda each: np.ptp(yaws[each[1]]))
    targets, rising = sign * np.asarray(targets_deg), sign * yaws[part]
    return np.interp(targets, rising, steps[part]), (targets >= rising[0]) & (targets <= rising[-1])


_MEANING = """\
The mean over the views of an image, then over images, with 95% intervals (Student's t); the least similar view; the
yaws that the image's own view network predicts, their distance from those requested, and how many were reached.
"""


def _report(
    views: Sequence[list[Any]], ways: Sequence[str], problems: Sequence[str], network: str, count: int
) -> list[str]:
    """Returns the parts of the report, with a table of the methods' similarity and the yaws seen.

    Rows `views` are those of `_COLUMNS`, `count` of them for each image and method.
    """
    heading = f"Cosine between the embeddings ({markdown_cell(network)}) of the input and of its turned views."
    rows = []
    for method in dict.fromkeys(row[2] for row in views):
        values = [row[3:] for row in views if row[2] == method]
        yaw, yaws_seen, reached, similarity = np.moveaxis(np.array(values, np.float64).reshape(-1, count, 4), -1, 0)
        similar = [evaluate.mean_text(evaluate.mean_of(each), 3) for each in (similarity.mean(1), similarity.min(1))]
        range_seen = f"{yaws_seen.min(1).mean():.1f} to {yaws_seen.max(1).mean():.1f}"
        off, share = f"{np.abs(yaws_seen - yaw).mean():.1f}", f"{100 * reached.mean():.0f}%"
        rows.append([method, str(len(similarity)), *similar, range_seen, off, share])
    titles = ["method", "images", "similarity", "least similar view", "predicted yaw, degrees", "off by", "reached"]
    table = evaluate.markdown_table(titles, rows) if rows else "no image was turned\n"
    return [heading, _MEANING, table, evaluate.bullets(ways), evaluate.bullets(problems, "Left out:")]
