"""Animations: a GIF, which opens anywhere, and an MP4, which looks better.

Frames are uint8 `(h, w, 3)`, all of the same size, and may be generated one by one: they lie in a file without a name
until the end, from which they are mapped, and which ffmpeg reads.
"""

from __future__ import annotations

import errno
import fractions
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from typing import IO

import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError

__all__ = ["MOVING", "write_animation", "write_films"]

MOVING = (".gif", ".mp4")

_CRF = 10  # libx264's constant rate factor: from 0, lossless, to 51


def write_animation(path: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes an animation in the format of its extension, one of `MOVING`.

    With `swing` the animation runs back the same way; it then neither jumps nor shows a frame twice in a row.

    Raises:
      UserError: ffmpeg gave up.
      OSError: the file system refuses.
    """
    _write([path], frames, fps, swing)


def write_films(stem: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes `STEM.gif` and `STEM.mp4` from frames that are generated only once; arguments as for `write_animation`."""
    _write([stem.with_name(stem.name + extension) for extension in MOVING], frames, fps, swing)


def _write(paths: Sequence[pathlib.Path], frames: Iterable[np.ndarray], fps: float, swing: bool) -> None:
    with tempfile.TemporaryFile(dir=paths[0].parent, prefix=".frames.", buffering=0) as file:
        for frame in frames:
            file.write(frame.tobytes())
            shape = frame.shape
        kept = np.memmap(file, np.uint8, "r").reshape(-1, *shape)
        for frame in kept[-2:0:-1] if swing else ():
            file.write(frame.tobytes())
        for path in paths:
            if path.suffix.lower() == ".gif":
                _write_gif(path, list(np.memmap(file, np.uint8, "r").reshape(-1, *shape)), fps)
            else:
                _write_mp4(path, file, shape[0], shape[1], fps)


def _write_gif(path: pathlib.Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Writes an endless GIF with one palette for all frames (one palette per frame would flicker)."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)]))
    palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    paletted = (Image.fromarray(one).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for one in frames)
    # GIF durations are in hundredths of a second; most viewers slow down anything below two.
    duration = max(20, 10 * round(100 / fps))
    next(paletted).save(path, save_all=True, append_images=paletted, duration=duration, loop=0)


def _write_mp4(path: pathlib.Path, frames: IO[bytes], height: int, width: int, fps: float) -> None:
    """Writes an H.264 video that players and browsers accept: even sides, 4:2:0 colours.

    ffmpeg is started here, not by `imageio_ffmpeg`, since only its exit status says whether it wrote the whole file.
    """
    import imageio_ffmpeg  # here, because only videos need it

    rate = str(fractions.Fraction(fps).limit_denominator())
    source = f"-f rawvideo -s {width}x{height} -pix_fmt rgb24 -r {rate} -i -"
    odd = f"-vf pad=ceil(iw/2)*2:ceil(ih/2)*2,fillborders=right={width % 2}:bottom={height % 2}:mode=smear"
    even = odd if width % 2 or height % 2 else ""
    target = f"-an -vcodec libx264 -pix_fmt yuv420p -crf {_CRF} -movflags +faststart -v warning"
    command = f"-y {source} {even} {target}".split()
    frames.seek(0)
    # In a session of its own, so that Ctrl-C reaches only this program, which then stops ffmpeg.
    ffmpeg = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), *command, str(path.absolute())],
        stdin=frames,
        capture_output=True,
        start_new_session=True,
    )
    if ffmpeg.returncode:
        said = ffmpeg.stderr.decode(errors="replace")
        if os.strerror(errno.ENOSPC) in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reason = next(
            (line for line in reversed(said.splitlines()) if line.strip()), f"exit status {ffmpeg.returncode}"
        )
        raise UserError(f"{path} could not be written: ffmpeg gave up ({reason.strip()})")
