"""What a person sees of a run: a progress bar on the console, scalars and pictures in TensorBoard."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.training.loop import COST, Watcher

__all__ = ["Monitor"]


class Monitor:
    """Console and TensorBoard of a run; a context manager that restores the console at its end."""

    def __init__(self, schedule: tuple[Phase, ...], tensorboard: pathlib.Path | None):
        """Watches images that all go through `schedule`; `tensorboard` is a folder or None for no logs."""
        self._schedule = schedule
        self._tensorboard = tensorboard
        self.console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.fields[image]}"),
            TextColumn("{task.fields[phase]:<14}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )

    def __enter__(self) -> Monitor:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        self.console.print(message, highlight=False, soft_wrap=True)

    def watch(self, name: str) -> Watcher:
        """A watcher for the next image."""
        log = _Log(self._schedule, self._writer(name))
        return Watcher(on_progress=self._bar_of(name), on_record=log.record, on_phase_end=log.phase_end)

    def watch_group(self, names: Sequence[str]) -> Watcher:
        """A watcher for images that are trained at once: one bar, and the curves and pictures of each."""
        logs = [_Log(self._schedule, self._writer(name)) for name in names]

        def record(row: dict[str, Any]) -> None:
            for name, log in zip(names, logs, strict=True):
                log.record({key: row[key] for key in ("phase", "step", "iteration")} | row["images"][name])

        def phase_end(phase: Phase, view: Reconstruction) -> None:
            for index, log in enumerate(logs):
                log.phase_end(phase, jax.tree.map(lambda leaf, index=index: leaf[index], view))

        title = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
        return Watcher(on_progress=self._bar_of(title), on_record=record, on_phase_end=phase_end)

    def _writer(self, name: str) -> SummaryWriter | None:
        return SummaryWriter(str(self._tensorboard / name)) if self._tensorboard else None

    def _bar_of(self, title: str) -> Callable[[Phase, int, float | None], None]:
        total = sum(COST[phase.step] * phase.iterations for phase in self._schedule)
        task = self._bar.add_task("", total=total, image=title, phase="", loss="-")

        def progress(phase: Phase, done: int, loss: float | None) -> None:
            before = sum(COST[p.step] * p.iterations for p in self._schedule[: phase.number])
            fields: dict[str, Any] = {"phase": phase.label}
            if loss is not None:
                fields["loss"] = f"{loss:.4f}"
            self._bar.update(task, completed=before + COST[phase.step] * done, **fields)

        return progress


@dataclasses.dataclass(frozen=True)
class _Log:
    """An image's curves and pictures in TensorBoard, over the iterations of all phases; nothing without a writer."""

    schedule: tuple[Phase, ...]
    writer: SummaryWriter | None

    def _before(self, phase_number: int) -> int:
        return sum(p.iterations for p in self.schedule[:phase_number])

    def record(self, row: dict[str, Any]) -> None:
        if self.writer is None:
            return
        at = self._before(row["phase"]) + row["iteration"]
        for key, value in row.items():
            if isinstance(value, float):
                self.writer.add_scalar(f"{row['step']}/{key}", value, at)

    def phase_end(self, phase: Phase, view: Reconstruction) -> None:
        if self.writer is None:
            return
        for key, picture in _pictures(view).items():
            self.writer.add_image(key, picture, self._before(phase.number + 1), dataformats="HWC")
        self.writer.flush()


def _pictures(view: Reconstruction) -> dict[str, np.ndarray]:
    depth = np.asarray(view.depth)
    span = max(float(np.ptp(depth)), 1e-6)
    grey = np.repeat(((depth.max() - depth) / span)[..., None], 3, axis=-1)
    return {
        "albedo": np.asarray(view.albedo) / 2 + 0.5,
        "reconstruction": np.asarray(view.reconstruction) / 2 + 0.5,
        "nearness": grey,
    }
