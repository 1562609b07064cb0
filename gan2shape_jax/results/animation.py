"""Animations: a GIF, which opens anywhere, and an MP4, which looks better.

Frames are uint8 `(h, w, 3)`, all of the same size, and may be generated one by one: none is kept in memory for long.
"""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.results.spool import spooled
from gan2shape_jax.results.video import write_mp4

__all__ = ["BackAndForth", "write_animation", "write_animations", "write_gif", "write_mp4"]


class BackAndForth(Sequence[np.ndarray]):
    """Frames played forwards, then backwards: the loop neither jumps nor shows a frame twice in a row."""

    def __init__(self, frames: Sequence[np.ndarray]):
        """Takes the frames; each is read whenever it is asked for."""
        self._frames = frames
        self._order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self._frames[number] for number in self._order[index]]
        return self._frames[self._order[index]]


def write_animation(path: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes an animation in the format of its extension, `.gif` or `.mp4`.

    Args:
      path: the file.
      frames: generated one by one, or a sequence.
      fps: frames per second.
      swing: whether the animation runs back the same way.

    Raises:
      UserError: the extension is a different one.
      OSError: the file system refuses.
    """
    writers = {".gif": write_gif, ".mp4": write_mp4}
    if path.suffix.lower() not in writers:
        raise UserError(
            f"{path}: animations are written as {' or '.join(writers)}, not {path.suffix or 'a file without extension'}"
        )
    write = writers[path.suffix.lower()]
    if not swing:
        write(path, frames, fps=fps)
        return
    with _at_hand(frames, path.parent) as kept:
        write(path, BackAndForth(kept), fps=fps)


def write_animations(stem: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes `STEM.gif` and `STEM.mp4` from frames that are generated only once; arguments as for `write_animation`."""
    with _at_hand(frames, stem.parent) as kept:
        for extension in (".gif", ".mp4"):
            write_animation(stem.with_name(stem.name + extension), kept, fps=fps, swing=swing)


def write_gif(path: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float) -> None:
    """Writes an endless GIF with one palette for all frames (one palette per frame would flicker)."""
    with _at_hand(frames, path.parent) as kept:
        sample = Image.fromarray(np.concatenate(kept[:: max(1, len(kept) // 6)], axis=0))
        palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        paletted = (
            Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in kept
        )
        # GIF durations are in hundredths of a second; most viewers slow down anything below two.
        duration = max(20, 10 * round(100 / fps))
        next(paletted).save(path, save_all=True, append_images=paletted, duration=duration, loop=0)


@contextlib.contextmanager
def _at_hand(frames: Iterable[np.ndarray], folder: pathlib.Path) -> Iterator[Sequence[np.ndarray]]:
    """Yields the frames as a sequence that can be read more than once and in any order."""
    if isinstance(frames, Sequence):
        yield frames
    else:
        with spooled(frames, folder) as kept:
            yield kept
