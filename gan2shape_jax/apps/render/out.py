"""What `--out` names: a still strip, an animation, or a new folder of single frames, and what each format can hold.

Frames are uint8 `(h, w, 3)`, all of the same size, and may be generated one by one. A file or folder appears whole or
not at all.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import atomic_file, atomic_folder, require_file_place, require_folder_place
from gan2shape_jax.io.option_types import MOST_GIF_PIXELS
from gan2shape_jax.results import animation, pictures
from gan2shape_jax.results.animation import MOVING
from gan2shape_jax.results.outputs import OUTPUTS

__all__ = [
    "STILLS",
    "check_out",
    "is_folder",
    "is_moving",
    "require_new_folder",
    "require_size",
    "write",
    "write_frames",
]

STILLS = (".png", ".jpg", ".jpeg", ".webp")

# Sides in pixels; libjpeg itself stops short of the 65535 of its format.
_SIDES = {".gif": 65535, ".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".png": 2**31 - 1, ".mp4": 16384}
_NAMES = {".jpg": "a JPEG", ".jpeg": "a JPEG", ".webp": "a WebP", ".mp4": "an MP4", ".gif": "a GIF", ".png": "a PNG"}
_MOST_STILL_PIXELS = 2**28  # of one picture; Pillow itself opens no larger one without being asked to
_MOST_BLOCKS = 139264  # of 16 x 16 pixels: the highest level of H.264 that players know, 6.2
_INSTEAD = "give a smaller --size, fewer --frames, or --out with the name of a new folder"


def is_folder(out: pathlib.Path) -> bool:
    """Whether the name, having no extension, stands for a folder of single frames."""
    return not out.suffix


def is_moving(out: pathlib.Path) -> bool:
    """Whether the name stands for an animation."""
    return out.suffix.lower() in MOVING


def check_out(out: pathlib.Path, *, inputs: Sequence[pathlib.Path | None] = ()) -> None:
    """Rejects a name of an unknown kind, or a place where nothing can be written.

    Args:
      out: the file or folder.
      inputs: files that the command reads, None for those not given.

    Raises:
      UserError: the name or the place cannot be used; the message says why.
    """
    if out.suffix and out.suffix.lower() not in STILLS + MOVING:
        raise UserError(
            f"--out {out}: the name must end in one of {', '.join(STILLS + MOVING)}, or in nothing for a folder of "
            "single frames"
        )
    if is_folder(out):
        if not os.path.isdir(out.parent):
            raise UserError(f"--out {out}: there is no folder {out.parent}")
        require_new_folder(out)
        return
    require_file_place(out)
    own = {pathlib.PurePath(name).stem for output in OUTPUTS for name in output.files}
    if (out.parent / "result.json").is_file() and out.stem in own:
        raise UserError(f"--out {out} would overwrite a file of the result itself: choose another name")
    if out.exists() and any(given is not None and given.exists() and out.samefile(given) for given in inputs):
        raise UserError(f"--out {out} would overwrite a file that is read: choose another name")


def require_new_folder(out: pathlib.Path) -> None:
    """Raises `UserError` unless `out` can be made or is an empty folder: nothing is ever overwritten there."""
    if os.path.lexists(out) and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a new folder")
    require_folder_place(out)
    require_folder_place(out.absolute().parent)  # where it is first written under another name
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out} exists and holds other files: name a new folder, or empty this one")


def require_size(out: pathlib.Path, width: int, height: int, frames: int = 1) -> None:
    """Rejects what the format of `out` cannot hold, before the first frame is drawn.

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
        raise UserError(f"{what} {_NAMES[ending]} can hold, at most {_SIDES[ending]} a side: {_INSTEAD}")
    if ending == ".mp4" and -(-width // 16) * -(-height // 16) > _MOST_BLOCKS:
        raise UserError(f"{what} {_NAMES[ending]} can hold, at most {_MOST_BLOCKS * 256} in all: {_INSTEAD}")
    if ending == ".gif" and frames * width * height > MOST_GIF_PIXELS:
        raise UserError(
            f"--out {out}: {frames} frames of {width} x {height} pixels are more than can be kept in memory for a GIF, "
            f"at most {MOST_GIF_PIXELS} pixels in all: write an .mp4, or {_INSTEAD}"
        )
    if ending not in MOVING and width * height > _MOST_STILL_PIXELS:
        raise UserError(f"{what} a picture can have here, at most {_MOST_STILL_PIXELS} in all: {_INSTEAD}")


def write(
    out: pathlib.Path,
    still: Callable[[], np.ndarray],
    moving: Callable[[], Iterable[np.ndarray]],
    *,
    fps: float,
    swing: bool = False,
) -> None:
    """Writes a picture or an animation, as the extension says.

    Args:
      out: the file.
      still: draws the picture.
      moving: draws the frames.
      fps: frames per second of an animation.
      swing: whether it is played there and back.

    Raises:
      UserError: the file system refuses.
    """
    if is_moving(out):
        atomic_file(out, functools.partial(animation.write_animation, frames=moving(), fps=fps, swing=swing))
    elif out.suffix.lower() == ".png":
        atomic_file(out, functools.partial(pictures.write_png, picture=still()))
    else:
        atomic_file(out, functools.partial(Image.fromarray(still()).save, quality=95))


def write_frames(
    out: pathlib.Path,
    frames: Iterable[tuple[str, np.ndarray]],
    texts: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Writes a new folder of pictures and text files.

    Args:
      out: the folder.
      frames: names, without the extension `.png`, and their pictures.
      texts: returns the contents of text files by name; called once all frames are made.

    Raises:
      UserError: the folder exists and is not empty, or the file system refuses.
    """
    require_new_folder(out)
    with atomic_folder(out) as fresh:
        for name, frame in frames:
            pictures.write_png(fresh / f"{name}.png", frame)
        for name, text in texts().items():
            (fresh / name).write_text(text, encoding="utf-8")
