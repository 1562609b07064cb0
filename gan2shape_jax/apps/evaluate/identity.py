"""`gan2shape-jax evaluate identity`: whether objects keep their identity when they are turned in yaw by four methods.

"3D" and "GAN" keep the pitch, roll, shift and light of the input and replace its yaw: "3D" samples the lit canonical
texture at the depth seen from each view, as training does, and "GAN" projects those pictures onto the GAN with the
image's encoder (GAN2Shape, section 3.3). GANSpace and SeFa move the input's latent along the direction that turns the
picture most, as judged by the image's own view network. Pictures are (n, S, S, 3) in [-1, 1], yaws in degrees.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import re
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.evaluate import reports
from gan2shape_jax.apps.evaluate.embedding import Embedding, Preparation, cosine, load_embedding
from gan2shape_jax.apps.evaluate.reports import interval_text, mean_interval
from gan2shape_jax.apps.evaluate.runs import FoundRun, find_runs, listed_entry, manifest, read_config
from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io import option_types
from gan2shape_jax.method import models, projection
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.results import pictures
from gan2shape_jax.results.page import markdown_cell
from gan2shape_jax.results.result import Result, load_result
from gan2shape_jax.results.views import rough_views
from gan2shape_jax.run import prepare
from gan2shape_jax.run.explain import projector
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.stylegan2.latents import deviations, ganspace, sample_w, sefa, shift
from gan2shape_jax.training import network_files

METHODS = ("3D", "GAN", "GANSpace", "SeFa")

_COMPONENTS = 10  # directions tried for each rival method
_SAMPLES = 10_000  # latents from which GANSpace's directions and all deviations are computed
_BATCH = 20  # pictures per network call
_PROBE = 3.0  # deviations to either side at which candidates are compared
_GRID = np.linspace(-10, 10, 41)  # deviations over which the best is calibrated
_SHOWN = 7  # views per row in the picture
_LONGEST_NAME = 60  # characters, of up to four bytes
_EPILOG = """\
examples:
  gan2shape-jax evaluate identity results/mine --embedding arcface.onnx --out results/identity
  gan2shape-jax evaluate identity results/mine --embedding facenet.onnx --layout nhwc --size 160 --mean 127.5 --std 128

No network comes with the package: those that tell faces apart have licences of their own, and want faces cut out and
scaled as they were trained (--crop, --size, --mean, --std, --bgr).
"""


def run(words: Sequence[str]) -> int:
    """Runs the command; returns 0, or 1 if an image could not be turned; `UserError` if none can be."""
    arguments = reports.parse(
        words,
        "evaluate identity",
        "How well turning an object keeps its identity, by a face-embedding network of yours.",
        _EPILOG,
        results="folders of runs, or of single images",
        out="writes identity.md, identity.csv, manifest.json and a picture an image there",
        options=_add_options,
    )
    embedding = network = None
    if not arguments.stand_in:
        if arguments.embedding is None:
            raise UserError(
                "name a network that tells faces apart: --embedding FACE.onnx (none comes with the package, "
                "see docs/how-to/evaluation.md), or try the command out with --stand-in"
            )
        fields = (field.name for field in dataclasses.fields(Preparation))
        preparation = Preparation(**{name: getattr(arguments, name) for name in fields})
        embedding, network = load_embedding(arguments.embedding, preparation), arguments.embedding.name
    yaws = np.linspace(-arguments.max_yaw, arguments.max_yaw, arguments.views)
    runs = find_runs(arguments.results)
    turns: list[_Turn] = []
    problems: list[str] = []
    for each in runs:
        some, failed = _turn_all(each, embedding, yaws, arguments.out)
        turns += some
        problems += failed
    record = manifest(runs, embedding=str(arguments.embedding or "stand-in: GAN discriminator, not identity"))
    reports.publish(
        arguments, "identity.md", _report(turns, problems, network), {"identity.csv": _views_csv(turns)}, record
    )
    return 1 if problems else 0


def _add_options(parser: argparse.ArgumentParser) -> None:
    add, number = parser.add_argument, option_types.number
    option_types.add_path(parser, "--embedding", "FACE.onnx", "the network, from pictures to vectors")
    about = "no identity: compares the GAN discriminator's features instead, to try the command out"
    add("--stand-in", action="store_true", help=about)
    views = option_types.whole("--views", 2, option_types.MOST_FRAMES)
    max_yaw = number("--max-yaw", 0.001, 90, "degrees")
    add("--views", type=views, default=20, help="how many yaws (default: 20)")
    add("--max-yaw", type=max_yaw, default=20.0, metavar="DEG", help="the greatest to either side (default: 20)")
    add("--layout", choices=("auto", "nchw", "nhwc"), default="auto", help="axes of its input (default: told by it)")
    size = option_types.size(least=0)
    add("--size", type=size, default=0, metavar="PIXELS", help="its pictures' side (default: told)")
    mean, std = number("--mean", -1e6, 1e6), number("--std", 1e-6, 1e6)
    add("--mean", type=mean, default=127.5, help="subtracted from values of 0 to 255 (default: 127.5)")
    add("--std", type=std, default=127.5, help="they are then divided by it (default: 127.5)")
    add("--bgr", action="store_true", help="swaps red and blue")
    crop = number("--crop", 0.01, 1)
    add("--crop", type=crop, default=1.0, metavar="SHARE", help="centred share of the side to keep (default: 1)")


def _turn_all(
    run: FoundRun, embedding: Embedding | None, yaws: np.ndarray, out: pathlib.Path | None
) -> tuple[list[_Turn], list[str]]:
    """Turns every image of a run by every method; also returns the reasons for those that failed."""
    config = read_config(run)
    gan = load_gan(config)
    embed = embedding or _stand_in(gan)
    turns: list[_Turn] = []
    problems: list[str] = []
    for name, folder in run.images.items():
        try:
            result = load_result(folder)
            subject = load_subject(config, gan, result, folder, run.home / "latents")
        except UserError as error:
            problems.append(f"{run.label}: {name}: {error}")
            continue
        turned = turn(subject, gan, yaws)
        vectors = embed(np.concatenate([result.image[None], *(each.pictures for each in turned)]))
        for each, found in zip(turned, np.split(vectors[1:], len(turned)), strict=True):
            seen, alike = (each.seen_deg, each.reached), cosine(found, vectors[:1])
            turns.append(_Turn(run.label, name, each.method, each.how, yaws, *seen, alike))
        if out is not None:
            chosen = np.linspace(0, len(yaws) - 1, _SHOWN).round().astype(int)
            rows = [result.image[None], *(each.pictures[chosen] for each in turned)]
            out.mkdir(parents=True, exist_ok=True)
            pictures.write_png(out / picture_name(run.label, name), pictures.strip([*map(pictures.to_uint8, rows)]))
        print(one_line(f"{run.label}: {name}"), file=sys.stderr)
    return turns, problems


def _stand_in(gan: Gan) -> Embedding:
    """Returns means of the discriminator's last features: how alike pictures look, not whose face they show."""

    @functools.partial(jax.jit, static_argnames="arch")
    def features(params: stylegan2.Params, pictures: jax.Array, *, arch: stylegan2.Architecture) -> jax.Array:
        return jnp.mean(stylegan2.discriminator_features(params, pictures, arch=arch)[-1], axis=(1, 2))

    return lambda pictures: np.asarray(features(gan.frozen.discriminator, jnp.asarray(pictures), arch=gan.architecture))


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


class Turned(NamedTuple):
    """The pictures (n, S, S, 3) of one method."""

    method: str  # one of `METHODS`
    pictures: np.ndarray
    seen_deg: np.ndarray  # (n,) the yaw that the view network sees in each
    how: str  # the direction that was used, in words; "" for the mesh and for the GAN guided by it
    reached: np.ndarray  # (n,) whether the calibration reached each yaw


def load_gan(config: ConfigDict) -> Gan:
    """Loads a run's frozen networks and samples its W; raises `UserError` if a file is missing."""
    architecture, frozen = prepare.load_frozen(config)
    latents = sample_w(jax.random.key(0), frozen.generator, arch=architecture, samples=_SAMPLES)
    return Gan(architecture, frozen, latents)


def load_subject(config: ConfigDict, gan: Gan, result: Result, folder: pathlib.Path, latents: pathlib.Path) -> Subject:
    """Loads what belongs to one image of a run; `latents` is the folder of those that the run computed itself.

    Raises:
        UserError: the image is no longer in the run's list, or a file is missing or does not fit.
    """
    entry = listed_entry(config, result.name)
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
    result, settings = subject.result, subject.prepared.settings
    views = np.repeat(result.view[None], len(yaws_deg), axis=0)
    views[:, 1] = np.deg2rad(yaws_deg)
    camera, canonical = result.camera, np.repeat(result.canonical[None], _BATCH, axis=0)
    solid = _in_batches(
        lambda part: rough_views(result.depth, canonical, part, camera=camera, sampling=settings.sampling), views
    )
    projected = _in_batches(projector(subject.params, subject.prepared, gan.frozen), solid)
    everywhere, principal = np.ones(len(yaws_deg), bool), ganspace(gan.latents, count=_COMPONENTS)

    def stretching(first: int, last: int) -> np.ndarray:
        layers = range(first, min(last, gan.architecture.layers))
        return sefa(gan.frozen.generator, layers=layers, count=_COMPONENTS)

    return [
        Turned("3D", solid, _seen_yaws(subject, gan, solid), "", everywhere),
        Turned("GAN", projected, _seen_yaws(subject, gan, projected), "", everywhere),
        _traversed("GANSpace", _candidates(gan, lambda first, last: principal), subject, gan, yaws_deg),
        _traversed("SeFa", _candidates(gan, stretching), subject, gan, yaws_deg),
    ]


def _traversed(name: str, candidates: list[Candidate], subject: Subject, gan: Gan, yaws_deg: np.ndarray) -> Turned:
    """Makes pictures along the candidate that turns the subject most."""

    def moved(candidate: Candidate, steps: np.ndarray) -> np.ndarray:
        by = jnp.asarray(candidate.direction), jnp.asarray(steps * candidate.scale, jnp.float32)
        first, last, latent = candidate.first, candidate.last, subject.prepared.problem.latent
        return np.asarray(shift(latent, *by, first=first, last=last, arch=gan.architecture))

    def drawn(latents: np.ndarray) -> np.ndarray:
        settings = subject.prepared.settings
        return _in_batches(lambda part: _synthesized(part, gan.frozen, settings), latents)

    def yaw_of(some: Sequence[Candidate], steps: np.ndarray) -> np.ndarray:
        latents = np.concatenate([moved(candidate, steps) for candidate in some])
        return _seen_yaws(subject, gan, drawn(latents)).reshape(len(some), len(steps))

    best, steps, reached = find_yaw_direction(candidates, yaw_of, yaws_deg)
    shown = drawn(moved(best, steps))
    how = f"direction {best.number + 1}, styles {best.first} to {best.last - 1}"
    return Turned(name, shown, _seen_yaws(subject, gan, shown), how, reached)


def _candidates(gan: Gan, directions: Callable[[int, int], np.ndarray]) -> list[Candidate]:
    """Returns candidates for every range of styles, given the directions of the range from `first` to before `last`."""
    candidates = []
    for first, last in style_ranges(gan.architecture.latents):
        components = directions(first, last)
        scales = map(float, deviations(gan.latents, components))
        candidates += [Candidate(*each, first, last, i) for i, each in enumerate(zip(components, scales, strict=True))]
    return candidates


def _seen_yaws(subject: Subject, gan: Gan, pictures: np.ndarray) -> np.ndarray:
    """Returns the yaws in degrees that the subject's view network sees in pictures."""
    settings = subject.prepared.settings
    seen = _in_batches(lambda part: _views(subject.params, part, gan.frozen.view_mean, settings), pictures)
    return np.rad2deg(seen[:, 1])


def _in_batches(function: Callable[[np.ndarray], jax.Array | np.ndarray], values: np.ndarray) -> np.ndarray:
    """Calls a function with a batch at a time, padding the last: one compiled program serves any number."""
    filled = np.concatenate([values, np.repeat(values[-1:], -len(values) % _BATCH, axis=0)])
    parts = [np.asarray(function(filled[i : i + _BATCH])) for i in range(0, len(filled), _BATCH)]
    return np.concatenate(parts)[: len(values)]


_synthesized = jax.jit(projection.synthesize)
_views = jax.jit(models.views)


class Candidate(NamedTuple):
    """A direction in W, applied to styles `first` to `last - 1`."""

    direction: np.ndarray  # (W,) unit vector
    scale: float  # length of a step of 1 along it, the standard deviation of latents in that direction
    first: int
    last: int
    number: int  # of the direction among its method's, from 0


# The predicted yaw in degrees (k, m) of k candidates at m steps, in deviations.
YawOf = Callable[[Sequence[Candidate], np.ndarray], np.ndarray]


def style_ranges(count: int) -> list[tuple[int, int]]:
    """Returns ranges of styles to try: all, and the coarse ones, which hold pose (Karras et al., 2019, section 3)."""
    ranges = {(0, min(2, count)), (0, min(4, count)), (2, min(6, count)), (0, count)}
    return sorted(ranges, key=lambda ends: (ends[1] - ends[0], ends))


def find_yaw_direction(
    candidates: Sequence[Candidate], yaw_of: YawOf, targets_deg: Float[np.ndarray, "n"]
) -> tuple[Candidate, Float[np.ndarray, "n"], np.ndarray]:
    """Returns the candidate whose traversal changes the predicted yaw most, and what `calibrate` does for it.

    Candidates are compared by the change in yaw between three deviations to one side and three to the other.
    """
    changes = np.ptp(yaw_of(candidates, np.array([-_PROBE, _PROBE])), axis=1)
    best = candidates[int(np.argmax(changes))]
    return best, *calibrate(_GRID, yaw_of([best], _GRID)[0], targets_deg)


def calibrate(
    steps: Float[np.ndarray, "m"], yaws_deg: Float[np.ndarray, "m"], targets_deg: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], np.ndarray]:
    """Returns the steps at which a yaw, measured at increasing steps, takes the target values, and whether it does.

    Only the stretch around the smallest step in which the yaw keeps rising (or falling) is used, so that a greater
    target always lies further along. Targets beyond an end of it get the step at that end.
    """
    steps, yaws = np.asarray(steps, np.float64), np.asarray(yaws_deg, np.float64)
    start = int(np.abs(steps).argmin())
    signs = {sign: _rising(sign * yaws, start) for sign in (1, -1)}
    sign, part = max(signs.items(), key=lambda each: np.ptp(yaws[each[1]]))
    targets, rising = sign * np.asarray(targets_deg), sign * yaws[part]
    return np.interp(targets, rising, steps[part]), (targets >= rising[0]) & (targets <= rising[-1])


def _rising(values: np.ndarray, start: int) -> slice:
    """Returns the rising stretch around `start`."""
    starts = np.flatnonzero(np.diff(values, prepend=np.inf, append=-np.inf) <= 0)  # of all stretches, and the end
    return slice(starts[starts <= start][-1], starts[starts > start][0])


_MEANING = """\
The mean over the views of an image, then over images, with 95% intervals (Student's t); the least similar view; the
yaws that the image's own view network sees, how far they are from those asked for, and how many the direction reached.
"""
_NO_IDENTITY = """\
Stand-in, NOT identity: cosine between mean features of the GAN's discriminator. It tells how alike two
pictures look to the GAN, not whose face they show."""


class _Turn(NamedTuple):
    """`Turned` without the pictures, of an image of a run: with requested yaws (n,), and cosines to the input (n,)."""

    run: str
    name: str
    method: str
    how: str
    yaws_deg: np.ndarray
    seen_deg: np.ndarray
    reached: np.ndarray
    similarity: np.ndarray


def _report(turns: Sequence[_Turn], problems: Sequence[str], network: str | None) -> str:
    """Returns a table with a row per method: mean similarity over images with its interval, and the yaws seen."""
    heading = _NO_IDENTITY
    if network is not None:
        heading = f"Cosine between the embeddings ({markdown_cell(network)}) of the input and of its turned views."
    rows = []
    for method in METHODS:
        some = [each for each in turns if each.method == method]
        if not some:
            continue
        means, worst = (mean_interval([float(end(each.similarity)) for each in some]) for end in (np.mean, np.min))
        low, high = (np.mean([end(each.seen_deg) for each in some]) for end in (np.min, np.max))
        off = np.mean([np.abs(each.seen_deg - each.yaws_deg).mean() for each in some])
        reached = np.mean([each.reached.mean() for each in some])
        similar = [interval_text(means, 3), interval_text(worst, 3)]
        rows.append(
            [method, str(len(some)), *similar, f"{low:.1f} to {high:.1f}", f"{off:.1f}", f"{100 * reached:.0f}%"]
        )
    titles = ["method", "images", "similarity", "least similar view", "yaw seen, degrees", "off by", "reached"]
    table = reports.markdown_table(titles, rows) if rows else "nothing was turned\n"
    ways = [f"{each.run}: {each.name}: {each.method} along {each.how}" for each in turns if each.how]
    parts = (heading, _MEANING, table, reports.bullets(ways), reports.bullets(problems, "Left out:"))
    return "\n".join(part for part in parts if part)


def _views_csv(turns: Sequence[_Turn]) -> str:
    """Returns a CSV with a row per view."""
    rows = [
        [each.run, each.name, each.method, float(yaw), float(seen), bool(reached), float(alike)]
        for each in turns
        for yaw, seen, reached, alike in zip(*each[4:], strict=True)
    ]
    return reports.csv_text(["run", "name", "method", "yaw_deg", "seen_yaw_deg", "reached", "similarity"], rows)


def picture_name(run: str, name: str) -> str:
    """Returns the name of the picture's file: `RUN_NAME.png`, with a checksum if other names could collide."""
    plain = f"{run}_{name}"
    kept = re.sub(r"[^\w.-]", "_", plain).lstrip(".")[:_LONGEST_NAME]
    if kept == plain and "_" not in name:
        return f"{kept}.png"
    both = f"{run}\0{name}".encode(errors="surrogatepass")
    return f"{kept}-{zlib.crc32(both):08x}.png"
