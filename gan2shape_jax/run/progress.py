"""Progress of the images under way: a bar on a terminal, lines of text if the output goes to a file."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from gan2shape_jax.errors import one_line
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.training.loop import COST

__all__ = ["Bars", "Display", "Lines", "OnProgress", "make_display"]

# Takes the phase, the number of iterations done in it, and the latest loss if it was logged.
OnProgress = Callable[[Phase, int, float | None], None]

_WIDEST_NAME = 40  # characters


@runtime_checkable
class Display(Protocol):
    """Shows the progress of images that all go through one schedule."""

    def start(self) -> None:
        """Starts the display; called once."""
        ...

    def stop(self) -> None:
        """Restores the console."""
        ...

    def shown(self, title: str) -> contextlib.AbstractContextManager[OnProgress]:
        """Shows one image, or one group of images, until the context is left."""
        ...


def make_display(schedule: tuple[Phase, ...], console: Console) -> Display:
    """Returns bars for a terminal and lines for anything else."""
    return Bars(schedule, console) if console.is_terminal else Lines(schedule, console)


def _cost(schedule: tuple[Phase, ...], phase: Phase, done: int) -> float:
    """Returns how much of the schedule has been done, in iterations of the cheapest step."""
    before = sum(COST[earlier.step] * earlier.iterations for earlier in schedule[: phase.number])
    return before + COST[phase.step] * done


def _whole_cost(schedule: tuple[Phase, ...]) -> float:
    return sum(COST[phase.step] * phase.iterations for phase in schedule)


class _NameColumn(ProgressColumn):
    """The name of an image verbatim, truncated if it would leave no room for the bar."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", max_width=_WIDEST_NAME))

    def render(self, task: Task) -> Text:
        """Returns the text shown for a row."""
        return Text(one_line(task.fields["image"]))


class Bars:
    """A bar for the image under way; its row disappears when the image is done."""

    def __init__(self, schedule: tuple[Phase, ...], console: Console):
        """Bars over the iterations of `schedule`, weighted by their cost."""
        self._schedule = schedule
        self._progress = Progress(
            _NameColumn(),
            TextColumn("{task.fields[phase]:<14}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )

    def start(self) -> None:
        """Starts drawing."""
        self._progress.start()

    def stop(self) -> None:
        """Stops drawing."""
        self._progress.stop()

    @contextlib.contextmanager
    def shown(self, title: str) -> Iterator[OnProgress]:
        """Shows a row until the context is left."""
        row = self._progress.add_task("", total=_whole_cost(self._schedule), image=title, phase="", loss="-")

        def progress(phase: Phase, done: int, loss: float | None) -> None:
            fields: dict[str, Any] = {"phase": phase.label} | ({} if loss is None else {"loss": f"{loss:.4f}"})
            self._progress.update(row, completed=_cost(self._schedule, phase, done), **fields)

        try:
            yield progress
        finally:
            self._progress.remove_task(row)


class Lines:
    """A line whenever a loss is logged: time, image, step, loss, time left; written immediately."""

    def __init__(self, schedule: tuple[Phase, ...], console: Console, clock: Callable[[], float] = time.monotonic):
        """Lines about `schedule`; `clock` gives seconds."""
        self._schedule = schedule
        self._console = console
        self._clock = clock

    def start(self) -> None:
        """Does nothing: lines need no preparation."""

    def stop(self) -> None:
        """Does nothing: every line has already been written."""

    @contextlib.contextmanager
    def shown(self, title: str) -> Iterator[OnProgress]:
        """Prints lines about one image until the context is left."""
        pace = _Pace(_whole_cost(self._schedule), self._clock)

        def progress(phase: Phase, done: int, loss: float | None) -> None:
            left = pace.left(_cost(self._schedule, phase, done))
            if loss is None:
                return
            clock = datetime.datetime.now().strftime("%H:%M:%S")
            state = f"{phase.label}, {done} of {phase.iterations}, loss {loss:.4f}, {left} left"
            self._console.print(Text(f"{clock} {one_line(title)}: {state}"), soft_wrap=True)

        yield progress


class _Pace:
    """Estimates the time left, counting from the first report: the time before it was spent compiling."""

    def __init__(self, whole: float, clock: Callable[[], float]):
        self._whole = whole
        self._clock = clock
        self._first: tuple[float, float] | None = None  # cost and time of the first report

    def left(self, cost: float) -> str:
        """Returns the time left once `cost` of the whole cost is done."""
        now = self._clock()
        if self._first is None:
            self._first = (cost, now)
        since, began = self._first
        return _duration((now - began) * (self._whole - cost) / (cost - since)) if cost > since else "unknown time"


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
