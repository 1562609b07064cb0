"""MP4 files by ffmpeg, which receives the frames as they are made.

`imageio_ffmpeg` provides the program. It is started here, since only its exit status tells whether it could write the
whole file.
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
from collections.abc import Iterable

import numpy as np

from gan2shape_jax.errors import UserError

__all__ = ["write_mp4"]

_CRF = 10  # libx264's constant rate factor: from 0, lossless, to 51


def write_mp4(path: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float) -> None:
    """Writes an H.264 video that players and browsers accept: even sides, 4:2:0 colours.

    Args:
      path: the file.
      frames: uint8 (h, w, 3), generated one by one or a sequence; at least one.
      fps: frames per second.

    Raises:
      OSError: the disk is full, or ffmpeg cannot be started.
      UserError: ffmpeg gave up for another reason.
    """
    rest = iter(frames)
    first = next(rest)
    tall, wide = (side + side % 2 for side in first.shape[:2])
    with tempfile.TemporaryFile() as said:
        # In a session of its own, so that Ctrl-C reaches only this program, which then stops ffmpeg.
        process = subprocess.Popen(
            _command(path, wide, tall, fps),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # its exit status tells why
                for frame in itertools.chain([first], rest):
                    process.stdin.write(_even(frame, tall, wide))
                process.stdin.close()
            status = process.wait()
        finally:
            if process.poll() is None:  # an error or Ctrl-C on this side
                process.kill()
                process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()
        said.seek(0)
        _require_success(path, status, said.read().decode(errors="replace"))


def _command(path: pathlib.Path, wide: int, tall: int, fps: float) -> list[str]:
    import imageio_ffmpeg  # here, because only videos need it

    rate = fractions.Fraction(fps).limit_denominator()
    source = ["-f", "rawvideo", "-vcodec", "rawvideo", "-s", f"{wide}x{tall}", "-pix_fmt", "rgb24", "-r", str(rate)]
    target = ["-an", "-vcodec", "libx264", "-pix_fmt", "yuv420p", "-crf", str(_CRF), "-movflags", "+faststart"]
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-y", *source, "-i", "-", *target, "-v", "warning", str(path.absolute())]


def _even(frame: np.ndarray, tall: int, wide: int) -> bytes:
    """Returns the frame's bytes, with its last row or column repeated where a side is odd."""
    return np.pad(frame, ((0, tall - frame.shape[0]), (0, wide - frame.shape[1]), (0, 0)), mode="edge").tobytes()


def _require_success(path: pathlib.Path, status: int, said: str) -> None:
    if status == 0:
        return
    if os.strerror(errno.ENOSPC) in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    reason = next((line for line in reversed(said.splitlines()) if line.strip()), f"exit status {status}")
    raise UserError(f"{path} could not be written: ffmpeg gave up ({reason.strip()})")
