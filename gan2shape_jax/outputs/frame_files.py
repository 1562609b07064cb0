"""Frames as a file of the kind that its name says: a still strip, an animation, or a folder of single pictures.

Frames are uint8 `(h, w, 3)`, all of one size. A file or folder appears whole or not at all.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from gan2shape_jax.atomic_files import atomic_file, atomic_folder
from gan2shape_jax.errors import UserError
from gan2shape_jax.outputs import animation, pictures

__all__ = [
    "MOVING",
    "STILLS",
    "check_out",
    "is_folder",
    "require_new_folder",
    "write_animation",
    "write_frames",
    "write_still",
]

STILLS = (".png", ".jpg", ".jpeg", ".webp")
MOVING = (".gif", ".mp4")


def is_folder(out: pathlib.Path) -> bool:
    """Whether the name, having no extension, stands for a folder of single frames."""
    return not out.suffix


def check_out(out: pathlib.Path) -> None:
    """Raises `UserError` where `out` is of an unknown kind or cannot be placed there."""
    if out.suffix and out.suffix.lower() not in STILLS + MOVING:
        raise UserError(
            f"--out {out}: the name must end in one of {', '.join(STILLS + MOVING)}, or in nothing for a folder of "
            "single frames"
        )
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    if is_folder(out):
        require_new_folder(out)
    elif out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file")


def require_new_folder(out: pathlib.Path) -> None:
    """Raises `UserError` unless `out` is absent or an empty folder: nothing is ever overwritten there."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out} exists and holds other files: name a new folder, or empty this one")


def write_still(out: pathlib.Path, picture: np.ndarray) -> None:
    """Writes one picture; raises `UserError` where the file system refuses."""

    def write(part: pathlib.Path) -> None:
        if out.suffix.lower() == ".png":
            pictures.write_png(part, picture)
        else:
            Image.fromarray(picture).save(part, quality=95)

    atomic_file(out, write)


def write_animation(out: pathlib.Path, frames: Sequence[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes a GIF or MP4, there and back where `swing`; raises `UserError` where the file system refuses."""
    shown = animation.back_and_forth(frames) if swing else list(frames)
    atomic_file(out, lambda part: animation.write_animation(part, shown, fps=fps))


def write_frames(out: pathlib.Path, frames: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Writes a new folder of `NAME.png` files and of text files; raises `UserError` where it cannot."""
    require_new_folder(out)
    with atomic_folder(out) as fresh:
        for name, frame in frames.items():
            pictures.write_png(fresh / f"{name}.png", frame)
        for name, text in texts.items():
            (fresh / name).write_text(text, encoding="utf-8")
