"""The training itself: iterations, snapshots, checkpoints; stopped at any moment, it resumes bit for bit."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.util
import json
import math
import os
import pathlib
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, UInt8

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.embedding import Preparation, load_embedding
from gan2shape_jax.apps.train_gan.photos import Photos, rows_of
from gan2shape_jax.apps.train_gan.training import (
    TrainingSettings,
    TrainingState,
    fresh_state,
    iterate,
    make_updates,
    on_devices,
    to_pixels,
)
from gan2shape_jax.errors import DivergedError, UserError, one_line
from gan2shape_jax.io.files import atomic_file, atomic_text
from gan2shape_jax.method.streams import Stream, generator_of, key_of, run_key
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.results import pictures
from gan2shape_jax.results.tables import csv_text
from gan2shape_jax.run import interrupt
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.stylegan2.latents import random_images
from gan2shape_jax.training import devices
from gan2shape_jax.training.checkpoint import Checkpoints
from gan2shape_jax.training.resume import Requested

GAN = "gan.safetensors"
_CHECKPOINTS = "checkpoints"
_KEPT = 2  # checkpoints
_GRID = 6  # samples per side
_COMPARED = 1000  # photos, and as many samples, whose distance is measured
_REPORTED_EVERY_S = 30.0
WINDOW = 50  # iterations averaged in a row

HistoryRow = dict[str, Any]
_PANELS = (
    ("losses", ("generator_loss", "discriminator_loss")),
    ("logits", ("real_logit", "fake_logit")),
    ("augmentation, and photos taken for real", ("augmentation", "taken_for_real")),
    ("gradient penalty", ("gradient_penalty",)),
)

_WON = 0.97  # mean sign of photos' logits above which the discriminator has memorised them all
_HOPELESS = 6.0  # generator's loss: a sample is taken for a photo one time in 400
_LOSSES = ("generator_loss", "discriminator_loss")
_GONE = 1000.0  # losses are of the order of one when training goes well
_WINDOWS = 4  # in a row

_TOGETHER = 32  # pictures whose features are computed at a time
_DEGREE = 3

CONFIG = "config.py"
_LARGEST_SHAPE = 128  # pixels; a larger GAN's images are downscaled for the shape
_SMALL = 64  # pixels that `configs/own.py` has networks for
_LONGEST = 40  # most characters of a category

_TEXT = '''\
"""The GAN beside this file. `gan2shape-jax train-gan` wrote it once and does not change it: edit it as you like.

1. gan2shape-jax lift --config={file}             learns shapes from what the GAN draws
2. gan2shape-jax photo PHOTO --model {file}       reconstructs any photo of that kind
"""

import pathlib

from ml_collections import ConfigDict

from gan2shape_jax.config import load_config

_HERE = pathlib.Path(__file__).parent


def get_config() -> ConfigDict:
    """Returns the configuration, by which a lifted model is refined on each image."""
    config = load_config("own").unlock()
    config.category = "{category}"  # a word for it, as messages have it
    config.workdir = str(_HERE / "results")
    config.image_size = {image_size}
{networks}    config.gan.checkpoint = str(_HERE / "gan.safetensors")
    config.gan.size = {gan_size}
    config.gan.style_dim = {style_dim}
    # Things whose left and right sides differ, such as cars in traffic: both False for every stage.
    config.schedule.flip1 = (False, False)
    config.schedule.flip3 = (True, False)
    config.recipe = "refine"
    config.networks.pretrained = str(_HERE / "results_lift" / "model.safetensors")
    return config
'''
_WIDE_NETWORKS = """\
    config.networks.width = 0  # as their size asks for
    config.networks.group_base = 0
"""


class Features(NamedTuple):
    """What pictures are compared by."""

    name: str  # the distance's, as printed and plotted
    of: Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, "n d"]]


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained, for how long, and what is written."""

    out: pathlib.Path
    arch: Architecture  # of both networks
    settings: TrainingSettings
    images: int  # photos to show in total, counted from the beginning
    every: int  # photos from one snapshot (GAN, samples, distance) to the next
    start: Params | None = None  # initial weights, or None for random ones
    started_from: str = ""  # the hash of their file, or ""
    features: Features | None = None  # what samples and photos are compared by

    @property
    def iterations(self) -> int:
        """Iterations of the whole training."""
        return -(-self.images // self.settings.batch)

    def is_due(self, done: int) -> bool:
        """Whether a snapshot follows iteration number `done` - 1."""
        batch = self.settings.batch
        return done == self.iterations or done * batch // self.every > (done - 1) * batch // self.every


@dataclasses.dataclass
class _Course:
    """What has been recorded so far; a checkpoint holds it."""

    done: int = 0
    rows: list[HistoryRow] = dataclasses.field(default_factory=list)
    distances: list[HistoryRow] = dataclasses.field(default_factory=list)
    pending: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def settle(self) -> None:
        """Fetches the scalars of iterations that are not in a row yet."""
        self.pending = [{name: float(x) for name, x in metrics.items()} for metrics in jax.device_get(self.pending)]


def train(training: Training, photos: Photos, *, log: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Trains until `training.images` photos have been shown, resuming from the last checkpoint if there is one.

    Raises `UserError` if a checkpoint belongs to another training, training has diverged, or the file system fails;
    after Ctrl-C `KeyboardInterrupt`, once a checkpoint has been written.
    """
    mesh = devices.mesh_of(training.settings.batch, jax.devices())
    if note := devices.padding_note(training.settings.batch, mesh, "photos"):
        log(note)
    state: TrainingState = devices.replicate(fresh_state(training.arch, training.settings, training.start), mesh)
    made_with = {
        "settings": dataclasses.asdict(training.settings),
        "architecture": dataclasses.asdict(training.arch),
        "photos": photos.facts["fingerprint"],
        "start": training.started_from,
    }
    stored_form = json.loads(json.dumps(made_with))  # lists for tuples, as they come back
    with Checkpoints(training.out / _CHECKPOINTS, keep=_KEPT, requested=Requested(stored_form)) as checkpoints:
        restored = checkpoints.restore(lambda _: state)
        course = _Course()
        if restored is not None:
            state, course = restored[0], _Course(**restored[1])
            log(f"continuing after {course.done * training.settings.batch} photos")
        updates, clock = make_updates(training.arch, training.settings, mesh), _Clock(training, log)
        warned, of_photos = False, None
        if training.features is not None and course.done < training.iterations:
            drawn_by = generator_of(run_key(training.settings.seed), Stream.GAN_COMPARED_PHOTOS)
            chosen = drawn_by.permutation(len(photos.pixels))[:_COMPARED]
            of_photos = training.features.of(np.asarray(photos.pixels[np.sort(chosen)]))
        with interrupt.noted() as check:
            while course.done < training.iterations:
                rows = rows_of(len(photos.pixels), training.settings.batch, course.done, training.settings.seed)
                batch = on_devices(photos.pixels, rows, mesh)
                state, metrics = iterate(updates, training.settings, state, batch, course.done)
                course.pending.append(metrics)
                course.done += 1
                shown, due = course.done * training.settings.batch, training.is_due(course.done)
                if course.done % WINDOW == 0 or course.done == training.iterations:
                    course.settle()
                    course.rows.append(mean_row(shown, course.pending))
                    course.pending = []
                    require_sound(course.rows[-1], kept=_kept(training))
                    if not warned and (warning := warning_of(course.rows)):
                        warn(warning)
                        warned = True
                    clock.report(course.done, course.rows[-1])
                if due:
                    course.settle()
                    if course.pending:
                        require_sound(mean_row(shown, course.pending), kept=_kept(training))
                    _write_snapshot(training, state, course, of_photos, len(photos.pixels), log)
                try:
                    check()
                except KeyboardInterrupt:
                    due = True
                    raise
                finally:
                    if due:
                        course.settle()
                        checkpoints.save(course.done, state, dataclasses.asdict(course))


def _kept(training: Training) -> str:
    gan = training.out / GAN
    return f"{gan} is as it was before" if gan.exists() else "nothing was kept"


class _Clock:
    """Says every half a minute how far training has got."""

    def __init__(self, training: Training, log: Callable[[str], None]):
        self._training, self._log, self._due = training, log, 0.0
        self._start: tuple[float, int] | None = None

    def report(self, done: int, row: HistoryRow) -> None:
        now, left = time.monotonic(), ""
        self._start = self._start or (now, done)  # compiling is over by now
        if now < self._due and done < self._training.iterations:
            return
        self._due = now + _REPORTED_EVERY_S
        if speed := (done - self._start[1]) * self._training.settings.batch / max(now - self._start[0], 1e-9):
            seconds = (self._training.images - row["images"]) / speed
            left = f", {speed:.1f} photos a second, {datetime.timedelta(seconds=max(round(seconds), 0))} left"
        self._log(
            f"{row['images']} of {self._training.images} photos: generator {row['generator_loss']:.3f}, discriminator "
            f"{row['discriminator_loss']:.3f}, augmentation {row['augmentation']:.3f}{left}"
        )


def _write_snapshot(
    training: Training,
    state: TrainingState,
    course: _Course,
    of_photos: np.ndarray | None,
    count: int,
    log: Callable[[str], None],
) -> None:
    """Writes the GAN, its samples and how far they are from the `count` photos; of several hosts, only the first does.

    `of_photos` are features of some of these, or None.
    """
    arch, shown = training.arch, course.done * training.settings.batch
    average = jax.tree.map(np.asarray, state.average)
    key, distance = run_key(training.settings.seed), ""
    if training.features is not None and of_photos is not None:
        samples = drawn_samples(key_of(key, Stream.GAN_COMPARED), arch, average, count=len(of_photos))
        measured = kernel_distance(of_photos, training.features.of(samples))
        course.distances.append({"images": shown, "distance": measured})
        distance = f"; {training.features.name} {measured:.5f}"
    if jax.process_index() != 0:
        return
    stylegan2.save(
        training.out / GAN,
        arch,
        {"generator": average, "discriminator": jax.tree.map(np.asarray, state.discriminator)},
        notes=f"trained on {count} photos, {shown} shown",
    )
    written = write_config(training.out, arch)
    if written is not None:
        log(f"wrote {written}: gan2shape-jax lift --config={written} is the next step")
    grid = training.out / "samples" / f"{shown:08d}.png"
    grid.parent.mkdir(exist_ok=True)
    samples = drawn_samples(key_of(key, Stream.GAN_SHOWN), arch, average, count=_GRID * _GRID)
    pictures.write_png(grid, pictures.strip(np.split(samples, _GRID), gap=0))
    if course.rows:
        write_table(training.out / "history.csv", course.rows)
        name = training.features.name if training.features else ""
        write_curves(training.out / "curves.png", course.rows, course.distances, name)
    if course.distances:
        write_table(training.out / "distances.csv", course.distances)
    log(f"wrote {training.out / GAN} and {grid}{distance}")


_REPEATS = 2


def check(training: Training, *, log: Callable[[str], None]) -> None:
    """Compiles and runs every update, and logs how much an iteration and the whole training take.

    Raises:
      UserError: it does not fit into memory.
    """
    settings, arch = training.settings, training.arch
    mesh = devices.mesh_of(settings.batch, jax.devices())
    updates = make_updates(arch, settings, mesh)
    state: TrainingState = devices.replicate(fresh_state(arch, settings, training.start), mesh)
    key, number = key_of(run_key(settings.seed), Stream.GAN_CHECK), jnp.int32(1)
    noise_by = generator_of(run_key(settings.seed), Stream.GAN_CHECK)
    noise = noise_by.integers(0, 256, (settings.batch, arch.size, arch.size, 3), dtype=np.uint8)
    batch = on_devices(noise, np.arange(settings.batch), mesh)
    log(
        f"{arch.size} pixels, batch {settings.batch} on {mesh.size} x {jax.devices()[0].device_kind}; generator "
        f"{_millions(state.generator)}, discriminator {_millions(state.discriminator)} million weights"
    )
    whole, most = 0.0, 0
    shares = {"discriminator": 1.0, "gradient_penalty": 1 / settings.r1_every, "generator": 1.0}
    shares |= {"path_lengths": 1 / settings.path_every} if settings.path_weight else {}
    for name, each in shares.items():
        begun = time.perf_counter()
        compiled = getattr(updates, name).lower(state, batch, key, number).compile()
        compiling = time.perf_counter() - begun
        facts = compiled.memory_analysis()
        needed = facts.argument_size_in_bytes + facts.temp_size_in_bytes if facts else 0
        most = max(most, needed)
        facts_of_device = jax.devices()[0].memory_stats() or {}
        limit = facts_of_device.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > limit:
            fits = max(1, int(settings.batch * limit / needed))
            raise UserError(
                f"--batch {settings.batch} takes {needed / 2**30:.1f} GiB a device, which has {limit / 2**30:.1f}: "
                f"try --batch {fits}, or a smaller --channels"
            )
        seconds = np.inf
        for _ in range(_REPEATS):
            begun = time.perf_counter()
            state, _ = jax.block_until_ready(compiled(state, batch, key, number))
            seconds = min(seconds, time.perf_counter() - begun)
        whole += seconds * each
        log(
            f"  {name.replace('_', ' ')}: {seconds:.3f} s, {needed / 2**20:.0f} MiB a device, every "
            f"{round(1 / each)} iterations; compiled in {compiling:.0f} s"
        )
    total = datetime.timedelta(seconds=round(whole * training.iterations))
    log(
        f"an iteration: {whole:.3f} s, {settings.batch / whole:.1f} photos a second; {training.images} photos: "
        f"{total}, snapshots not counted; {most / 2**20:.0f} MiB a device at most"
    )


def _millions(params: object) -> str:
    return f"{sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6:.1f}"


def mean_row(images: int, window: Sequence[Mapping[str, float]]) -> HistoryRow:
    """Returns the means of the iterations' scalars, each over the iterations that have it, after `images` photos."""
    names = sorted({name for metrics in window for name in metrics})
    means = {name: float(np.mean([metrics[name] for metrics in window if name in metrics])) for name in names}
    return {"images": images, **means}


def write_table(path: pathlib.Path, rows: Sequence[HistoryRow]) -> None:
    """Writes rows as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    atomic_text(path, csv_text(names, [[row.get(name) for name in names] for row in rows]))


def write_curves(path: pathlib.Path, rows: Sequence[HistoryRow], distances: Sequence[HistoryRow], name: str) -> None:
    """Plots the rows, and the distances {"images", "distance"} called `name`, as PNG, if matplotlib is there."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    panels = [*_PANELS, (name, ("distance",))] if distances else list(_PANELS)
    figure = Figure(figsize=(9, 2 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, names) in zip(figure.subplots(len(panels), 1, sharex=True), panels, strict=True):
        for what in names:
            drawn = [(row["images"] / 1000, row[what]) for row in (*rows, *distances) if what in row]
            axes.plot(*zip(*drawn), label=what.replace("_", " ")) if drawn else None
        axes.set_title(title, fontsize=9, loc="left")
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize=8)
    axes.set_xlabel("photos shown, in thousands")
    atomic_file(path, lambda part: figure.savefig(part, dpi=90))


def require_sound(row: HistoryRow, *, kept: str) -> None:
    """Raises `DivergedError`, saying which results are kept, if a mean is not finite or a loss too large to recover."""
    bad = [f"{name} not finite" for name, value in row.items() if not math.isfinite(value)]
    bad = bad or [f"{name} {row[name]:.0f}" for name in _LOSSES if row.get(name, 0.0) > _GONE]
    if bad:
        raise DivergedError(
            f"training has diverged: {', '.join(bad)} after {row['images']} photos; {kept}. Start in another folder "
            "with a smaller --rate or a larger --r1"
        )


def warning_of(rows: Sequence[HistoryRow]) -> str:
    """Returns a sentence on what to change if the discriminator has won; '' if it has not."""
    last = rows[-_WINDOWS:]
    if len(last) < _WINDOWS or not all(
        row["taken_for_real"] > _WON and row["generator_loss"] > _HOPELESS for row in last
    ):
        return ""
    if last[-1]["augmentation"] < 0.9:
        return ""  # augmentation has not yet reached its limit
    return (
        f"the discriminator separates every photo from every sample (generator's loss {last[-1]['generator_loss']:.1f} "
        f"after {last[-1]['images']} photos): the generator learns nothing more; train with a larger --r1, a smaller "
        "--rate or more photos"
    )


def write_config(folder: pathlib.Path, arch: Architecture) -> pathlib.Path | None:
    """Writes the configuration into the folder, unless something of that name exists; returns its path, or None."""
    path = folder / CONFIG
    if path.exists():
        return None
    size, place = min(arch.size, _LARGEST_SHAPE), folder.resolve()
    # Lower-case letters, digits, - and _, beginning with a letter.
    category = re.sub(r"[^a-z0-9_-]+", "_", place.name.lower()).strip("_-").removesuffix("_gan")[:_LONGEST]
    text = _TEXT.format(
        file=shlex.quote(re.sub(r'["\\]', "_", one_line(str(place / CONFIG)))),  # which a docstring can contain
        category=category if re.match(r"[a-z]", category) else "own",
        image_size=size,
        networks="" if size <= _SMALL else _WIDE_NETWORKS,
        gan_size=arch.size,
        style_dim=arch.style_dim,
    )
    atomic_text(path, text)
    return path


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Returns the unbiased squared distance of two sets of two vectors or more under the kernel (x.y / d + 1)^3.

    It is KID (Binkowski et al., 2018) if they are features of Inception.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** _DEGREE

    def within(x: np.ndarray) -> float:
        values, count = kernel(x, x), len(x)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def drawn_samples(
    key: PRNGKeyArray, arch: Architecture, generator: Params, *, count: int
) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns untruncated samples of a generator; the same for the same key."""
    nothing = jnp.zeros((1, arch.style_dim))
    images, _ = random_images(key, generator, arch=arch, count=count, truncation=1.0, mean=nothing)
    return pictures.to_uint8(images)


def load_features(path: pathlib.Path, *, side: int = 0) -> Features:
    """Returns the features defined by a file: a network (.onnx), or a GAN whose discriminator is used (.safetensors).

    An ONNX network takes RGB pictures in [-1, 1], of `side` pixels if its input does not say so, and returns a vector
    for each. Raises `UserError` for other files.
    """
    if path.suffix.lower() == ".onnx":
        try:
            embed = load_embedding(path, Preparation(size=side))
        except UserError as error:
            raise UserError(str(error).replace("--size", "--features-side")) from error
        return Features("KID", lambda pictures: embed(pictures / np.float32(127.5) - 1))
    arch, params = stylegan2.load(path)

    averaged = functools.partial(_averaged, params["discriminator"], arch=arch)
    return Features(
        "discriminator distance", lambda pictures: np.asarray(in_batches(averaged, pictures, size=_TOGETHER))
    )


@functools.partial(jax.jit, static_argnames="arch")
def _averaged(params: Params, pictures: jax.Array, *, arch: Architecture) -> jax.Array:
    side = arch.discriminator_size
    images = to_pixels(pictures)
    if images.shape[1] != side:
        images = jax.image.resize(images, (len(images), side, side, 3), "linear")
    maps = stylegan2.discriminator_features(params, images, arch=arch)
    return jnp.concatenate([jnp.mean(x, axis=(1, 2)) for x in maps], axis=1)
