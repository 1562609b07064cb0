"""The curves and pictures of one image in TensorBoard, over the iterations of all phases."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import pathlib
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase

__all__ = ["Curves", "how_to_look", "open_curves"]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Writes what happens to an image; nothing without a writer."""

    schedule: tuple[Phase, ...]
    writer: SummaryWriter | None

    def record(self, row: dict[str, Any]) -> None:
        """Adds the losses and errors of a row of the history."""
        if self.writer is None:
            return
        at = self._before(row["phase"]) + row["iteration"]
        for key, value in row.items():
            if isinstance(value, float):
                self.writer.add_scalar(f"{row['step']}/{key}", value, at)

    def phase_end(self, phase: Phase, view: Reconstruction) -> None:
        """Adds pictures of what is seen at the end of a phase."""
        if self.writer is None:
            return
        for key, picture in _pictures(view).items():
            self.writer.add_image(key, picture, self._before(phase.number + 1), dataformats="HWC")
        self.writer.flush()

    def _before(self, phase_number: int) -> int:
        return sum(phase.iterations for phase in self.schedule[:phase_number])


@contextlib.contextmanager
def open_curves(schedule: tuple[Phase, ...], folder: pathlib.Path | None) -> Iterator[Curves]:
    """Opens an image's folder of curves, or none; leaving the context closes its files and ends its threads."""
    writer = SummaryWriter(str(folder)) if folder else None
    try:
        yield Curves(schedule, writer)
    finally:
        if writer is not None:
            writer.close()


def how_to_look(folder: pathlib.Path) -> str:
    """Returns the sentence that tells how to look at the curves below a folder."""
    installed = importlib.util.find_spec("tensorboard") is not None
    first = "" if installed else " (after pip install tensorboard)"
    return f"curves: tensorboard --logdir {shlex.quote(str(folder))}{first}"


def _pictures(view: Reconstruction) -> dict[str, np.ndarray]:
    """Returns pictures (S, S, 3) in [0, 1]; in `nearness` white is near."""
    depth = np.asarray(view.depth)
    span = max(float(np.ptp(depth)), 1e-6)
    nearness = np.repeat(((depth.max() - depth) / span)[..., None], 3, axis=-1)
    return {
        "albedo": np.asarray(view.albedo) / 2 + 0.5,
        "reconstruction": np.asarray(view.reconstruction) / 2 + 0.5,
        "nearness": nearness,
    }
