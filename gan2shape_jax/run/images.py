"""Goes through the images of a run, one after another.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.text import Text

from gan2shape_jax.errors import FatalRunError, UserError, io_error, one_line, printable
from gan2shape_jax.io import data
from gan2shape_jax.io.files import remove_folder
from gan2shape_jax.io.image_lists import natural_key, stem_of
from gan2shape_jax.lift import refinement
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.networks.modules import param_shapes
from gan2shape_jax.photos import explain, judge
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.runtime import cadence_of, release_freed_memory
from gan2shape_jax.results import (
    AWAITS,
    Projection,
    Reconstruction,
    Row,
    examine,
    load,
    print_table,
    write_page,
    write_table,
)
from gan2shape_jax.results.outputs import BY_GAN, undrawn_files
from gan2shape_jax.run.folder import Run, RunFolder, is_result
from gan2shape_jax.run.report import Monitor
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import loop, network_files
from gan2shape_jax.training.resume import Decision

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
    """The images of a run, by name, and what has become of them.

    A context manager; leaving it waits until results that are being written are complete, and after Ctrl-C brings the
    summaries of all images up to date: `results.csv`, `results.md`, `index.html`, `failures.json`, the console's table.
    Their figures come from `result.json`, the page's models from `page.jsonl`: no arrays are read.
    """

    def __init__(
        self,
        folder: RunFolder,
        names: Sequence[str],
        log: Callable[[Any], None],
        *,
        ahead: int = 1,
    ):
        """Goes through a list of images; `log` prints a line, that many results `ahead` may wait to be written."""
        self.folder = folder
        self._log = log
        self._ahead = ahead
        self._stems = [stem_of(name) for name in names]
        self._failures: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._made: dict[str, Row] = {}  # of results that have been read
        self._written: tuple[list[Row], dict[str, str]] | None = None  # rows and failures of the last summaries
        self._due = 0.0  # earliest time of the next write of the summaries
        # One thread: results appear in the order of the list.
        self._background = concurrent.futures.ThreadPoolExecutor(1, "results")
        self._writing: collections.deque[tuple[concurrent.futures.Future[dict[str, str]], list[str]]] = (
            collections.deque()
        )

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

    def unfinished(self, images: Mapping[str, Decision], at_once: int = 1) -> Iterator[list[str]]:
        """Yields so many images at once, unless all of these exist, and reports those that do.

        At the end, prints the run's table.
        """
        names = list(images)
        for first in range(0, len(names), at_once):
            group = names[first : first + at_once]
            self.folder.require()
            exist = [name for name in group if images[name].exists]
            for name in exist:
                self._log(f"{stem_of(name)}: finished before, skipped")
            if len(exist) < len(group):
                yield group
        self.wait()
        print_table(self._written[0] if self._written else [])

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
            self._log(Text(printable(f"{one_line(stem)}: {message}"), "red"))
        self._failures |= failures
        if time.monotonic() >= self._due:
            self.summarize()

    def expect(self, stems: Iterable[str]) -> None:
        """Has the summaries show further images, by their stems."""
        self._stems = sorted({*self._stems, *stems}, key=natural_key)

    def refuse(self, refused: Mapping[str, str]) -> None:
        """Has the summaries name images, by their stems, that were not used, and why."""
        self._refused |= refused
        self.fail({})

    def note(self, stem: str) -> None:
        """Notes that an image has another result than before; updates the summaries as `fail` does."""
        self._made.pop(stem, None)
        self._failures.pop(stem, None)
        self.fail({})

    def write(self, jobs: Mapping[str, Callable[[], None]], after: Callable[[], object] = lambda: None) -> None:
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

        self._writing.append((self._background.submit(write_all), list(map(stem_of, jobs))))
        self._note_written(self._ahead)

    def redraw(self, run: Run, projector: Callable[[str], Projection | None] = lambda name: None) -> None:
        """Has the images that exist, and whose drawing is another's, drawn anew; `projector` as for `redraw`."""

        def drawn(name: str) -> None:
            self.folder.require()
            folder, drawing = self.folder.result(stem_of(name)), run.identity.drawing
            redraw(folder, run.config, drawing, functools.partial(projector, name))

        outdated = [name for name, decision in run.images.items() if decision is Decision.REDRAW]
        for name in outdated:
            self._log(f"{stem_of(name)}: drawn anew from what is kept")
            self.write({name: functools.partial(drawn, name)})
        if outdated:
            self.wait()

    def wait(self) -> None:
        """Returns once the results that were to be written are there, and are in the summaries."""
        self._note_written(0)
        self.summarize()

    def _note_written(self, most: int) -> None:
        """Notes results that have been written; waits until at most `most` are pending."""
        while self._writing and (len(self._writing) > most or self._writing[0][0].done()):
            writing, stems = self._writing.popleft()
            failures = writing.result()
            for stem in stems:
                self._made.pop(stem, None)
            self.fail(failures)

    def summarize(self) -> None:
        """Writes summaries of the folder's current contents unless they are there."""
        start = time.monotonic()
        self.folder.require()
        new = [stem for stem in self._stems if stem not in self._made and is_result(self.folder.result(stem))]
        self._made |= {stem: judge.row_of(stem, self.folder.result(stem)) for stem in new}
        failures = self._refused | self._failures
        rows = self._made | {
            stem: Row(stem, f"{'not used' if stem in self._refused else 'failed'}: {message}")
            for stem, message in failures.items()
        }
        listed = [rows[stem] for stem in self._stems if stem in rows]
        if (listed, failures) != self._written:
            self._written = listed, failures
            self.folder.write_failures(failures)
            write_table(self.folder.root, listed)
            write_page(self.folder.root, listed)
        self._due = time.monotonic() + _SPACING * (time.monotonic() - start)


@dataclasses.dataclass(frozen=True)
class RunContext(Run):
    """What all images of a run share; created by `run_context`."""

    architecture: Architecture
    frozen: FrozenModels
    monitor: Monitor


@contextlib.contextmanager
def run_context(run: Run) -> Iterator[RunContext]:
    """Loads the frozen networks, writes the configuration, and shows progress until the block is left."""
    plan, config, folder = run.plan, run.config, run.folder
    architecture, frozen = inputs.load_frozen(plan)
    if folder.leads:
        folder.describe(config, run.identity, plan.record)
    curves = config.logging.tensorboard and folder.leads
    monitor = Monitor(plan.schedule, folder.root / "tensorboard" if curves else None)
    monitor.log(f"{plan.recipe.name}: {plan.recipe.words}")  # the first line that a newcomer reads
    with monitor:
        yield RunContext(**vars(run), architecture=architecture, frozen=frozen, monitor=monitor)


def draws_by_gan(config: ConfigDict) -> bool:
    """Whether a configuration's results have pictures by the GAN, if there is one."""
    return bool(config.outputs.gan_images) and config.outputs.preset == "all"


def redraw(
    folder: pathlib.Path, config: ConfigDict, drawing: str, projector: Callable[[], Projection | None] = lambda: None
) -> None:
    """Writes a finished result's folder anew, drawn as `config.outputs` says, with all else that is in it.

    Args:
      folder: the result's.
      config: the run's.
      drawing: the hash of how it is drawn, for its record.
      projector: returns what draws the GAN's pictures; where it returns None, those that are there stay.

    Raises `UserError`: the result cannot be read, or the folder cannot be written.
    """
    result = load(folder)
    made_with: dict[str, Any] = examine(folder) | {"drawing": drawing}
    project = projector() if draws_by_gan(config) else None
    keep = BY_GAN if draws_by_gan(config) and project is None else ()
    explain.write(result, folder, config, project=project, extra=undrawn_files(folder, keep), made_with=made_with)


def train_images(run: Run, names: list[str]) -> int:
    """Reconstructs every image of the list, each with its own networks; returns 0, or 1 if an image failed.

    Raises `UserError`: the GAN or the folder is unusable, so that no image could succeed.
    """
    with run_context(run) as context:
        monitor, plan, config = context.monitor, context.plan, context.config
        grader = judge.load_grader(plan, (context.architecture, context.frozen.discriminator))
        trainer = Trainer(**vars(context), names=names, grader=grader)
        monitor.expect(len(run.unmade))
        # Without `reset_weight`, an image starts from the results of the one before it.
        with WorkItems(context.folder, names, monitor.log, ahead=int(config.schedule.reset_weight)) as work_items:
            work_items.redraw(run, trainer.kept_projector)
            if plan.recipe.name == "refine":
                trainer.predict(work_items)
            for (name,) in work_items.unfinished(run.images):
                for prepared in work_items.usable([name], trainer.prepare).values():
                    trainer.train(name, prepared, work_items)
            return work_items.status


def no_gan_because(config: ConfigDict) -> str | None:
    """Returns why the GAN is not loaded, '' if no pictures through it are asked for; None if there can be some."""
    if not draws_by_gan(config):
        return ""
    if not pathlib.Path(config.gan.checkpoint).is_file():
        return f"there is no config.gan.checkpoint {config.gan.checkpoint}"
    if not config.data.latent_root:
        return "config.data.latent_root is empty, and prediction does not invert the GAN"
    return None


def predict_images(run: Run, names: list[str]) -> int:
    """Explains every image of the list with `config.networks.pretrained`; returns 0, or 1 if an image failed.

    Raises `UserError`: the networks or the statistics are unusable.
    """
    plan, config, folder = run.plan, run.config, run.folder
    reason = no_gan_because(config)
    gan = inputs.load_frozen(plan, perceptual_weights=False) if reason is None else None
    networks = explain.load_predictor(plan, gan)
    folder.describe(config, run.identity, plan.record)
    params, frozen = networks.params, networks.frozen
    at_once = _AT_ONCE if len(run.images) >= _MANY and frozen.generator is None else 1
    with Monitor(plan.schedule, None) as monitor, WorkItems(folder, names, monitor.log) as work_items:
        monitor.log(f"{plan.recipe.name}: {plan.recipe.words}")
        if reason:
            monitor.log(f"no pictures by the GAN: {reason}")

        def write(name: str, prepared: PreparedImage, result: Reconstruction) -> None:
            if sentence := judge.sentence_of(result.name, result.metrics):
                monitor.log(sentence)
            has_latent = prepared.example.latent is not None
            project = explain.projector(params, prepared, frozen) if has_latent else None
            made_with = run.requested(name).record
            explain.write(result, folder.result(result.name), config, project=project, made_with=made_with)

        def projector(name: str) -> Projection | None:
            prepared = networks.prepared(data.load_item(config, name))
            return None if prepared.example.latent is None else explain.projector(params, prepared, frozen)

        work_items.redraw(run, projector)
        for group in work_items.unfinished(run.images, at_once):
            monitor.check()
            # Finished ones too: where an image stands among the others decides its last bits.
            images = work_items.usable(group, lambda name: networks.prepared(data.load_item(config, name)))
            try:
                left = [name for name in images if not run.images[name].exists]
                results = _explained(networks, images, at_once, left)
            except FAILURES as error:
                work_items.fail(failures_of(list(images), error))
                continue
            work_items.write(
                {name: functools.partial(write, name, images[name], result) for name, result in results.items()}
            )
        return work_items.status


def _explained(
    networks: explain.Predictor, images: Mapping[str, PreparedImage], at_once: int, names: Sequence[str]
) -> dict[str, Reconstruction]:
    """Returns the results of images of these names; all of `images` go through the networks, up to so many at once."""
    params, frozen, grader = networks.params, networks.frozen, networks.grader
    if at_once > 1 and images:  # they have the same settings
        examples = [each.example for each in images.values()]
        views = reconstruction.predict_batch(params, examples, frozen, networks.settings, size=at_once)
    else:
        views = [explain.predict(params, each.example, frozen, each.settings) for each in images.values()]
    by_name = dict(zip(images, views, strict=True))
    ungraded = [
        explain.reconstruct_ungraded(params, images[name], frozen, grader, view=by_name[name]) for name in names
    ]
    graded = map(functools.partial(judge.graded, grader), ungraded, judge.assessments(grader, ungraded))
    return dict(zip(names, graded, strict=True))


@dataclasses.dataclass(frozen=True)
class Trainer(RunContext):
    """A run of images that have networks of their own."""

    names: Sequence[str]
    grader: judge.Grader
    _kept: dict[str, models.Params] = dataclasses.field(default_factory=dict, init=False)

    def predict(self, work_items: WorkItems) -> None:
        """Writes what the model makes of images that have no result yet, and the page, and says so.

        Training then has something to improve on that can be looked at: such a result has the mesh and the maps, and
        says that it awaits its refinement (`AWAITS`), which replaces it as a whole.
        """
        new = [name for name, decision in self.images.items() if decision is Decision.MAKE]

        def prepare(name: str) -> PreparedImage:  # without its latent, which may take long to find
            item = data.load_item(self.config, name)
            return inputs.prepare_image(self.plan, item, None, self.architecture, self.frozen)

        def write(name: str, result: Reconstruction) -> None:
            self.folder.require()
            made_with = self.requested(name).record
            explain.write(result, self.folder.result(result.name), self.config, preset="mesh", made_with=made_with)

        for name in new:
            self.monitor.check()
            for prepared in work_items.usable([name], prepare).values():
                try:
                    params, measured = self._pretrained_or_fresh(prepared.settings), {AWAITS: True}
                    result = explain.reconstruct(params, prepared, self.frozen, self.grader, measured=measured)
                except FAILURES as error:
                    work_items.fail(failures_of([name], error))
                    continue
                work_items.write({name: functools.partial(write, name, result)})
        if not new:
            return
        work_items.wait()
        if count := sum(is_result(self.folder.result(stem_of(name))) for name in new):
            images, each = (
                ("1 image as the model sees it", "it")
                if count == 1
                else (f"{count} images as the model sees them", "each")
            )
            self.monitor.log(f"page: {one_line(str(self.folder.root / 'index.html'))}, {images}; refining {each} now")

    def prepare(self, name: str) -> PreparedImage:
        """Loads an image of the list and its files; inverts the GAN if it has no latent."""
        prepared = inputs.load_image(self.plan, name, self.architecture, self.frozen, self.folder.latents)
        if not self.config.data.latent_root:
            self.monitor.log(f"{prepared.name}: latent by inversion, mean absolute error {prepared.inversion_l1:.3f}")
        return prepared

    def train(self, name: str, prepared: PreparedImage, work_items: WorkItems) -> None:
        """Trains an image's networks, and has `work_items` write the result; a failure is reported there."""
        checkpoints, requested = self.folder.checkpoints(prepared.name), self.requested(name)
        try:
            initial = self._initial(name, prepared)
            with self.monitor.watch(prepared.name) as watcher:
                how = checkpoints, cadence_of(self.config), watcher, requested
                trained = loop.train(prepared, self.frozen, self.plan.schedule, initial, *how)
        except FAILURES as error:
            work_items.fail(failures_of([name], error))
            return
        release_freed_memory()
        job = functools.partial(self.write, prepared, initial, trained, requested.record)
        work_items.write({name: job}, after=functools.partial(remove_folder, checkpoints))

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
        """Returns `inputs.initial_params`, the same for all images: sizes of networks do not depend on the image."""
        if "initial" not in self._kept:
            self._kept["initial"] = inputs.initial_params(self.plan, settings)
        return self._kept["initial"]

    def write(
        self, prepared: PreparedImage, initial: models.Params, trained: loop.Trained, made_with: Mapping[str, Any]
    ) -> None:
        """Writes the folder of an image that was trained from `initial`; it appears complete or not at all.

        `made_with` are facts for its record.
        """
        self.folder.require()
        result, params = explain.finished(self.plan, prepared, self.frozen, self.grader, initial, trained)
        release_freed_memory()
        if sentence := judge.sentence_of(result.name, result.metrics):
            self.monitor.log(sentence)
        if sentence := refinement.outcome(result.metrics):
            self.monitor.log(f"{result.name}: {sentence}")
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
        path, prepared = self.folder.result(stem_of(name)) / "networks.safetensors", self.prepare(name)
        if not path.is_file():
            return None
        like = {"encoder": param_shapes(models.modules(prepared.settings)["encoder"])}
        params = network_files.load_networks(path, like, prepared.settings, needed=("encoder",))
        return explain.projector({"encoder": params["encoder"]}, prepared, self.frozen)
