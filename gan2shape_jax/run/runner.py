"""Goes through the images of a run, one after another or several at once, each with its own networks.

Finished images are skipped, images that fail do not stop the others, and results are written in another thread while
the next images are trained. `Units` is what runs of every mode share.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import pathlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.text import Text

from gan2shape_jax.detection.detector import Assessment
from gan2shape_jax.errors import RunEndingError, UserError, one_line, printable, refused
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.lift import refinement
from gan2shape_jax.method import models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.results import Result, Row, print_table, write_page, write_table
from gan2shape_jax.run import explain, prepare, start, trust
from gan2shape_jax.run.folder import RunFolder, config_hash
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.runtime import cadence_of, schedule_of
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import checkpoint, groups, loop, network_files, task

# Writing summaries takes longer the more images there are: until the end, the pause between writes is this many times
# the duration of the last one.
_SPACING = 20

# Errors caused by one image, its files or its numbers, that do not affect the others.
FAILURES = (UserError, OSError, FloatingPointError, jax.errors.JaxRuntimeError)


def failures_of(names: Sequence[str], error: Exception) -> dict[str, str]:
    """Returns what went wrong with images, by their stems; to be called where one of `FAILURES` was caught.

    Raises `RunEndingError`: the error would affect every other image too.
    """
    if isinstance(error, RunEndingError):
        raise error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise refused(error, f"{stem_of(names[0])}: {error.filename or 'its files'} cannot be written") from error
    message = str(error) or type(error).__name__
    if isinstance(error, jax.errors.JaxRuntimeError):
        message = f"the device gave up: {message.splitlines()[0]}"
    return dict.fromkeys(map(stem_of, names), message)


@dataclasses.dataclass(frozen=True)
class Handover:
    """What the caller of a run knows of its images, and does with their results, in the thread that writes these."""

    assessed: Mapping[str, Assessment] | None = None  # what each image shows, by name without ending
    # Returns a result as it is to be written, and further files of its folder, contents as for `write_folder`.
    dress: Callable[[Result], tuple[Result, dict[str, Any]]] = lambda result: (result, {})
    # Takes the results of an image, by its name, when they are there; table and page of all images are its task then.
    finished: Callable[[str], None] | None = None


class Units(contextlib.AbstractContextManager["Units"]):
    """A run's units, that is, images by name in groups that are trained together; most have one image.

    A context manager; leaving it waits until results that are being written are complete. It also keeps the summaries
    of all images: `results.csv`, `results.md`, `index.html`, `failures.json`, the console's table. Their figures come
    from `result.json`, the page's models from `page.jsonl`: no arrays are read.
    """

    def __init__(
        self,
        folder: RunFolder,
        names: Sequence[str],
        say: Callable[[Any], None],
        handover: Handover = Handover(),
        *,
        ahead: int = 1,
    ):
        """Goes through the images of a list; `say` prints a line, `ahead` units' results may wait to be written.

        If `handover` takes the results, the only summary is `failures.json`.
        """
        self.folder = folder
        self._say = say
        self._handover = handover
        self._ahead = ahead
        self._stems = [stem_of(name) for name in names]
        self._failures: dict[str, str] = {}
        self._finished: dict[str, Row] = {}
        self._rows: list[Row] = []  # of the last summaries
        self._told: dict[str, str] | None = None  # failures in them
        self._due = 0.0  # earliest time of the next write of the summaries
        # One thread: results appear in the order of the list.
        self._background = concurrent.futures.ThreadPoolExecutor(1, "results")
        self._writing: collections.deque[concurrent.futures.Future[dict[str, str]]] = collections.deque()

    def __exit__(self, *_: object) -> None:
        self._background.shutdown()

    @property
    def status(self) -> int:
        """0, or 1 if an image has failed."""
        return 1 if self._failures else 0

    def unfinished(self, units: Sequence[Sequence[str]]) -> Iterator[list[str]]:
        """Yields the units with an unfinished image, and reports finished ones; at the end, prints the run's table."""
        for unit in units:
            self.folder.require()
            finished = [stem for stem in map(stem_of, unit) if self.folder.is_finished(stem)]
            for stem in finished:
                self._say(f"{stem}: finished before, skipped")
            if len(finished) < len(unit):
                yield list(unit)
        self._note_written(0)
        rows = self.summarize()
        if self._handover.finished is None:
            print_table(rows)

    def usable(self, names: Iterable[str], prepare: Callable[[str], PreparedImage]) -> dict[str, PreparedImage]:
        """Returns those images, by name, that can be prepared, and reports the others."""
        images: dict[str, PreparedImage] = {}
        for name in names:
            try:
                images[name] = prepare(name)
            except FAILURES as error:
                self.fail(failures_of([name], error))
        return images

    def fail(self, failures: Mapping[str, str]) -> None:
        """Reports failures, by the images' stems, and updates the summaries unless they were updated recently."""
        for stem, message in failures.items():
            self._say(Text(printable(f"{one_line(stem)}: {message}"), "red"))
        self._failures |= failures
        if time.monotonic() >= self._due:
            self.summarize()

    def note(self, stem: str) -> None:
        """Notes that an image has another result than before; updates the summaries as `fail` does."""
        self._finished.pop(stem, None)
        self.fail({})

    def write(self, jobs: Mapping[str, Callable[[], None]], after: Callable[[], None] = lambda: None) -> None:
        """Has images' results written in another thread, by jobs that may raise `FAILURES`; then calls `after`."""

        def write_all() -> dict[str, str]:
            failures: dict[str, str] = {}
            for name, job in jobs.items():
                try:
                    job()
                    if self._handover.finished is not None:
                        self._handover.finished(stem_of(name))
                except FAILURES as error:
                    failures |= failures_of([name], error)
            if not failures:
                after()
            return failures

        self._writing.append(self._background.submit(write_all))
        self._note_written(self._ahead)

    def _note_written(self, most: int) -> None:
        """Notes units whose results have been written; waits until at most `most` are pending."""
        while self._writing and (len(self._writing) > most or self._writing[0].done()):
            self.fail(self._writing.popleft().result())

    def summarize(self) -> list[Row]:
        """Writes summaries of the folder's current contents unless they are there; returns their rows.

        If another host has meanwhile finished an image, this host may just have overwritten its summary, so the files
        are written again: whoever writes last has seen everything.
        """
        start = time.monotonic()
        self.folder.require()
        while True:
            new = [stem for stem in self._stems if stem not in self._finished and self.folder.is_finished(stem)]
            self._finished |= {stem: trust.row_of(stem, self.folder.result(stem)) for stem in new}
            failures = self.folder.write_failures(self._failures)
            if not new and failures == self._told:
                break
            self._told = failures
            known = self._finished | {stem: Row(stem, f"failed: {message}") for stem, message in failures.items()}
            self._rows = [known[stem] for stem in self._stems if stem in known]
            if self._handover.finished is None:
                write_table(self.folder.root, self._rows)
                write_page(self.folder.root, self._rows)
        self._due = time.monotonic() + _SPACING * (time.monotonic() - start)
        return self._rows


@dataclasses.dataclass(frozen=True)
class Work:
    """What all images of a run share; created by `at_work`."""

    config: ConfigDict
    folder: RunFolder
    architecture: Architecture
    frozen: FrozenModels
    monitor: Monitor


@contextlib.contextmanager
def at_work(config: ConfigDict, folder: RunFolder) -> Iterator[Work]:
    """Loads the frozen networks, writes the configuration, and shows progress until the block is left."""
    architecture, frozen = prepare.load_frozen(config)
    folder.describe(config)
    # Images with networks of their own have their own curves on each host.
    curves = config.logging.tensorboard and (folder.team.leads or config.mode == "instance")
    with Monitor(schedule_of(config), folder.root / "tensorboard" if curves else None) as monitor:
        yield Work(config, folder, architecture, frozen, monitor)


def run(config: ConfigDict, names: list[str], handover: Handover) -> int:
    """Reconstructs every image of the list, each with its own networks; returns 0, or 1 if an image failed.

    Raises `UserError`: the GAN or the folder is unusable, so that no image could succeed.
    """
    with start.begin(config, names) as started, at_work(config, started.folder) as work:
        monitor = work.monitor
        if refinement.refines(config):
            what = "colours and light, on the model's shape," if config.refinement.hold_shape else "the model"
            monitor.say(f"refines {what} on each image, by config.refinement in place of config.schedule")
        judge = trust.load_judge(config, (work.architecture, work.frozen.discriminator), known=handover.assessed)
        trainer = Trainer(**vars(work), names=names, judge=judge, handover=handover)
        # Without `reset_weight`, an image starts from the results of the one before it.
        monitor.expect(sum(not work.folder.is_finished(stem_of(name)) for unit in started.units for name in unit))
        with Units(work.folder, names, monitor.say, handover, ahead=int(config.schedule.reset_weight)) as units:
            for unit in units.unfinished(trainer.groups(started.units)):
                for images in trainer.alike(unit, units):
                    trainer.train(images, units)
            return units.status


@dataclasses.dataclass(frozen=True)
class Trainer(Work):
    """A run of images that have networks of their own: trains one or several at once."""

    names: Sequence[str]
    judge: trust.Judge
    handover: Handover = Handover()

    def groups(self, units: Sequence[list[str]]) -> list[list[str]]:
        """Returns finished images, then groups that are under way, then the other images in groups of a good size."""
        finished = [unit for unit in units if len(unit) == 1 and self.folder.is_finished(stem_of(unit[0]))]
        unfinished = [unit for unit in units if unit not in finished]
        asked, count = self.config.runtime.images_at_once, sum(map(len, unfinished))
        if not self.config.schedule.reset_weight:
            return finished + groups.plan(unfinished, 1)
        single = [unit[0] for unit in unfinished if len(unit) == 1]
        size = groups.choose_size(asked, count, jax.local_devices(), lambda: self._bytes_of_one(single))
        if size < min(asked, count):
            warnings.warn(
                f"config.runtime.images_at_once is {asked}; {size} at once on this CPU: more images than cores "
                "take longer together than in turn",
                stacklevel=2,
            )
        return finished + groups.plan(unfinished, size)

    def _bytes_of_one(self, names: list[str]) -> int:
        """Returns the bytes that the first usable image takes; 0 if there is none. Errors are reported later."""
        for name in names:
            try:
                return groups.bytes_of_one(self.prepare(name), self.frozen)
            except FAILURES as error:
                failures_of([name], error)  # raises where the disk is full
        return 0

    def prepare(self, name: str) -> PreparedImage:
        """Loads an image of the list and its files; inverts the GAN if it has no latent."""
        prepared = prepare.load_image(self.config, name, self.architecture, self.frozen, self.folder.latents)
        if not self.config.data.latent_root:
            self.monitor.say(f"{prepared.name}: latent by inversion, mean absolute error {prepared.inversion_l1:.3f}")
        return prepared

    def alike(self, names: list[str], units: Units) -> Iterator[dict[str, PreparedImage]]:
        """Yields the usable images of a unit, by name, in groups that can be trained at once."""
        images = units.usable(names, self.prepare)
        while images:
            first = next(iter(images.values()))
            alike = {name: prepared for name, prepared in images.items() if task.alike(first, prepared)}
            images = {name: prepared for name, prepared in images.items() if name not in alike}
            yield alike

    def train(self, images: dict[str, PreparedImage], units: Units) -> None:
        """Trains images at once, and has `units` write the results of those whose loss stayed finite."""
        names, stems = list(images), [one.name for one in images.values()]
        try:
            initial = self._initial(*next(iter(images.items())))
            prepared = [refinement.tied(one, initial) for one in images.values()]
            if len(names) > 1:
                groups.record(self.folder.root, names)
            made_with = {"configuration": config_hash(self.config), "images": names}
            with self.monitor.watch(stems) as watcher:
                state, history = loop.run_schedule(
                    task.independent(prepared, self.frozen),
                    schedule_of(self.config),
                    initial,
                    self._checkpoints(names),
                    cadence_of(self.config),
                    watcher,
                    made_with,
                )
        except FAILURES as error:
            failures = failures_of(names, error)
            if len(names) > 1 and "RESOURCE_EXHAUSTED" in str(error):
                self._forget(names)  # so that the next start may form other groups
                advice = f"{len(names)} images at once are too many for this device's memory: give a smaller"
                failures = {stem: f"{why}; {advice} config.runtime.images_at_once" for stem, why in failures.items()}
            units.fail(failures)
            return
        state = jax.device_get(state)  # frees the device for the next group
        labels = {phase.number: phase.label for phase in schedule_of(self.config)}
        if broken := loop.failures_of(history, stems, labels):
            units.fail(broken)
        lost = [name for name in names if stem_of(name) in broken]
        together: dict[str, Any] = {"together": names, "broken": lost} if len(names) > 1 else {}
        jobs: dict[str, Callable[[], None]] = {}
        for index, (name, one) in enumerate(zip(names, prepared)):
            if one.name not in broken and not self.folder.is_finished(one.name):
                own = loop.Trained(task.one_of(state, index), loop.own_history(history, one.name))
                jobs[name] = functools.partial(self.write, one, initial, own, **together)
        units.write(jobs, after=functools.partial(self._forget, names))

    def _initial(self, name: str, prepared: PreparedImage) -> models.Params:
        """Returns what an image starts from: the previous image's networks, pretrained, or random ones (seeded)."""
        before = [] if self.config.schedule.reset_weight else reversed(self.names[: self.names.index(name)])
        previous = next((stem for stem in map(stem_of, before) if self.folder.is_finished(stem)), None)
        if previous is None:
            return prepare.initial_params(self.config, prepared.settings)
        fresh = models.init_params(jax.random.key(self.config.seed), prepared.settings)
        path = self.folder.result(previous) / "networks.safetensors"
        return network_files.load_networks(path, fresh, prepared.settings, needed=models.NAMES)

    def write(self, prepared: PreparedImage, initial: models.Params, trained: loop.Trained, **together: Any) -> None:
        """Writes the folder of an image that was trained from `initial`; it appears complete or not at all.

        `together` are names for the record: of the images trained at once, and of those among them that failed.
        """
        self.folder.require()
        params, measured = refinement.finished(self.config, initial, trained.state, prepared, self.frozen)
        known: dict[str, Any] = {"history": trained.history, "start": initial, "measured": measured}
        result = explain.explain(params, prepared, self.frozen, self.judge, **known)
        if sentence := trust.sentence_of(result.name, result.metrics):
            self.monitor.say(sentence)
        # The next image may start from these networks, and needs all of them.
        kept = self.config.outputs.networks if self.config.schedule.reset_weight else "full"
        result, files = self.handover.dress(result)
        explain.write(
            result,
            self.folder.result(prepared.name),
            self.config,
            project=explain.projector(params, prepared, self.frozen),
            extra=files | explain.training_files(params, trained.history, networks=kept),
            **together,
        )

    def _forget(self, names: list[str]) -> None:
        """Removes the checkpoints of images that no longer need them."""
        groups.finish(self.folder.root, names)
        checkpoint.discard(self._checkpoints(names))

    def _checkpoints(self, names: list[str]) -> pathlib.PurePath:
        """Returns the folder of the checkpoints of an image, or of a group."""
        if len(names) == 1:
            return self.folder.checkpoints(stem_of(names[0]))
        return self.folder.group_checkpoints(groups.key_of(names))
