"""What a person sees of a run: a progress bar on the console, scalars and pictures in TensorBoard."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from gan2shape_jax.stages import Phase, View
from gan2shape_jax.training import COST, Watcher

__all__ = ["Monitor"]


class Monitor:
    """Console and TensorBoard of a run; a context manager that restores the console at its end."""

    def __init__(self, schedule: tuple[Phase, ...], tensorboard: pathlib.Path | None):
        """Watches images that all go through `schedule`; `tensorboard` is a folder or None for no logs."""
        self._schedule = schedule
        self._tensorboard = tensorboard
        self.console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.fields[image]}"), TextColumn("{task.fields[phase]:<14}"), BarColumn(),
            TaskProgressColumn(), TextColumn("loss {task.fields[loss]}"), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=self.console)

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
        total = sum(COST[phase.step] * phase.iterations for phase in self._schedule)
        task = self._bar.add_task("", total=total, image=name, phase="", loss="-")
        writer = SummaryWriter(str(self._tensorboard / name)) if self._tensorboard else None

        def progress(phase: Phase, done: int, loss: float | None) -> None:
            before = sum(COST[p.step] * p.iterations for p in self._schedule[:phase.number])
            fields: dict[str, Any] = {"phase": phase.label}
            if loss is not None:
                fields["loss"] = f"{loss:.4f}"
            self._bar.update(task, completed=before + COST[phase.step] * done, **fields)

        def iterations_before(phase_number: int) -> int:
            return sum(p.iterations for p in self._schedule[:phase_number])

        def record(row: dict[str, Any]) -> None:
            if writer is None:
                return
            at = iterations_before(row["phase"]) + row["iteration"]
            for key, value in row.items():
                if isinstance(value, float):
                    writer.add_scalar(f"{row['step']}/{key}", value, at)

        def phase_end(phase: Phase, view: View) -> None:
            if writer is None:
                return
            at = iterations_before(phase.number + 1)
            for key, picture in _pictures(view).items():
                writer.add_image(key, picture, at, dataformats="HWC")
            writer.flush()

        return Watcher(on_progress=progress, on_record=record, on_phase_end=phase_end)


def _pictures(view: View) -> dict[str, np.ndarray]:
    depth = np.asarray(view.depth)
    span = max(float(np.ptp(depth)), 1e-6)
    grey = np.repeat(((depth.max() - depth) / span)[..., None], 3, axis=-1)
    return {"albedo": np.asarray(view.albedo) / 2 + 0.5,
            "reconstruction": np.asarray(view.reconstruction) / 2 + 0.5,
            "nearness": grey}
