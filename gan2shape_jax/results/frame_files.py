"""Frames written in the form that the output's name implies: a still strip, an animation, or a folder of pictures.

Frames are uint8 `(h, w, 3)`, all of the same size, and may be generated one by one. A file or folder appears whole or
not at all.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from gan2shape_jax.io.atomic_files import atomic_file, atomic_folder
from gan2shape_jax.errors import UserError
from gan2shape_jax.results import animation, pictures
from gan2shape_jax.io.writable import require_file_place, require_folder_place

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

# Pictures that a run writes into a result's folder: names without extension, then prefixes of such names.
_OWN = (
    "albedo",
    "canonical",
    "depth",
    "gan_image",
    "input",
    "input_mask",
    "mask",
    "mesh_albedo",
    "normals",
    "overview",
)
_OWN_BEGIN = ("reconstruction", "relight", "turntable")


def is_folder(out: pathlib.Path) -> bool:
    """Whether the name, having no extension, stands for a folder of single frames."""
    return not out.suffix


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
    if (out.parent / "result.json").is_file() and (out.stem in _OWN or out.stem.startswith(_OWN_BEGIN)):
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


def write_still(out: pathlib.Path, picture: np.ndarray) -> None:
    """Writes one picture; raises `UserError` if the file system refuses."""

    def write(part: pathlib.Path) -> None:
        if out.suffix.lower() == ".png":
            pictures.write_png(part, picture)
        else:
            Image.fromarray(picture).save(part, quality=95)

    atomic_file(out, write)


def write_animation(out: pathlib.Path, frames: Iterable[np.ndarray], *, fps: float, swing: bool = False) -> None:
    """Writes a GIF or MP4, played there and back if `swing`; raises `UserError` if the file system refuses."""
    atomic_file(out, functools.partial(animation.write_animation, frames=frames, fps=fps, swing=swing))


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
