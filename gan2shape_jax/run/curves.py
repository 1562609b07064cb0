"""The curves and pictures of one image in TensorBoard, over the iterations of all phases."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import pathlib
import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gan2shape_jax.errors import refused
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase

# tensorboardX imports PyTorch if installed, which takes seconds: it is imported only when curves are written.
if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

__all__ = ["Curves", "how_to_look", "open_curves"]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Writes an image's curves and pictures; without a writer, nothing.

    The library's own `SummaryWriter` writes in a thread, which a full disk kills with a traceback, and the run then
    waits for it forever.
    """

    schedule: tuple[Phase, ...]
    writer: EventsWriter | None

    def record(self, row: dict[str, Any]) -> None:
        """Adds the losses and errors of a row of the history; raises `UserError` if they cannot be written."""
        if self.writer is None:
            return
        from tensorboardX import summary

        at = self._before(row["phase"]) + row["iteration"]
        for key, value in row.items():
            if isinstance(value, float):
                self._write(summary.scalar(f"{row['step']}/{key}", value), at)

    def phase_end(self, phase: Phase, view: Reconstruction) -> None:
        """Adds pictures of the reconstruction at the end of a phase; raises `UserError` if they cannot be written."""
        if self.writer is None:
            return
        from tensorboardX import summary

        for key, picture in _pictures(view).items():
            self._write(summary.image(key, picture, dataformats="HWC"), self._before(phase.number + 1))
        with _in_words():
            self.writer.flush()

    def _write(self, content: Any, step: int) -> None:
        from tensorboardX.proto import event_pb2

        if self.writer is not None:
            with _in_words():
                self.writer.write_event(event_pb2.Event(summary=content, wall_time=time.time(), step=step))

    def _before(self, phase_number: int) -> int:
        return sum(phase.iterations for phase in self.schedule[:phase_number])


@contextlib.contextmanager
def open_curves(schedule: tuple[Phase, ...], folder: pathlib.Path | None) -> Iterator[Curves]:
    """Opens an image's folder of curves, if any; leaving the context closes its file.

    Raises:
      UserError: the file cannot be written.
    """
    if folder is None:
        yield Curves(schedule, None)
        return
    from tensorboardX.event_file_writer import EventsWriter

    with _in_words():
        folder.mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(folder / "events"))
    try:
        yield Curves(schedule, writer)
    except BaseException:
        with contextlib.suppress(OSError):  # the original error is the one that matters
            writer.close()
        raise
    with _in_words():
        writer.close()


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refused(error, "cannot write the curves (config.logging.tensorboard)") from error


def how_to_look(folder: pathlib.Path) -> str:
    """Returns the sentence that says how to view the curves below a folder."""
    installed = importlib.util.find_spec("tensorboard") is not None
    first = "" if installed else " (after pip install tensorboard)"
    return f"curves: tensorboard --logdir {shlex.quote(str(folder))}{first}"


def _pictures(view: Reconstruction) -> dict[str, np.ndarray]:
    """Returns pictures (S, S, 3) in [0, 1]; in `nearness`, white is near."""
    depth = np.asarray(view.depth)
    span = max(float(np.ptp(depth)), 1e-6)
    nearness = np.repeat(((depth.max() - depth) / span)[..., None], 3, axis=-1)
    return {
        "albedo": np.asarray(view.albedo) / 2 + 0.5,
        "reconstruction": np.asarray(view.reconstruction) / 2 + 0.5,
        "nearness": nearness,
    }
