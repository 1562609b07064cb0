"""What a user sees of a run: progress on the console, curves in TensorBoard."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import pathlib
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epy
from rich import progress as bars
from rich.console import Console
from rich.table import Column
from rich.text import Text

from gan2shape_jax.errors import install, one_line, printable, refused
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.run import interrupt
from gan2shape_jax.training.loop import Watcher

with epy.lazy_imports():  # they import PyTorch if installed, which takes seconds
    from tensorboardX import event_file_writer, summary
    from tensorboardX.proto import event_pb2

_EVERY_S = 10.0  # between lines that say how far a run is, where there is no terminal
_MEASURED = 0.05  # images that have to be done before their speed says how long the rest takes
_PLACE = ("phase", "step", "iteration")  # what says where a row of the history belongs


class Monitor(contextlib.ExitStack):
    """A run's console and TensorBoard output, and Ctrl-C; a context manager that restores the console on exit.

    On a terminal, one bar goes over all images; elsewhere lines say how far the run is, written immediately.
    """

    def __init__(self, schedule: tuple[Phase, ...], tensorboard: pathlib.Path | None, console: Console | None = None):
        """Watches images that all go through `schedule`, with curves in the folder `tensorboard`, None for none.

        The console is standard error by default.
        """
        super().__init__()
        self.check: Callable[[], None] = lambda: None  # raises KeyboardInterrupt if Ctrl-C has been pressed
        self.console = console or Console(stderr=True)
        self._schedule = schedule
        self._tensorboard = tensorboard
        about = Column(no_wrap=True, overflow="ellipsis", max_width=40)
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}", markup=False, table_column=about),
            bars.TextColumn("{task.fields[phase]:<14}"),
            bars.BarColumn(),
            bars.TextColumn("loss {task.fields[loss]}"),
            bars.TextColumn("{task.fields[left]}"),
            console=self.console,
        )
        self._count, self._done = 0, 0  # images: to do, begun
        self._first: tuple[float, float] | None = None  # when progress was first reported, and how many were done then
        self._told = -_EVERY_S

    def __enter__(self) -> Monitor:
        if self._tensorboard and not importlib.util.find_spec("tensorboardX"):
            self._tensorboard = None
            self.say(f"no curves: {install('logging')}, or set config.logging.tensorboard=False")
        if self._tensorboard:
            first = "" if importlib.util.find_spec("tensorboard") else " (after pip install tensorboard)"
            self.say(f"curves: tensorboard --logdir {shlex.quote(str(self._tensorboard))}{first}")
        self.check = self.enter_context(interrupt.noted(terminate=jax.process_count() == 1))
        if self.console.is_terminal:
            self.enter_context(self._bars)
        return self

    def say(self, message: str | Text) -> None:
        """Prints a line above the bar, without interpreting markup; styled lines are given as `Text`."""
        self.console.print(message if isinstance(message, Text) else Text(printable(message)), soft_wrap=True)

    def expect(self, count: int) -> None:
        """Notes how many images are to be done, for the time that is left."""
        self._count = count

    def _left(self, done: float) -> str:
        """Returns which image of all is under way and how long the rest takes, at the speed since the first report."""
        now, count = self.console.get_time(), max(self._count, self._done)
        self._first = self._first or (now, done)
        since, first = self._first
        place = f"{min(int(done) + 1, count)} of {count}, " if count > 1 else ""
        if done - first < _MEASURED:  # until then, most of the time has gone into compiling
            return f"{place}time left unknown"
        seconds = (now - since) / (done - first) * (count - done)
        about = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{max(seconds, 10):.0f} seconds"
        return f"{place}about {about} left"

    @contextlib.contextmanager
    def watch(self, names: Sequence[str]) -> Iterator[Watcher]:
        """Watches images until the context is left: one progress, and curves and pictures of each image.

        An image's row is under `images` in the history's, and its picture in that with a leading axis; a name that is
        not there, as of networks that all images share, has the whole row and the picture without such an axis.
        """
        title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        with contextlib.ExitStack() as stack:
            before, whole = self._done, max(self._cost(len(self._schedule)), 1)
            self._done += len(names)  # also those that fail
            row = self._bars.add_task(one_line(title), total=max(self._count, self._done), phase="", loss="-", left="")
            stack.callback(self._bars.remove_task, row)
            self._left(before)
            folders = [self._tensorboard / name for name in names] if self._tensorboard else []
            curves = [stack.enter_context(_Curves(self._schedule, folder)) for folder in folders]

            def progress(phase: Phase, done: int, loss: float | None) -> None:
                share = (self._cost(phase.number) + phase.kind.cost * done) / whole
                here, now = before + share * len(names), self.console.get_time()
                left = self._left(here)
                self._bars.update(row, completed=here, phase=phase.label, left=left)
                if loss is not None:
                    self._bars.update(row, loss=f"{loss:.4f}")
                if not self.console.is_terminal and (loss is not None or now - self._told >= _EVERY_S):
                    self._told = now
                    clock = datetime.datetime.now().strftime("%H:%M:%S")
                    where = f"{phase.label}, {done} of {phase.iterations}{'' if loss is None else f', loss {loss:.4f}'}"
                    self.say(f"{clock} {one_line(title)}: {where}; {left}")
                self.check()

            def record(line: dict[str, Any]) -> None:
                for name, own in zip(names, curves):
                    image = line.get("images", {}).get(name)
                    own.record(line if image is None else {key: line[key] for key in _PLACE} | image)

            def phase_end(phase: Phase, view: Prediction) -> None:
                for index, own in enumerate(curves):
                    own.phase_end(phase, view, index)

            def resume(phase: Phase, done: int) -> None:
                self.say(f"{title}: continues from {phase.label}, iteration {done} of {phase.iterations}")

            yield Watcher(on_resume=resume, on_progress=progress, on_record=record, on_phase_end=phase_end)

    def _cost(self, count: int) -> float:
        """Returns how much work the first phases are, in iterations of the cheapest step."""
        return sum(phase.cost for phase in self._schedule[:count])


class _Curves(contextlib.ExitStack):
    """An image's curves and pictures over the iterations of all phases, in a folder; a context manager.

    What cannot be written is a `UserError`. The library's own `SummaryWriter` writes in a thread, which a full disk
    kills with a traceback, and the run then waits for it forever.
    """

    def __init__(self, schedule: tuple[Phase, ...], folder: pathlib.Path):
        super().__init__()
        self._schedule = schedule
        with _in_words():
            folder.mkdir(parents=True, exist_ok=True)
            self._events = event_file_writer.EventsWriter(str(folder / "events"))
        self.callback(self._events.close)

    def record(self, row: dict[str, Any]) -> None:
        """Adds the losses and errors of a row of the history."""
        for key, value in row.items():
            if isinstance(value, float):
                self._write(summary.scalar(f"{row['step']}/{key}", value), row["phase"], row["iteration"])

    def phase_end(self, phase: Phase, view: Prediction, index: int) -> None:
        """Adds pictures of the reconstruction at the end of a phase; of several, of that at the index."""
        leaves = map(np.asarray, (view.depth, view.albedo, view.reconstruction))
        depth, albedo, reconstruction = (leaf[index] if view.depth.ndim > 2 else leaf for leaf in leaves)
        nearness = (depth.max() - depth) / max(float(np.ptp(depth)), 1e-6)  # white is near
        for key, picture in {
            "albedo": albedo / 2 + 0.5,
            "reconstruction": reconstruction / 2 + 0.5,
            "nearness": np.repeat(nearness[..., None], 3, axis=-1),
        }.items():
            self._write(summary.image(key, picture, dataformats="HWC"), phase.number, phase.iterations)
        with _in_words():
            self._events.flush()

    def _write(self, content: Any, phase: int, iteration: int) -> None:
        step = sum(earlier.iterations for earlier in self._schedule[:phase]) + iteration
        with _in_words():
            self._events.write_event(event_pb2.Event(summary=content, wall_time=time.time(), step=step))


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refused(error, "cannot write the curves (config.logging.tensorboard)") from error
