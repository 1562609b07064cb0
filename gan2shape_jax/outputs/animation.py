"""Animations: a GIF, which opens anywhere, and an MP4, which looks better.

Frames are uint8 `(n, h, w, 3)`.
"""

import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError

__all__ = ["back_and_forth", "write_animation", "write_gif", "write_mp4"]


def back_and_forth(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the frames forwards, then backwards: the loop has no jump and no frame stands still."""
    return [*frames, *frames[-2:0:-1]]


def write_animation(path: pathlib.Path, frames: Sequence[np.ndarray], *, fps: float) -> None:
    """Writes by extension, `.gif` or `.mp4`; raises `UserError` for any other."""
    writers = {".gif": write_gif, ".mp4": write_mp4}
    if path.suffix.lower() not in writers:
        raise UserError(
            f"{path}: animations are written as {' or '.join(writers)}, not {path.suffix or 'a file without extension'}"
        )
    writers[path.suffix.lower()](path, frames, fps=fps)


def write_gif(path: pathlib.Path, frames: Sequence[np.ndarray], *, fps: float) -> None:
    """Writes an endless GIF with one palette for all frames (a palette a frame flickers)."""
    pictures = [Image.fromarray(frame) for frame in frames]
    sample = Image.fromarray(np.concatenate(list(frames[:: max(1, len(frames) // 6)]), axis=0))
    palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    paletted = [picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures]
    # A GIF counts in hundredths of a second; most viewers slow down anything below two.
    duration = max(20, 10 * round(100 / fps))
    paletted[0].save(path, save_all=True, append_images=paletted[1:], duration=duration, loop=0)


def write_mp4(path: pathlib.Path, frames: Sequence[np.ndarray], *, fps: float) -> None:
    """Writes an H.264 video that players and browsers accept: even sides, 4:2:0 colours."""
    import imageio.v2 as imageio  # here, because it is slow to import and only videos need it

    tall, wide = (side + side % 2 for side in frames[0].shape[:2])
    with warnings.catch_warnings():
        # JAX warns of forks in a threaded program; ffmpeg is executed at once, which is safe.
        warnings.filterwarnings("ignore", message=".*os.fork", category=RuntimeWarning)
        with imageio.get_writer(
            path,
            format="FFMPEG",
            mode="I",
            fps=fps,
            codec="libx264",
            pixelformat="yuv420p",
            macro_block_size=1,
            quality=8,
            output_params=["-movflags", "+faststart"],
        ) as writer:
            for frame in frames:
                even = np.pad(
                    frame,
                    ((0, tall - frame.shape[0]), (0, wide - frame.shape[1]), (0, 0)),
                    mode="edge",
                )
                writer.append_data(even)  # type: ignore[attr-defined]
