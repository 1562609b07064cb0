"""The training itself: iterations, snapshots, checkpoints; stopped at any moment, it resumes bit for bit.

A training folder holds

    config.py          describes the GAN to the other commands; written once
    gan.safetensors    the averaged generator and the discriminator, as the main program loads them
    samples/           the same 36 latents through the averaged generator, after so many photos
    history.csv        scalars, means over 50 iterations; curves.png plots them
    distances.csv      how far samples are from photos
    checkpoints/       what an interrupted training resumes from
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.train_gan import record
from gan2shape_jax.apps.train_gan.photos import Photos, rows_of
from gan2shape_jax.apps.train_gan.record import Features, HistoryRow, drawn_samples, kernel_distance
from gan2shape_jax.apps.train_gan.training import (
    TrainingSettings,
    TrainingState,
    fresh_state,
    iterate,
    make_updates,
    on_devices,
)
from gan2shape_jax.errors import UserError
from gan2shape_jax.method.streams import Stream, generator_of, key_of, run_key
from gan2shape_jax.results import pictures
from gan2shape_jax.run import interrupt
from gan2shape_jax.stylegan2 import Architecture, Params
from gan2shape_jax.training import devices
from gan2shape_jax.training.checkpoint import Checkpoints
from gan2shape_jax.training.resume import Requested

GAN = "gan.safetensors"
_CHECKPOINTS = "checkpoints"
_KEPT = 2  # checkpoints
_GRID = 6  # samples per side
_COMPARED = 1000  # photos, and as many samples, whose distance is measured
_REPORTED_EVERY_S = 30.0


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained, for how long, and what is written.

    Attributes:
      out: the folder.
      arch: the architecture of both networks.
      settings: the training settings.
      images: photos to show in total, counted from the beginning.
      every: photos from one snapshot (GAN, samples, distance) to the next.
      start: initial weights, or None for random ones.
      started_from: the hash of their file, or "".
      features: what samples and photos are compared by, or None.
      license_note: the licence note of the GAN's file.
    """

    out: pathlib.Path
    arch: Architecture
    settings: TrainingSettings
    images: int
    every: int
    start: Params | None = None
    started_from: str = ""
    features: Features | None = None
    license_note: str = ""

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
            of_photos = _features_of_photos(training, photos, training.features)
        with interrupt.noted() as check:
            while course.done < training.iterations:
                rows = rows_of(len(photos.pixels), training.settings.batch, course.done, training.settings.seed)
                batch = on_devices(photos.pixels, rows, mesh)
                state, metrics = iterate(updates, training.settings, state, batch, course.done)
                course.pending.append(metrics)
                course.done += 1
                shown, due = course.done * training.settings.batch, training.is_due(course.done)
                if course.done % record.WINDOW == 0 or course.done == training.iterations:
                    course.settle()
                    course.rows.append(record.mean_row(shown, course.pending))
                    course.pending = []
                    record.require_sound(course.rows[-1], kept=_kept(training))
                    if not warned and (warning := record.warning_of(course.rows, training.settings)):
                        warn(warning)
                        warned = True
                    clock.report(course.done, course.rows[-1])
                if due:
                    course.settle()
                    if course.pending:
                        record.require_sound(record.mean_row(shown, course.pending), kept=_kept(training))
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
    def __init__(self, training: Training, log: Callable[[str], None]):
        self._training, self._log = training, log
        self._start: tuple[float, int] | None = None
        self._last = -_REPORTED_EVERY_S

    def report(self, done: int, row: HistoryRow) -> None:
        now = time.monotonic()
        if self._start is None:  # compiling is over by now
            self._start = now, done
        if now - self._last < _REPORTED_EVERY_S and done < self._training.iterations:
            return
        self._last, batch, left = now, self._training.settings.batch, ""
        if speed := (done - self._start[1]) * batch / max(now - self._start[0], 1e-9):
            seconds = (self._training.iterations - done) * batch / speed
            left = f", {speed:.1f} photos a second, {datetime.timedelta(seconds=round(seconds))} left"
        self._log(
            f"{row['images']} of {self._training.images} photos: generator {row['generator_loss']:.3f}, discriminator "
            f"{row['discriminator_loss']:.3f}, augmentation {row['augmentation']:.3f}{left}"
        )


def _features_of_photos(training: Training, photos: Photos, features: Features) -> np.ndarray:
    """Returns the features of some photos, which samples are compared with."""
    drawn_by = generator_of(run_key(training.settings.seed), Stream.GAN_COMPARED_PHOTOS)
    chosen = drawn_by.permutation(len(photos.pixels))[:_COMPARED]
    return features.of(np.asarray(photos.pixels[np.sort(chosen)]))


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
        license_note=training.license_note,
        notes=f"trained on {count} photos, {shown} shown",
    )
    written = record.write_config(training.out, arch)
    if written is not None:
        log(f"wrote {written}: gan2shape-jax lift --config={written} is the next step")
    grid = training.out / "samples" / f"{shown:08d}.png"
    grid.parent.mkdir(exist_ok=True)
    samples = drawn_samples(key_of(key, Stream.GAN_SHOWN), arch, average, count=_GRID * _GRID)
    pictures.write_png(grid, pictures.strip(np.split(samples, _GRID), gap=0))
    if course.rows:
        record.write_table(training.out / "history.csv", course.rows)
        name = training.features.name if training.features else ""
        record.write_curves(training.out / "curves.png", course.rows, course.distances, name)
    if course.distances:
        record.write_table(training.out / "distances.csv", course.distances)
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
