"""What each picture and animation format can hold, checked before the first frame is drawn."""

import pathlib

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.option_types import MOST_GIF_PIXELS

__all__ = ["require_size"]

# Sides in pixels; libjpeg itself stops short of the 65535 of its format.
_SIDES = {".gif": 65535, ".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".png": 2**31 - 1, ".mp4": 16384}
_MOST_STILL_PIXELS = 2**28  # of one picture; Pillow itself opens no larger one without being told to
_MOST_BLOCKS = 139264  # of 16 x 16 pixels: the highest level of H.264 that players know, 6.2
_INSTEAD = "give a smaller --size, fewer --frames, or --out with the name of a new folder"


def require_size(out: pathlib.Path, width: int, height: int, frames: int = 1) -> None:
    """Rejects what the format of `out` cannot hold.

    Args:
      out: the file; its extension gives the format.
      width: of the picture or of every frame, pixels.
      height: likewise.
      frames: number of frames in the animation; 1 for a still picture.

    Raises:
      UserError: it is too large; the message gives the limit.
    """
    ending = out.suffix.lower()
    what = f"--out {out}: {width} x {height} pixels are more than"
    if max(width, height) > _SIDES[ending]:
        raise UserError(f"{what} {_name(ending)} can hold, at most {_SIDES[ending]} a side: {_INSTEAD}")
    if ending == ".mp4" and -(-width // 16) * -(-height // 16) > _MOST_BLOCKS:
        raise UserError(f"{what} {_name(ending)} can hold, at most {_MOST_BLOCKS * 256} in all: {_INSTEAD}")
    if ending == ".gif" and frames * width * height > MOST_GIF_PIXELS:
        raise UserError(
            f"--out {out}: {frames} frames of {width} x {height} pixels are more than can be kept in memory for a GIF, "
            f"at most {MOST_GIF_PIXELS} pixels in all: write an .mp4, or {_INSTEAD}"
        )
    if ending not in (".gif", ".mp4") and width * height > _MOST_STILL_PIXELS:
        raise UserError(f"{what} a picture can have here, at most {_MOST_STILL_PIXELS} in all: {_INSTEAD}")


def _name(ending: str) -> str:
    return {".jpg": "a JPEG", ".jpeg": "a JPEG", ".webp": "a WebP", ".mp4": "an MP4"}.get(
        ending, f"a {ending[1:].upper()}"
    )
