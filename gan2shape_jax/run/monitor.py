"""What a user sees of a run: progress on the console, curves and pictures in TensorBoard."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from rich.console import Console
from rich.text import Text

from gan2shape_jax.errors import printable
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.run.curves import how_to_look, open_curves
from gan2shape_jax.run.progress import make_display
from gan2shape_jax.training.loop import Watcher

__all__ = ["Monitor"]


class Monitor:
    """A run's console and TensorBoard output; a context manager that restores the console on exit."""

    def __init__(self, schedule: tuple[Phase, ...], tensorboard: pathlib.Path | None, console: Console | None = None):
        """Watches images that all go through `schedule`.

        Args:
          schedule: the phases.
          tensorboard: the folder for the images' curves, or None for no curves.
          console: where to write; standard error by default.
        """
        self.console = console or Console(stderr=True)
        self._schedule = schedule
        self._tensorboard = tensorboard
        self._display = make_display(schedule, self.console)

    def __enter__(self) -> Monitor:
        if self._tensorboard:
            self.say(how_to_look(self._tensorboard))
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def say(self, message: str | Text) -> None:
        """Prints a line above the bar, without interpreting markup; styled lines are given as `Text`."""
        self.console.print(message if isinstance(message, Text) else Text(printable(message)), soft_wrap=True)

    @contextlib.contextmanager
    def watch(self, name: str) -> Iterator[Watcher]:
        """Watches one image until the context is left."""
        with self._display.shown(name) as progress, open_curves(self._schedule, self._folder(name)) as curves:
            yield Watcher(
                on_resume=self._resuming(name),
                on_progress=progress,
                on_record=curves.record,
                on_phase_end=curves.phase_end,
            )

    @contextlib.contextmanager
    def watch_group(self, names: Sequence[str]) -> Iterator[Watcher]:
        """Watches images that are trained at once: one bar, and the curves and pictures of each."""
        title = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(self._display.shown(title))
            curves = [stack.enter_context(open_curves(self._schedule, self._folder(name))) for name in names]

            def record(row: dict[str, Any]) -> None:
                for name, own in zip(names, curves, strict=True):
                    own.record({key: row[key] for key in ("phase", "step", "iteration")} | row["images"][name])

            def phase_end(phase: Phase, view: Reconstruction) -> None:
                for index, own in enumerate(curves):
                    own.phase_end(phase, jax.tree.map(lambda leaf, index=index: leaf[index], view))

            yield Watcher(
                on_resume=self._resuming(title), on_progress=progress, on_record=record, on_phase_end=phase_end
            )

    def _folder(self, name: str) -> pathlib.Path | None:
        return self._tensorboard / name if self._tensorboard else None

    def _resuming(self, title: str) -> Callable[[Phase, int], None]:
        def resume(phase: Phase, done: int) -> None:
            self.say(f"{title}: goes on from {phase.label}, iteration {done} of {phase.iterations}")

        return resume
