"""Goes through the images of a run, one after another or several at once, each with its own networks.

Finished images are skipped, images that fail do not stop the others, and results are written in another thread while
the next images are trained. `WorkItems` is what runs of every mode share.
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

from gan2shape_jax.errors import FatalRunError, UserError, io_error, one_line, printable
from gan2shape_jax.io import data
from gan2shape_jax.io.files import remove_folder
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.lift import refinement
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.photos import explain, judge
from gan2shape_jax.results import AWAITS, Projection, Reconstruction, Row, print_table, write_page, write_table
from gan2shape_jax.run import prepare, redraw, start
from gan2shape_jax.run.folder import RunFolder, is_result
from gan2shape_jax.run.identity import Identity
from gan2shape_jax.run.plan import Plan
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.run.runtime import cadence_of, release_freed_memory
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import groups, loop, network_files, task
from gan2shape_jax.training.decision import Wanted

# Writing summaries takes longer the more images there are: until the end, the pause between writes is this many times
# the duration of the last one.
_SPACING = 20

_AT_ONCE = 8  # images that go through a model's networks together
_MANY = 32  # number of images from which a separate program for that pays off

# Errors caused by one image, its files or its numbers, that do not affect the others.
FAILURES = (UserError, OSError, FloatingPointError, jax.errors.JaxRuntimeError)


def failures_of(names: Sequence[str], error: Exception) -> dict[str, str]:
    """Returns what went wrong with images, by their stems; to be called where one of `FAILURES` was caught.

    Raises `FatalRunError`: the error would affect every other image too.
    """
    if isinstance(error, FatalRunError):
        raise error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise io_error(error, f"{stem_of(names[0])}: {error.filename or 'its files'} cannot be written") from error
    message = str(error) or type(error).__name__
    if isinstance(error, jax.errors.JaxRuntimeError):
        message = f"the device failed: {message.splitlines()[0]}"
    return dict.fromkeys(map(stem_of, names), message)


class WorkItems(contextlib.AbstractContextManager["WorkItems"]):
    """A run's work items, that is, images by name in groups that are trained together; most have one image.

    A context manager; leaving it waits until results that are being written are complete, and after Ctrl-C brings the
    summaries of all images up to date: `results.csv`, `results.md`, `index.html`, `failures.json`, the console's table.
    Their figures come from `result.json`, the page's models from `page.jsonl`: no arrays are read.
    """

    def __init__(
        self,
        folder: RunFolder,
        names: Sequence[str],
        say: Callable[[Any], None],
        *,
        ahead: int = 1,
    ):
        """Goes through a list of images; `say` prints a line, `ahead` work items may wait to be written."""
        self.folder = folder
        self._say = say
        self._ahead = ahead
        self._stems = [stem_of(name) for name in names]
        self._failures: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._finished: dict[str, Row] = {}
        self._predicted: dict[str, Row] = {}  # at the last summaries, images that await their refinement
        self._rows: list[Row] = []  # of the last summaries
        self._told: dict[str, str] | None = None  # failures in them
        self._due = 0.0  # earliest time of the next write of the summaries
        # One thread: results appear in the order of the list.
        self._background = concurrent.futures.ThreadPoolExecutor(1, "results")
        self._writing: collections.deque[concurrent.futures.Future[dict[str, str]]] = collections.deque()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._background.shutdown()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.wait()

    @property
    def failures(self) -> dict[str, str]:
        """Why images have failed, by their stems."""
        return dict(self._failures)

    @property
    def status(self) -> int:
        """0, or 1 if an image has failed."""
        return 1 if self._failures else 0

    def unfinished(self, groups: Sequence[Sequence[str]]) -> Iterator[list[str]]:
        """Yields the groups with an unfinished image, and reports finished ones; at the end, prints the run's table."""
        for group in groups:
            self.folder.require()
            finished = [stem for stem in map(stem_of, group) if self.folder.is_finished(stem)]
            for stem in finished:
                self._say(f"{stem}: finished before, skipped")
            if len(finished) < len(group):
                yield list(group)
        self.wait()
        print_table(self._rows)

    def usable(self, names: Iterable[str], prepare: Callable[[str], PreparedImage]) -> dict[str, PreparedImage]:
        """Returns those images, by name, that can be prepared, and reports the others, unless they failed before."""
        images: dict[str, PreparedImage] = {}
        for name in names:
            if stem_of(name) in self._failures:
                continue
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

    def refuse(self, refused: Mapping[str, str]) -> None:
        """Has the summaries name images, by their stems, that were not used, and why."""
        self._refused |= refused
        self.fail({})

    def note(self, stem: str) -> None:
        """Notes that an image has another result than before; updates the summaries as `fail` does."""
        self._finished.pop(stem, None)
        self._failures.pop(stem, None)
        self.fail({})

    def write(self, jobs: Mapping[str, Callable[[], None]], after: Callable[[], None] = lambda: None) -> None:
        """Has images' results written in another thread, by jobs that may raise `FAILURES`; then calls `after`."""

        def write_all() -> dict[str, str]:
            failures: dict[str, str] = {}
            for name, job in jobs.items():
                try:
                    job()
                except FAILURES as error:
                    failures |= failures_of([name], error)
            if not failures:
                after()
            return failures

        self._writing.append(self._background.submit(write_all))
        self._note_written(self._ahead)

    def redraw(
        self,
        started: start.Start,
        config: ConfigDict,
        projector: Callable[[str], Projection | None] = lambda name: None,
    ) -> None:
        """Has the images that are there, and whose drawing is another's, drawn anew; `projector` as for `redraw`."""

        def drawn(name: str) -> None:
            self.folder.require()
            folder, drawing = self.folder.result(stem_of(name)), started.identity.drawing
            redraw.redraw(folder, config, drawing, functools.partial(projector, name))

        for name in started.redraw:
            self._say(f"{stem_of(name)}: drawn anew from what is kept")
            self.write({name: functools.partial(drawn, name)})
        if started.redraw:
            self.wait()

    def wait(self) -> None:
        """Returns once the results that were to be written are there, and are in the summaries."""
        self._note_written(0)
        self.summarize()

    def _note_written(self, most: int) -> None:
        """Notes work items whose results have been written; waits until at most `most` are pending."""
        while self._writing and (len(self._writing) > most or self._writing[0].done()):
            self.fail(self._writing.popleft().result())

    def summarize(self) -> None:
        """Writes summaries of the folder's current contents unless they are there.

        If another host has meanwhile finished an image, this host may just have overwritten its summary, so the files
        are written again: whoever writes last has read everything.
        """
        start = time.monotonic()
        self.folder.require()
        while True:
            left = [stem for stem in self._stems if stem not in self._finished]
            new = [stem for stem in left if self.folder.is_finished(stem)]
            self._finished |= {stem: judge.row_of(stem, self.folder.result(stem)) for stem in new}
            predicted = {
                stem: self._predicted.get(stem) or judge.row_of(stem, self.folder.result(stem))
                for stem in left
                if stem not in self._finished and is_result(self.folder.result(stem))
            }
            failures = self.folder.write_failures(self._refused | self._failures)
            if not new and predicted.keys() == self._predicted.keys() and failures == self._told:
                break
            self._told, self._predicted = failures, predicted
            unmade = {
                stem: Row(stem, f"{'not used' if stem in self._refused else 'failed'}: {message}")
                for stem, message in failures.items()
            }
            rows = predicted | self._finished | unmade
            self._rows = [rows[stem] for stem in self._stems if stem in rows]
            write_table(self.folder.root, self._rows)
            write_page(self.folder.root, self._rows)
        self._due = time.monotonic() + _SPACING * (time.monotonic() - start)


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What all images of a run share; created by `run_context`."""

    started: start.Start
    architecture: Architecture
    frozen: FrozenModels
    monitor: Monitor

    @property
    def plan(self) -> Plan:
        """What the run does."""
        return self.started.plan

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return self.started.folder

    @property
    def identity(self) -> Identity:
        """What makes the run itself."""
        return self.started.identity

    @property
    def config(self) -> ConfigDict:
        """The run's configuration."""
        return self.plan.config


@contextlib.contextmanager
def run_context(started: start.Start) -> Iterator[RunContext]:
    """Loads the frozen networks, writes the configuration, and shows progress until the block is left."""
    plan, config, folder = started.plan, started.plan.config, started.folder
    architecture, frozen = prepare.load_frozen(plan)
    folder.describe(config, started.identity, plan.record)
    # Images with networks of their own have their own curves on each host.
    curves = config.logging.tensorboard and (folder.team.leads or plan.recipe.trains_each)
    monitor = Monitor(plan.schedule, folder.root / "tensorboard" if curves else None)
    monitor.say(f"{plan.recipe.name}: {plan.recipe.words}")  # the first line that a newcomer reads
    with monitor:
        yield RunContext(started, architecture, frozen, monitor)


def write_predictions(
    context: RunContext,
    names: Sequence[str],
    work_items: WorkItems,
    prepare: Callable[[str], PreparedImage],
    networks: Callable[[Settings], models.Params],
    grader: judge.Grader,
) -> None:
    """Writes what the run's model makes of those images that have no result yet, and the page, and says so.

    Training then has something to improve on that can be looked at: such a result has the mesh and the maps, and says
    that it awaits its refinement (`AWAITS`), which replaces it as a whole. `prepare` loads an image by its name,
    `networks` returns the model's for settings.
    """
    folder, monitor, names_by_stem = context.folder, context.monitor, {stem_of(name): name for name in names}
    new = [name for name in names if not is_result(folder.result(stem_of(name)))]

    def write(result: Reconstruction) -> None:
        folder.require()
        made_with = context.started.wanted(names_by_stem[result.name]).record
        explain.write(result, folder.result(result.name), context.config, preset="mesh", made_with=made_with)

    for name in new:
        monitor.check()
        for prepared in work_items.usable([name], prepare).values():
            try:
                measured = {AWAITS: True}
                params = networks(prepared.settings)
                result = explain.reconstruct(params, prepared, context.frozen, grader, measured=measured)
            except FAILURES as error:
                work_items.fail(failures_of([name], error))
                continue
            work_items.write({name: functools.partial(write, result)})
    if not new:
        return
    work_items.wait()
    if count := sum(is_result(folder.result(stem_of(name))) for name in new):
        them, each = ("them", "each") if count > 1 else ("it", "it")
        then = "training on all of the list" if context.plan.recipe.shares_networks else f"refining {each}"
        page, images = one_line(str(folder.root / "index.html")), f"{count} image{'s'[: count > 1]}"
        monitor.say(f"page: {page}, {images} as the model sees {them}; {then} now")


def train_images(plan: Plan, names: list[str]) -> int:
    """Reconstructs every image of the list, each with its own networks; returns 0, or 1 if an image failed.

    Raises `UserError`: the GAN or the folder is unusable, so that no image could succeed.
    """
    with start.begin(plan, names) as started, run_context(started) as context:
        monitor, plan, config = context.monitor, context.plan, context.config
        grader = judge.load_grader(plan, (context.architecture, context.frozen.discriminator))
        trainer = Trainer(**vars(context), names=names, grader=grader)
        left = [
            name
            for work_item in started.work_items
            for name in work_item
            if not context.folder.is_finished(stem_of(name))
        ]
        monitor.expect(len(left))
        # Without `reset_weight`, an image starts from the results of the one before it.
        with WorkItems(context.folder, names, monitor.say, ahead=int(config.schedule.reset_weight)) as work_items:
            work_items.redraw(started, config, trainer.kept_projector)
            if plan.recipe.name == "refine":
                trainer.predict(
                    [name for name in left if not is_result(context.folder.result(stem_of(name)))], work_items
                )
            for work_item in work_items.unfinished(trainer.groups(started.work_items)):
                for images in trainer.compatible(work_item, work_items):
                    trainer.train(images, work_items)
            return work_items.status


def no_gan_because(config: ConfigDict) -> str | None:
    """Returns why the GAN is not loaded, '' if no pictures through it are asked for; None if there can be some."""
    if not (config.outputs.gan_images and config.outputs.preset == "all"):
        return ""
    if not pathlib.Path(config.gan.checkpoint).is_file():
        return f"there is no config.gan.checkpoint {config.gan.checkpoint}"
    if not config.data.latent_root:
        return "config.data.latent_root is empty, and prediction does not invert the GAN"
    return None


def predict_images(plan: Plan, names: list[str]) -> int:
    """Explains every image of the list with `config.networks.pretrained`; returns 0, or 1 if an image failed.

    Raises `UserError`: the networks or the statistics are unusable.
    """
    with start.begin(plan, names) as started:
        plan, config = started.plan, started.plan.config
        reason, folder = no_gan_because(config), started.folder
        gan = prepare.load_frozen(plan, perceptual_weights=False) if reason is None else None
        networks = explain.load_predictor(plan, gan)
        folder.describe(config, started.identity, plan.record)
        params, frozen = networks.params, networks.frozen
        at_once = _AT_ONCE if len(started.work_items) >= _MANY and frozen.generator is None else 1
        with Monitor(plan.schedule, None) as monitor, WorkItems(folder, names, monitor.say) as work_items:
            monitor.say(f"{plan.recipe.name}: {plan.recipe.words}")
            if reason:
                monitor.say(f"no pictures by the GAN: {reason}")

            def write(name: str, prepared: PreparedImage, result: Reconstruction) -> None:
                if sentence := judge.sentence_of(result.name, result.metrics):
                    monitor.say(sentence)
                has_latent = prepared.example.latent is not None
                project = explain.projector(params, prepared, frozen) if has_latent else None
                made_with = started.wanted(name).record
                explain.write(result, folder.result(result.name), config, project=project, made_with=made_with)

            def projector(name: str) -> Projection | None:
                prepared = networks.prepared(data.load_item(config, name))
                return None if prepared.example.latent is None else explain.projector(params, prepared, frozen)

            work_items.redraw(started, config, projector)
            for group in work_items.unfinished(groups.grouped(started.work_items, at_once)):
                monitor.check()
                # Finished ones too: where an image stands among the others decides its last bits.
                images = work_items.usable(group, lambda name: networks.prepared(data.load_item(config, name)))
                try:
                    examples = [prepared.example for prepared in images.values()]
                    if examples and at_once > 1:  # they have the same settings
                        views = reconstruction.predict_batch(params, examples, frozen, networks.settings, size=at_once)
                    else:
                        views = [
                            explain.predict(params, prepared.example, frozen, prepared.settings)
                            for prepared in images.values()
                        ]
                    ungraded = {
                        name: explain.reconstruct_ungraded(params, prepared, frozen, networks.grader, view=view)
                        for (name, prepared), view in zip(images.items(), views, strict=True)
                        if not folder.is_finished(stem_of(name))
                    }
                    seen = judge.assessments(networks.grader, [*ungraded.values()])
                    results = {
                        name: judge.graded(networks.grader, result, assessment)
                        for (name, result), assessment in zip(ungraded.items(), seen, strict=True)
                    }
                except FAILURES as error:
                    work_items.fail(failures_of(list(images), error))
                    continue
                work_items.write(
                    {name: functools.partial(write, name, images[name], result) for name, result in results.items()}
                )
            return work_items.status


@dataclasses.dataclass(frozen=True)
class Trainer(RunContext):
    """A run of images that have networks of their own: trains one or several at once."""

    names: Sequence[str]
    grader: judge.Grader
    _kept: dict[str, models.Params] = dataclasses.field(default_factory=dict, init=False)

    def groups(self, work_items: Sequence[list[str]]) -> list[list[str]]:
        """Returns finished images, then groups that are under way, then the other images in groups of a good size."""
        finished = [
            work_item
            for work_item in work_items
            if len(work_item) == 1 and self.folder.is_finished(stem_of(work_item[0]))
        ]
        unfinished = [work_item for work_item in work_items if work_item not in finished]
        requested, count = self.config.runtime.images_at_once, sum(map(len, unfinished))
        if not self.config.schedule.reset_weight:
            return finished + groups.grouped(unfinished, 1)
        single = [work_item[0] for work_item in unfinished if len(work_item) == 1]
        size = groups.choose_size(requested, count, jax.local_devices(), lambda: self._bytes_of_one(single))
        if size < min(requested, count):
            warnings.warn(
                f"config.runtime.images_at_once is {requested}; {size} at once on this CPU: more images than cores "
                "take longer together than one by one",
                stacklevel=2,
            )
        return finished + groups.grouped(unfinished, size)

    def _bytes_of_one(self, names: list[str]) -> int:
        """Returns the bytes that the first usable image takes; 0 if there is none. Errors are reported later."""
        for name in names:
            try:
                return groups.bytes_of_one(self.prepare(name), self.frozen)
            except FAILURES as error:
                failures_of([name], error)  # raises where the disk is full
        return 0

    def predict(self, names: Sequence[str], work_items: WorkItems) -> None:
        """Writes what the model makes of those images that have no result yet, see `write_predictions`."""

        def prepared(name: str) -> PreparedImage:
            """Loads an image without its latent, which may take long to find."""
            item = data.load_item(self.config, name)
            return prepare.prepare_image(self.plan, item, None, self.architecture, self.frozen)

        write_predictions(self, names, work_items, prepared, self._pretrained_or_fresh, self.grader)

    def prepare(self, name: str) -> PreparedImage:
        """Loads an image of the list and its files; inverts the GAN if it has no latent."""
        prepared = prepare.load_image(self.plan, name, self.architecture, self.frozen, self.folder.latents)
        if not self.config.data.latent_root:
            self.monitor.say(f"{prepared.name}: latent by inversion, mean absolute error {prepared.inversion_l1:.3f}")
        return prepared

    def compatible(self, names: list[str], work_items: WorkItems) -> Iterator[dict[str, PreparedImage]]:
        """Yields the usable images of a unit, by name, in groups that can be trained at once."""
        images = work_items.usable(names, self.prepare)
        while images:
            first = next(iter(images.values()))
            compatible = {name: prepared for name, prepared in images.items() if task.compatible(first, prepared)}
            images = {name: prepared for name, prepared in images.items() if name not in compatible}
            yield compatible

    def train(self, images: dict[str, PreparedImage], work_items: WorkItems) -> None:
        """Trains images at once, and has `work_items` write the results of those whose loss stayed finite."""
        names, stems = list(images), [prepared.name for prepared in images.values()]
        try:
            initial = self._initial(*next(iter(images.items())))
            prepared = list(images.values())
            if len(names) > 1:
                groups.record(self.folder.root, names)
            facts: dict[str, Any] = {"configuration": self.identity.fingerprint, "images": names}
            facts |= {"inputs": [dict(self.started.wanted(name).inputs) for name in names]}
            with self.monitor.watch(stems) as watcher:
                state, history = loop.run_schedule(
                    task.independent(prepared, self.frozen),
                    self.plan.schedule,
                    initial,
                    self._checkpoints(names),
                    cadence_of(self.config),
                    watcher,
                    Wanted(facts),
                )
        except FAILURES as error:
            failures = failures_of(names, error)
            if len(names) > 1 and "RESOURCE_EXHAUSTED" in str(error):
                self._forget(names)  # so that the next start may form other groups
                advice = f"{len(names)} images at once need more memory than this device has: set a smaller"
                failures = {stem: f"{why}; {advice} config.runtime.images_at_once" for stem, why in failures.items()}
            work_items.fail(failures)
            return
        state = jax.device_get(state)  # frees the device for the next group
        release_freed_memory()
        labels = {phase.number: phase.label for phase in self.plan.schedule}
        if broken := loop.failures_of(history, stems, labels):
            work_items.fail(broken)
        lost = [name for name in names if stem_of(name) in broken]
        together: dict[str, Any] = {"together": names, "broken": lost} if len(names) > 1 else {}
        jobs: dict[str, Callable[[], None]] = {}
        for index, (name, image) in enumerate(zip(names, prepared)):
            if image.name not in broken and not self.folder.is_finished(image.name):
                own = loop.Trained(task.one_of(state, index), loop.own_history(history, image.name))
                made_with = self.started.wanted(name).record | together
                jobs[name] = functools.partial(self.write, image, initial, own, made_with)
        work_items.write(jobs, after=functools.partial(self._forget, names))

    def _initial(self, name: str, prepared: PreparedImage) -> models.Params:
        """Returns what an image starts from: the previous image's networks, pretrained, or random ones (seeded)."""
        before = [] if self.config.schedule.reset_weight else reversed(self.names[: self.names.index(name)])
        previous = next((stem for stem in map(stem_of, before) if self.folder.is_finished(stem)), None)
        if previous is None:
            return self._pretrained_or_fresh(prepared.settings)
        fresh = models.init_params(key_of(run_key(self.config.seed), Stream.NETWORKS), prepared.settings)
        path = self.folder.result(previous) / "networks.safetensors"
        return network_files.load_networks(path, fresh, prepared.settings, needed=models.NAMES)

    def _pretrained_or_fresh(self, settings: Settings) -> models.Params:
        """Returns `prepare.initial_params`, the same for all images: sizes of networks do not depend on the image."""
        if "initial" not in self._kept:
            self._kept["initial"] = prepare.initial_params(self.plan, settings)
        return self._kept["initial"]

    def write(
        self, prepared: PreparedImage, initial: models.Params, trained: loop.Trained, made_with: Mapping[str, Any]
    ) -> None:
        """Writes the folder of an image that was trained from `initial`; it appears complete or not at all.

        `made_with` are facts for its record.
        """
        self.folder.require()
        params, measured = trained.state.params, dict[str, Any]()
        if self.plan.recipe.name == "refine":
            params, measured = refinement.finished(self.config, initial, trained.state, prepared, self.frozen)
            release_freed_memory()
        facts: dict[str, Any] = {"history": trained.history, "start": initial, "measured": measured}
        result = explain.reconstruct(params, prepared, self.frozen, self.grader, **facts)
        if sentence := judge.sentence_of(result.name, result.metrics):
            self.monitor.say(sentence)
        # The next image may start from these networks, and needs all of them.
        kept = self.config.outputs.networks if self.config.schedule.reset_weight else "full"
        depth = self.config.networks.depth
        explain.write(
            result,
            self.folder.result(prepared.name),
            self.config,
            project=explain.projector(params, prepared, self.frozen),
            extra=explain.training_files(params, trained.history, networks=kept, depth=depth),
            made_with=made_with,
        )
        release_freed_memory()

    def kept_projector(self, name: str) -> Projection | None:
        """Returns the projector of a finished image's encoder; None if that was not kept."""
        return redraw.kept_projector(
            self.folder.result(stem_of(name)) / "networks.safetensors", self.prepare(name), self.frozen
        )

    def _forget(self, names: list[str]) -> None:
        """Removes the checkpoints of images that no longer need them."""
        groups.finish(self.folder.root, names)
        remove_folder(self._checkpoints(names))

    def _checkpoints(self, names: list[str]) -> pathlib.PurePath:
        """Returns the folder of the checkpoints of an image, or of a group."""
        if len(names) == 1:
            return self.folder.checkpoints(stem_of(names[0]))
        return self.folder.group_checkpoints(groups.key_of(names))
