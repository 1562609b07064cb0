"""One object turned in yaw by four methods: the mesh, the GAN guided by it, and two directions of the GAN itself.

"3D" and "GAN" keep the pitch, roll, shift and light of the input and replace its yaw: "3D" samples the lit canonical
texture at the depth seen from each view, as training does, and "GAN" projects those pictures onto the GAN with the
image's encoder (GAN2Shape, section 3.3). GANSpace and SeFa move the input's latent along the direction that turns the
picture most, as judged by the image's own view network. Pictures are (n, S, S, 3) in [-1, 1], yaws in degrees.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import re
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.evaluate.embedding import Embedding, Preparation, cosine, load_embedding
from gan2shape_jax.apps.evaluate.runs import FoundRun, find_runs, listed_entry, manifest, read_config
from gan2shape_jax.apps.evaluate.tables import csv_text, interval_text, markdown_table, mean_interval
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io import option_types
from gan2shape_jax.io.files import atomic_text, require_folder_place
from gan2shape_jax.method import models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem
from gan2shape_jax.results import pictures
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.table import markdown_cell
from gan2shape_jax.results.views import rough_views
from gan2shape_jax.run import prepare
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.stylegan2.latents import deviations, ganspace, sample_w, sefa, shift
from gan2shape_jax.training import network_files

__all__ = [
    "Candidate",
    "Gan",
    "METHODS",
    "Subject",
    "Traversal",
    "Turn",
    "Turned",
    "calibrate",
    "find_yaw_direction",
    "load_gan",
    "load_subject",
    "picture_name",
    "report",
    "run",
    "style_ranges",
    "title",
    "turn",
    "views_csv",
    "write_picture",
]


METHODS = ("3D", "GAN", "GANSpace", "SeFa")

_COMPONENTS = 10  # directions tried for each rival method
_SAMPLES = 10_000  # latents from which GANSpace's directions and all deviations are computed
_BATCH = 20  # pictures per network call


@dataclasses.dataclass(frozen=True, eq=False)
class Gan:
    """What all images of a run share: the frozen networks and samples (n, W) of W."""

    architecture: Architecture
    frozen: FrozenModels
    latents: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One reconstructed image with its view network and encoder, and its latent."""

    result: Result
    prepared: PreparedImage
    params: models.Params


@dataclasses.dataclass(frozen=True, eq=False)
class Turned:
    """The pictures made by one method.

    Attributes:
        method: one of `METHODS`.
        pictures: (n, S, S, 3).
        yaws_deg: (n,) the view network's prediction for each.
        how: the direction that was used, in words; "" for the mesh and for the GAN guided by it.
        reached: (n,) whether the calibration reached each yaw.
    """

    method: str
    pictures: np.ndarray
    yaws_deg: np.ndarray
    how: str
    reached: np.ndarray


def load_gan(config: ConfigDict) -> Gan:
    """Loads a run's frozen networks and samples its W; raises `UserError` if a file is missing."""
    architecture, frozen = prepare.load_frozen(config)
    latents = sample_w(jax.random.key(0), frozen.generator, arch=architecture, samples=_SAMPLES)
    return Gan(architecture, frozen, latents)


def load_subject(
    config: ConfigDict, gan: Gan, name: str, result: Result, folder: pathlib.Path, latents: pathlib.Path
) -> Subject:
    """Loads what belongs to one image of a run.

    Args:
        config: of the run.
        gan: of the run.
        name: of the image, as results folders are named.
        result: its reconstruction.
        folder: of that result.
        latents: folder of the latents that the run computed itself.

    Raises:
        UserError: the image is no longer in the run's list, or a file is missing or does not fit.
    """
    entry = listed_entry(config, name)
    prepared = prepare.load_image(config, entry, gan.architecture, gan.frozen, latents, keep=False)
    like = jax.eval_shape(lambda key: models.init_params(key, prepared.settings), jax.random.key(0))
    path = folder / "networks.safetensors"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: turning a result takes its view network and its encoder, which a run keeps where "
            "config.outputs.networks is 'small' or 'full'; reconstruct again"
        )
    networks = network_files.load_networks(path, like, prepared.settings, needed=network_files.SMALL)
    return Subject(result, prepared, {name: networks[name] for name in network_files.SMALL})


def turn(subject: Subject, gan: Gan, yaws_deg: Float[np.ndarray, "n"]) -> list[Turned]:
    """Turns the object to each yaw by each of `METHODS`, in their order."""
    result = subject.result
    views = np.repeat(result.view[None], len(yaws_deg), axis=0)
    views[:, 1] = np.deg2rad(yaws_deg)
    settings, problem = subject.prepared.settings, subject.prepared.problem
    solid = _in_batches(
        lambda part: rough_views(
            result.depth,
            np.broadcast_to(result.canonical, (len(part), *result.canonical.shape)),
            part,
            camera=result.camera,
            sampling=settings.sampling,
        ),
        views,
    )
    projected = _in_batches(
        lambda part: _projected(subject.params, part, problem, gan.frozen, settings=settings), solid
    )
    everywhere = np.ones(len(yaws_deg), bool)
    turned = [
        Turned(name, pictures, _seen_yaws(subject, gan, pictures), "", everywhere)
        for name, pictures in (("3D", solid), ("GAN", projected))
    ]
    for name, candidates in (("GANSpace", _ganspace(gan)), ("SeFa", _sefa(gan))):
        turned.append(_traversed(name, candidates, subject, gan, yaws_deg))
    return turned


def _traversed(name: str, candidates: list[Candidate], subject: Subject, gan: Gan, yaws_deg: np.ndarray) -> Turned:
    """Makes pictures along the candidate that turns the subject most."""

    def yaw_of(some: Sequence[Candidate], steps: np.ndarray) -> np.ndarray:
        latents = np.concatenate([_moved(subject, gan, candidate, steps) for candidate in some])
        return _seen_yaws(subject, gan, _pictures(subject, gan, latents)).reshape(len(some), len(steps))

    traversal = find_yaw_direction(candidates, yaw_of, yaws_deg)
    best = traversal.candidate
    shown = _pictures(subject, gan, _moved(subject, gan, best, traversal.steps))
    how = f"direction {best.number + 1}, styles {best.first} to {best.last - 1}"
    return Turned(name, shown, _seen_yaws(subject, gan, shown), how, traversal.reached)


def _moved(subject: Subject, gan: Gan, candidate: Candidate, steps: np.ndarray) -> np.ndarray:
    """Returns the subject's latent moved by steps in deviations, (n, L, W)."""
    return np.asarray(
        shift(
            subject.prepared.problem.latent,
            jnp.asarray(candidate.direction),
            jnp.asarray(steps * candidate.scale, jnp.float32),
            first=candidate.first,
            last=candidate.last,
            arch=gan.architecture,
        )
    )


def _ganspace(gan: Gan) -> list[Candidate]:
    components = ganspace(gan.latents, count=_COMPONENTS)
    scales = deviations(gan.latents, components)
    return [
        Candidate(components[i], float(scales[i]), first, last, i)
        for first, last in style_ranges(gan.architecture.latents)
        for i in range(len(components))
    ]


def _sefa(gan: Gan) -> list[Candidate]:
    """Returns SeFa's candidates; their directions depend on the layers that are moved."""
    candidates = []
    for first, last in style_ranges(gan.architecture.latents):
        layers = range(first, min(last, gan.architecture.layers))
        components = sefa(gan.frozen.generator, layers=layers, count=_COMPONENTS)
        scales = deviations(gan.latents, components)
        candidates += [Candidate(components[i], float(scales[i]), first, last, i) for i in range(len(components))]
    return candidates


def _pictures(subject: Subject, gan: Gan, latents: np.ndarray) -> np.ndarray:
    settings = subject.prepared.settings
    return _in_batches(lambda part: _synthesized(part, gan.frozen, settings=settings), latents)


def _seen_yaws(subject: Subject, gan: Gan, pictures: np.ndarray) -> np.ndarray:
    """Returns the yaws in degrees that the subject's view network sees in pictures."""
    settings = subject.prepared.settings
    seen = _in_batches(lambda part: _views(subject.params, gan.frozen.view_mean, part, settings=settings), pictures)
    return np.rad2deg(seen[:, 1])


def _in_batches(function: Callable[[np.ndarray], jax.Array], values: np.ndarray) -> np.ndarray:
    """Calls a function with a batch at a time, padding the last: one compiled program serves any number."""
    filled = np.concatenate([values, np.repeat(values[-1:], -len(values) % _BATCH, axis=0)])
    parts = [np.asarray(function(filled[i : i + _BATCH])) for i in range(0, len(filled), _BATCH)]
    return np.concatenate(parts)[: len(values)]


@jax.jit
def _projected(
    params: models.Params, pictures: jax.Array, problem: Problem, frozen: FrozenModels, *, settings: Settings
) -> jax.Array:
    return projection.project(params, pictures, problem.latent, problem.gan_image, frozen, settings)[0]


@jax.jit
def _synthesized(latents: jax.Array, frozen: FrozenModels, *, settings: Settings) -> jax.Array:
    return projection.synthesize(latents, frozen, settings)


@jax.jit
def _views(params: models.Params, view_mean: jax.Array, pictures: jax.Array, *, settings: Settings) -> jax.Array:
    return models.views(params, pictures, view_mean, settings)


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A direction in W, applied to a range of styles.

    Attributes:
        direction: (W,) unit vector.
        scale: length of a step of 1 along it, the standard deviation of latents in that direction.
        first, last: styles `first` to `last - 1` are moved.
        number: index of the direction among its method's, from 0.
    """

    direction: np.ndarray
    scale: float
    first: int
    last: int
    number: int


@dataclasses.dataclass(frozen=True, eq=False)
class Traversal:
    """A calibrated path through latents.

    Attributes:
        candidate: the direction.
        steps: (n,) steps, in deviations, for the requested yaws.
        reached: (n,) whether the calibration reached each yaw, or stopped short of it.
    """

    candidate: Candidate
    steps: np.ndarray
    reached: np.ndarray


# The predicted yaw in degrees (k, m) of k candidates at m steps, in deviations.
YawOf = Callable[[Sequence[Candidate], np.ndarray], np.ndarray]

_PROBE = 3.0  # deviations to either side at which candidates are compared
_GRID = np.linspace(-10, 10, 41)  # deviations over which the best is calibrated


def style_ranges(count: int) -> list[tuple[int, int]]:
    """Returns ranges of styles to try: all, and the coarse ones, which hold pose (Karras et al., 2019, section 3)."""
    ranges = {(0, min(2, count)), (0, min(4, count)), (2, min(6, count)), (0, count)}
    return sorted(ranges, key=lambda ends: (ends[1] - ends[0], ends))


def find_yaw_direction(
    candidates: Sequence[Candidate], yaw_of: YawOf, targets_deg: Float[np.ndarray, "n"]
) -> Traversal:
    """Returns the candidate whose traversal changes the predicted yaw most, calibrated to the target yaws.

    Candidates are compared by the change in yaw between three deviations to one side and three to the other.

    Raises:
        ValueError: no candidates.
    """
    if not candidates:
        raise ValueError("no directions to choose from")
    changes = np.ptp(yaw_of(candidates, np.array([-_PROBE, _PROBE])), axis=1)
    best = candidates[int(np.argmax(changes))]
    steps, reached = calibrate(_GRID, yaw_of([best], _GRID)[0], targets_deg)
    return Traversal(best, steps, reached)


def calibrate(
    steps: Float[np.ndarray, "m"], yaws_deg: Float[np.ndarray, "m"], targets_deg: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], np.ndarray]:
    """Returns the steps at which a yaw measured on a grid takes the target values.

    Only the stretch around the smallest step in which the yaw keeps rising (or falling) is used, so that a greater
    target always lies further along. Targets beyond an end of it get the step at that end.

    Args:
        steps: increasing.
        yaws_deg: the yaw at each.
        targets_deg: the yaws to reach.

    Returns:
        Steps (n,), and whether each target lies within the stretch.
    """
    steps, yaws = np.asarray(steps, np.float64), np.asarray(yaws_deg, np.float64)
    start = int(np.abs(steps).argmin())
    first, last = max(
        (_stretch(sign * yaws, start) for sign in (1, -1)), key=lambda ends: abs(yaws[ends[1]] - yaws[ends[0]])
    )
    part = slice(first, last + 1)
    order = slice(None) if yaws[last] >= yaws[first] else slice(None, None, -1)
    steps_at_targets = np.interp(targets_deg, yaws[part][order], steps[part][order])
    low, high = sorted((yaws[first], yaws[last]))
    targets = np.asarray(targets_deg)
    return steps_at_targets, (targets >= low) & (targets <= high)


def _stretch(values: np.ndarray, start: int) -> tuple[int, int]:
    """Returns the first and the last index of the rising stretch around `start`."""
    first = last = start
    while first > 0 and values[first - 1] < values[first]:
        first -= 1
    while last < len(values) - 1 and values[last + 1] > values[last]:
        last += 1
    return first, last


_SHOWN = 7  # views per row in the picture
_LONGEST_NAME = 60  # characters, of up to four bytes
_MEANING = """\
The mean over the views of an image, then over images, with 95% intervals (Student's t); the least similar view; the
yaws that the image's own view network sees, how far they are from those asked for, and how many the direction reached.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
    """One image turned by one method.

    Attributes:
        run, name: of the image.
        method: one of `METHODS`.
        how: the direction that was used, in words, or "".
        yaws_deg: (n,) requested yaws.
        seen_deg: (n,) yaws that the view network sees in the pictures.
        reached: (n,) whether the calibration reached the yaw.
        similarity: (n,) cosine to the input's embedding.
    """

    run: str
    name: str
    method: str
    how: str
    yaws_deg: np.ndarray
    seen_deg: np.ndarray
    reached: np.ndarray
    similarity: np.ndarray


def title(network: str | None) -> str:
    """Returns what the figures mean, given the embedding's file name; None stands for the stand-in."""
    if network is None:
        return (
            "Stand-in, NOT identity: cosine between mean features of the GAN's discriminator. It tells how alike "
            "two\npictures look to the GAN, not whose face they show."
        )
    return f"Cosine between the embeddings ({markdown_cell(network)}) of the input and of its turned views."


def report(turns: Sequence[Turn], problems: Mapping[str, str], heading: str) -> str:
    """Returns a table with a row per method: mean similarity over images with its interval, and the yaws seen."""
    by_method = {method: [turn for turn in turns if turn.method == method] for method in METHODS}
    rows = [[method, *_row(some)] for method, some in by_method.items() if some]
    titles = ["method", "images", "similarity", "least similar view", "yaw seen, degrees", "off by", "reached"]
    lines = [heading, _MEANING, markdown_table(titles, rows) if rows else "nothing was turned\n"]
    ways = [f"{turn.run}: {turn.name}: {turn.method} along {turn.how}" for turn in turns if turn.how]
    ways = [f"- {markdown_cell(way)}" for way in ways]
    wrong = [f"- {markdown_cell(f'{name}: {reason}')}" for name, reason in problems.items()]
    return "\n".join([*lines, *ways, *(["", "Left out:", "", *wrong] if wrong else []), ""])


def _row(turns: Sequence[Turn]) -> list[str]:
    means = mean_interval([float(turn.similarity.mean()) for turn in turns])
    worst = mean_interval([float(turn.similarity.min()) for turn in turns])
    low, high = (np.mean([end(turn.seen_deg) for turn in turns]) for end in (np.min, np.max))
    error = np.mean([np.abs(turn.seen_deg - turn.yaws_deg).mean() for turn in turns])
    reached = np.mean([turn.reached.mean() for turn in turns])
    return [
        str(len(turns)),
        interval_text(means, 3),
        interval_text(worst, 3),
        f"{low:.1f} to {high:.1f}",
        f"{error:.1f}",
        f"{100 * reached:.0f}%",
    ]


def views_csv(turns: Sequence[Turn]) -> str:
    """Returns a CSV with a row per view."""
    rows = [
        [turn.run, turn.name, turn.method, float(yaw), float(seen), bool(reached), float(alike)]
        for turn in turns
        for yaw, seen, reached, alike in zip(turn.yaws_deg, turn.seen_deg, turn.reached, turn.similarity, strict=True)
    ]
    return csv_text(["run", "name", "method", "yaw_deg", "seen_yaw_deg", "reached", "similarity"], rows)


def picture_name(run: str, name: str) -> str:
    """Returns the name of the picture's file: `RUN_NAME.png`, with a checksum if other names could collide."""
    plain = f"{run}_{name}"
    kept = re.sub(r"[^\w.-]", "_", plain).lstrip(".")[:_LONGEST_NAME]
    if kept == plain and "_" not in name:
        return f"{kept}.png"
    both = f"{run}\0{name}".encode(errors="surrogatepass")
    return f"{kept}-{zlib.crc32(both):08x}.png"


def write_picture(path: pathlib.Path, result: Result, turned: Sequence[Turned]) -> None:
    """Writes a picture with a row per method: some of the views from left to right, the input above them."""
    chosen = np.linspace(0, len(turned[0].pictures) - 1, _SHOWN).round().astype(int)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [pictures.to_uint8(result.image[None]), *(pictures.to_uint8(each.pictures[chosen]) for each in turned)]
    pictures.write_png(path, pictures.strip(rows))


_EPILOG = """\
examples:
  gan2shape-jax evaluate identity results/mine --embedding arcface.onnx --out results/identity
  gan2shape-jax evaluate identity results/mine --embedding facenet.onnx --layout nhwc --size 160 --mean 127.5 --std 128

No network comes with the package: those that tell faces apart have licences of their own, and want faces cut out and
scaled as they were trained (--crop, --size, --mean, --std, --bgr).
"""


def run(argv: Sequence[str]) -> int:
    """Runs the command; returns 0, or 1 if an image could not be turned.

    Raises:
        UserError: no embedding is given, or it cannot be used; or a folder has no results.
    """
    arguments = _parser().parse_args(argv)
    if not arguments.stand_in and arguments.embedding is None:
        raise UserError(
            "name a network that tells faces apart: --embedding FACE.onnx (none comes with the package, "
            "see docs/how-to/evaluation.md), or try the command out with --stand-in"
        )
    if arguments.out is not None:
        require_folder_place(arguments.out)
    embedding = None if arguments.stand_in else load_embedding(arguments.embedding, _preparation(arguments))
    yaws = np.linspace(-arguments.max_yaw, arguments.max_yaw, arguments.views)
    runs = find_runs(arguments.results)
    turns: list[Turn] = []
    problems: dict[str, str] = {}
    for each in runs:
        some, failed = _turn_all(each, embedding, yaws, arguments.out)
        turns += some
        problems |= failed
    heading = title(None if arguments.stand_in else arguments.embedding.name)
    text = report(turns, problems, heading)
    print(text)
    if arguments.out is not None:
        record = manifest(runs, embedding=str(arguments.embedding or "stand-in: GAN discriminator, not identity"))
        atomic_text(arguments.out / "identity.md", text)
        atomic_text(arguments.out / "identity.csv", views_csv(turns))
        atomic_text(arguments.out / "manifest.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gan2shape-jax evaluate identity",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="How well turning an object keeps its identity, by a face-embedding network of yours.",
    )
    add = parser.add_argument
    add(
        "results",
        type=option_types.path("RESULTS"),
        nargs="+",
        metavar="RESULTS",
        help="folders of runs, or of single images",
    )
    add(
        "--embedding",
        type=option_types.path("--embedding"),
        metavar="FACE.onnx",
        help="the network, from pictures to vectors",
    )
    add(
        "--stand-in",
        action="store_true",
        help="no identity: compares the GAN discriminator's features instead, to try the command out",
    )
    views = option_types.whole("--views", 2, option_types.MOST_FRAMES)
    max_yaw = option_types.number("--max-yaw", 0.001, 90, "degrees")
    add("--views", type=views, default=20, help="how many yaws (default: 20)")
    add("--max-yaw", type=max_yaw, default=20.0, metavar="DEG", help="the greatest to either side (default: 20)")
    add("--layout", choices=("auto", "nchw", "nhwc"), default="auto", help="axes of its input (default: told by it)")
    add(
        "--size",
        type=option_types.size(least=0),
        default=0,
        metavar="PIXELS",
        help="its pictures' side (default: told)",
    )
    mean, std = option_types.number("--mean", -1e6, 1e6), option_types.number("--std", 1e-6, 1e6)
    add("--mean", type=mean, default=127.5, help="subtracted from values of 0 to 255 (default: 127.5)")
    add("--std", type=std, default=127.5, help="they are then divided by it (default: 127.5)")
    add("--bgr", action="store_true", help="swaps red and blue")
    crop = option_types.number("--crop", 0.01, 1)
    add("--crop", type=crop, default=1.0, metavar="SHARE", help="centred share of the side to keep (default: 1)")
    add(
        "--out",
        type=option_types.path("--out"),
        metavar="FOLDER",
        help="writes identity.md, identity.csv, manifest.json and a picture an image there",
    )
    return parser


def _preparation(arguments: argparse.Namespace) -> Preparation:
    return Preparation(
        layout=arguments.layout,
        size=arguments.size,
        mean=arguments.mean,
        std=arguments.std,
        bgr=arguments.bgr,
        crop=arguments.crop,
    )


def _turn_all(
    run: FoundRun, embedding: Embedding | None, yaws: np.ndarray, out: pathlib.Path | None
) -> tuple[list[Turn], dict[str, str]]:
    """Turns every image of a run by every method; also returns the reasons for those that failed."""
    config = read_config(run)
    gan = load_gan(config)
    embed = embedding or _stand_in(gan)
    turns: list[Turn] = []
    problems: dict[str, str] = {}
    for name, folder in run.images.items():
        try:
            result = load_result(folder)
            subject = load_subject(config, gan, result.name, result, folder, run.home / "latents")
        except UserError as error:
            problems[f"{run.label}: {name}"] = str(error)
            continue
        turned = turn(subject, gan, yaws)
        reference = embed(result.image[None])
        turns += [_compared(run.label, name, each, cosine(embed(each.pictures), reference), yaws) for each in turned]
        if out is not None:
            write_picture(out / picture_name(run.label, name), result, turned)
        print(one_line(f"{run.label}: {name}"), file=sys.stderr)
    return turns, problems


def _compared(label: str, name: str, turned: Turned, similarity: np.ndarray, yaws: np.ndarray) -> Turn:
    return Turn(
        run=label,
        name=name,
        method=turned.method,
        how=turned.how,
        yaws_deg=yaws,
        seen_deg=turned.yaws_deg,
        reached=turned.reached,
        similarity=similarity,
    )


def _stand_in(gan: Gan) -> Embedding:
    """Returns means of the discriminator's last features: how alike pictures look, not whose face they show."""

    @functools.partial(jax.jit, static_argnames="arch")
    def features(params: stylegan2.Params, pictures: jax.Array, *, arch: stylegan2.Architecture) -> jax.Array:
        return jnp.mean(stylegan2.discriminator_features(params, pictures, arch=arch)[-1], axis=(1, 2))

    return lambda pictures: np.asarray(features(gan.frozen.discriminator, jnp.asarray(pictures), arch=gan.architecture))
