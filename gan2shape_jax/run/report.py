"""What a user sees of a run: progress on the console, curves in TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.util
import pathlib
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from etils import epy
from rich import progress as bars
from rich.console import Console
from rich.table import Column
from rich.text import Text

from gan2shape_jax.errors import io_error, one_line, printable
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.run import interrupt
from gan2shape_jax.training.loop import Watcher

with epy.lazy_imports():  # they import PyTorch if installed, which takes seconds
    from tensorboardX import event_file_writer, summary
    from tensorboardX.proto import event_pb2

_EVERY_S = 10.0  # between lines that say how far a run is, where there is no terminal
_MEASURED = 0.1  # images that have to be done before their speed says how long the rest takes


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
        self._count, self._begun = 0, 0  # images: to do, begun
        self._timed = 0.0, 0.0  # seconds, and the work done in them, between reports of one phase
        self._reported = -_EVERY_S

    def __enter__(self) -> Monitor:
        if self._tensorboard and not importlib.util.find_spec("tensorboardX"):
            self._tensorboard = None
        if self._tensorboard:
            first = "" if importlib.util.find_spec("tensorboard") else " (after pip install tensorboard)"
            self.log(f"curves: tensorboard --logdir {shlex.quote(str(self._tensorboard))}{first}")
        self.check = self.enter_context(interrupt.noted(terminate=jax.process_count() == 1))
        if self.console.is_terminal:
            self.enter_context(self._bars)
        return self

    def log(self, message: str | Text) -> None:
        """Prints a line above the bar, without interpreting markup; styled lines are given as `Text`."""
        self.console.print(message if isinstance(message, Text) else Text(printable(message)), soft_wrap=True)

    def expect(self, count: int) -> None:
        """Notes how many images are to be done, for the time that is left."""
        self._count = count

    def _left(self, done: float) -> str:
        """Returns which image of all is under way and, once it can be told, how long the rest takes.

        `done` is the work done on this image; that of all iterations takes equally long, and what comes between them,
        such as compiling, is left out.
        """
        count = max(self._count, self._begun)
        place = f"{self._begun} of {count}" if count > 1 else ""
        seconds, timed = self._timed
        if timed < _MEASURED * self._whole:
            return place
        left = (self._whole * (count - self._begun + 1) - done) * seconds / timed
        return ", ".join(filter(None, [place, f"{_about(left)} left"]))

    @contextlib.contextmanager
    def watch(self, title: str) -> Iterator[Watcher]:
        """Watches an image, or networks that images share, until the context is left: progress, curves and pictures."""
        with contextlib.ExitStack() as stack:
            before = self._begun
            self._begun += 1  # also one that fails
            row = self._bars.add_task(one_line(title), total=max(self._count, self._begun), phase="", loss="-", left="")
            stack.callback(self._bars.remove_task, row)
            last: tuple[Phase, float, float] | None = None  # the last report: phase, when, the work done
            curves = _Curves(self._schedule, self._tensorboard / title) if self._tensorboard else None
            if curves:
                stack.enter_context(curves)

            def progress(phase: Phase, done: int, loss: float | None) -> None:
                nonlocal last
                work, now = self._cost(phase.number) + phase.kind.cost * done, self.console.get_time()
                if last and last[0] == phase:
                    self._timed = self._timed[0] + now - last[1], self._timed[1] + work - last[2]
                last = phase, now, work
                left = self._left(work)
                self._bars.update(row, completed=before + work / self._whole, phase=phase.label, left=left)
                if loss is not None:
                    self._bars.update(row, loss=f"{loss:.4f}")
                if not self.console.is_terminal and (loss is not None or now - self._reported >= _EVERY_S):
                    self._reported = now
                    clock = datetime.datetime.now().strftime("%H:%M:%S")
                    where = f"{phase.label}, {done} of {phase.iterations}{'' if loss is None else f', loss {loss:.4f}'}"
                    self.log(f"{clock} {one_line(title)}: {where}{left and f'; {left}'}")
                self.check()

            def resume(phase: Phase, done: int) -> None:
                self.log(f"{title}: continues from {phase.label}, iteration {done} of {phase.iterations}")

            watcher = Watcher(on_resume=resume, on_progress=progress)
            if curves:
                watcher = dataclasses.replace(watcher, on_record=curves.record, on_phase_end=curves.phase_end)
            yield watcher

    def _cost(self, count: int) -> float:
        """Returns how much work the first phases are, in iterations of the cheapest step."""
        return sum(phase.cost for phase in self._schedule[:count])

    @property
    def _whole(self) -> float:
        return max(self._cost(len(self._schedule)), 1)


def _about(seconds: float) -> str:
    if seconds >= 90:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds:.0f} seconds" if seconds >= 10 else "a few seconds"


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

    def phase_end(self, phase: Phase, view: Prediction) -> None:
        """Adds pictures of the reconstruction at the end of a phase."""
        depth, albedo, reconstruction = map(np.asarray, (view.depth, view.albedo, view.reconstruction))
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
        raise io_error(error, "cannot write the curves (config.logging.tensorboard)") from error
