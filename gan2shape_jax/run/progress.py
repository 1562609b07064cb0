"""How far the images under way are: a bar on a terminal, lines of text where the output goes to a file."""

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

from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.plain_text import one_line
from gan2shape_jax.training.loop import COST

__all__ = ["Bars", "Display", "Lines", "OnProgress", "make_display"]

# Takes the phase, the iterations done in it, and the latest loss where it was logged.
OnProgress = Callable[[Phase, int, float | None], None]

_WIDEST_NAME = 40  # characters


@runtime_checkable
class Display(Protocol):
    """Shows the progress of images that all go through one schedule."""

    def start(self) -> None:
        """Begins to show; called once."""
        ...

    def stop(self) -> None:
        """Leaves the console as it was."""
        ...

    def shown(self, title: str) -> contextlib.AbstractContextManager[OnProgress]:
        """Shows one image, or one group of images, until the context is left."""
        ...


def make_display(schedule: tuple[Phase, ...], console: Console) -> Display:
    """Returns bars for a terminal and lines for anything else."""
    return Bars(schedule, console) if console.is_terminal else Lines(schedule, console)


def _cost(schedule: tuple[Phase, ...], phase: Phase, done: int) -> float:
    """Returns what has been done of the schedule, in iterations of the cheapest step."""
    before = sum(COST[earlier.step] * earlier.iterations for earlier in schedule[: phase.number])
    return before + COST[phase.step] * done


def _whole_cost(schedule: tuple[Phase, ...]) -> float:
    return sum(COST[phase.step] * phase.iterations for phase in schedule)


class _NameColumn(ProgressColumn):
    """The name of an image as it is, cut where it would leave no room for the bar."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", max_width=_WIDEST_NAME))

    def render(self, task: Task) -> Text:
        """Returns what is shown of a row."""
        return Text(one_line(task.fields["image"]))


class Bars:
    """A bar for the image under way; its row goes when the image is done."""

    def __init__(self, schedule: tuple[Phase, ...], console: Console):
        """Bars over the iterations of `schedule`, weighed by what they cost."""
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
        """Begins to draw."""
        self._progress.start()

    def stop(self) -> None:
        """Ends drawing."""
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
    """A line wherever a loss is logged: time, image, step, loss, time left; written out at once."""

    def __init__(self, schedule: tuple[Phase, ...], console: Console, clock: Callable[[], float] = time.monotonic):
        """Lines about `schedule`; `clock` gives seconds."""
        self._schedule = schedule
        self._console = console
        self._clock = clock

    def start(self) -> None:
        """Does nothing: lines need no preparation."""

    def stop(self) -> None:
        """Does nothing: every line is written out already."""

    @contextlib.contextmanager
    def shown(self, title: str) -> Iterator[OnProgress]:
        """Prints about one image until the context is left."""
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
    """Tells the time left from the first sign on: what came before it was spent on compiling."""

    def __init__(self, whole: float, clock: Callable[[], float]):
        self._whole = whole
        self._clock = clock
        self._first: tuple[float, float] | None = None  # cost and time of the first sign

    def left(self, cost: float) -> str:
        """Returns the time left once so much of the whole cost is done."""
        now = self._clock()
        if self._first is None:
            self._first = (cost, now)
        since, began = self._first
        return _duration((now - began) * (self._whole - cost) / (cost - since)) if cost > since else "unknown time"


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
