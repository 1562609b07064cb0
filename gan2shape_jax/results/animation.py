"""Animations: a GIF, which opens anywhere, and an MP4, which looks better.

Frames are uint8 `(h, w, 3)`, all of the same size, and may be generated one by one: none is kept in memory for long.
"""

from __future__ import annotations

import contextlib
import errno
import fractions
import itertools
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError

__all__ = ["MOVING", "write_animation", "write_films"]

MOVING = (".gif", ".mp4")

_CRF = 10  # libx264's constant rate factor: from 0, lossless, to 51


def write_animation(path: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes an animation in the format of its extension, one of `MOVING`.

    Args:
      path: the file.
      frames: generated one by one, or a sequence; at least one.
      fps: frames per second.
      swing: whether the animation runs back the same way; it then neither jumps nor shows a frame twice in a row.

    Raises:
      UserError: ffmpeg gave up.
      OSError: the file system refuses.
    """
    moving = path.suffix.lower() != ".gif"
    if moving and not swing:
        _write_mp4(path, iter(frames), fps)
        return
    with _at_hand(frames, path.parent) as kept:
        ordered = [*kept, *(kept[-2:0:-1] if swing else ())]
        if moving:
            _write_mp4(path, iter(ordered), fps)
        else:
            _write_gif(path, ordered, fps)


def write_films(stem: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes `STEM.gif` and `STEM.mp4` from frames that are generated only once; arguments as for `write_animation`."""
    with _at_hand(frames, stem.parent) as kept:
        for extension in MOVING:
            write_animation(stem.with_name(stem.name + extension), kept, fps=fps, swing=swing)


@contextlib.contextmanager
def _at_hand(frames: Iterable[np.ndarray], folder: pathlib.Path) -> Iterator[Sequence[np.ndarray]]:
    """Yields the frames as a sequence; those generated one by one lie in a file without a name until the end."""
    if isinstance(frames, Sequence):
        yield frames
        return
    with tempfile.TemporaryFile(dir=folder, prefix=".frames.") as file:
        count, shape = 0, (0,)
        for frame in frames:
            file.write(frame.tobytes())
            count, shape = count + 1, frame.shape
        file.flush()
        yield list(np.memmap(file, np.uint8, "r", shape=(count, *shape)))  # mapped: views, which hold no memory


def _write_gif(path: pathlib.Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Writes an endless GIF with one palette for all frames (one palette per frame would flicker)."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)]))
    palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    paletted = (Image.fromarray(one).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for one in frames)
    # GIF durations are in hundredths of a second; most viewers slow down anything below two.
    duration = max(20, 10 * round(100 / fps))
    next(paletted).save(path, save_all=True, append_images=paletted, duration=duration, loop=0)


def _write_mp4(path: pathlib.Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Writes an H.264 video that players and browsers accept: even sides, 4:2:0 colours.

    ffmpeg is started here, not by `imageio_ffmpeg`, since only its exit status says whether it wrote the whole file.
    """
    import imageio_ffmpeg  # here, because only videos need it

    first = next(frames)
    height, width = first.shape[:2]
    edges = ((0, height % 2), (0, width % 2), (0, 0))  # 1 where a side is odd
    rate = str(fractions.Fraction(fps).limit_denominator())
    source = f"-f rawvideo -s {width + width % 2}x{height + height % 2} -pix_fmt rgb24 -r {rate} -i -"
    target = f"-an -vcodec libx264 -pix_fmt yuv420p -crf {_CRF} -movflags +faststart -v warning"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", *source.split(), *target.split(), str(path.absolute())]
    with tempfile.TemporaryFile() as messages:
        # In a session of its own, so that Ctrl-C reaches only this program, which then stops ffmpeg.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages, start_new_session=True
        )
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # its exit status says why
                for frame in itertools.chain([first], frames):
                    process.stdin.write(np.pad(frame, edges, mode="edge").tobytes())
                process.stdin.close()
            status = process.wait()
        finally:
            process.kill()  # on an error or Ctrl-C on this side; otherwise it has ended
            process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()
        if status:
            messages.seek(0)
            said = messages.read().decode(errors="replace")
            if os.strerror(errno.ENOSPC) in said:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            reason = next((line for line in reversed(said.splitlines()) if line.strip()), f"exit status {status}")
            raise UserError(f"{path} could not be written: ffmpeg gave up ({reason.strip()})")
