"""Where photos come from: a folder (searched recursively), a zip file, or a list; read one at a time as squares."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.image_files import open_rgb
from gan2shape_jax.io.regular_files import read_text
from gan2shape_jax.io.weights.messages import printable

__all__ = ["Listed", "find", "read"]

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_LARGEST_LIST = 1 << 28  # bytes
_LARGEST_MEMBER = 1 << 27  # bytes of one picture in a zip file
_MOST = 2_000_000
_LEAST_SIDE = 8  # pixels; whether a photo is too small for its GAN is checked later


class Listed(NamedTuple):
    """A photo that has been found but not read.

    Attributes:
      name: what messages call it.
      mark: changes with the file: its size and modification time, or a zip member's checksum.
      path: the file; for members of a zip file, the zip file.
      member: index of the zip file's entry, or None.
    """

    name: str
    mark: str
    path: pathlib.Path
    member: int | None = None


def find(source: pathlib.Path) -> list[Listed]:
    """Returns the photos of a folder, a zip file or a list (.txt, one name per line), by name or in list order.

    Raises:
      UserError: the source does not exist, is of no known kind, or holds no photo.
    """
    if source.is_dir():
        found = _in_folder(source)
    elif not source.exists():
        raise UserError(f"{source} does not exist: name a folder of photos, a zip file of photos, or a list (.txt)")
    elif source.suffix.lower() == ".txt":
        found = _in_list(source)
    elif source.suffix.lower() == ".zip":
        found = _in_zip(source)
    else:
        raise UserError(f"{source} is neither a folder nor a zip file nor a list (.txt) of photos")
    if not found:
        raise UserError(f"{source} holds no photos: files ending in {', '.join(_ENDINGS)} are looked for")
    if len(found) > _MOST:
        raise UserError(f"{source} names {len(found)} photos: at most {_MOST} are possible")
    return found


def read(
    photos: list[Listed], size: int, *, refused: Callable[[Listed, str], None]
) -> Iterator[tuple[int, UInt8[np.ndarray, "s s 3"], int]]:
    """Yields the readable photos: index, the upright square of `size` pixels, and the square's original side.

    Args:
      photos: the photos of one source.
      size: pixels; the central square of each photo is resized to it.
      refused: called with what cannot be read and why.
    """
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(_opened(photos[0].path)) if photos[0].member is not None else None
        members = archive.infolist() if archive else []
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number, photo in enumerate(photos):
            try:
                path = photo.path
                if archive is not None and photo.member is not None:
                    path = _unpacked(archive, members[photo.member], scratch, photo)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # about transparency, once for each
                    picture = open_rgb(path, least=_LEAST_SIDE, cut=True)
            except UserError as error:
                refused(photo, str(error).replace(str(path), photo.name))
                continue
            yield number, np.asarray(_resized(picture, size)), picture.width


def _resized(picture: Image.Image, size: int) -> Image.Image:
    return picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.LANCZOS)


def _in_folder(folder: pathlib.Path) -> list[Listed]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = pathlib.Path(parent, name)
            if path.suffix.lower() in _ENDINGS and not name.startswith("."):
                found.append(_file(path, str(path.relative_to(folder))))
    return sorted(found)


def _in_list(path: pathlib.Path) -> list[Listed]:
    try:
        text = read_text(path, limit=_LARGEST_LIST)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a list of photos: {error}") from error
    names = [line.strip() for line in text.splitlines()]
    return [_file(path.parent / name, name) for name in names if name and not name.startswith("#")]


def _file(path: pathlib.Path, name: str) -> Listed:
    try:
        facts = path.stat()
        mark = f"{facts.st_size} {facts.st_mtime_ns}"
    except (OSError, ValueError):
        mark = "absent"  # which is reported on reading
    return Listed(printable(name, 300), mark, path)


def _in_zip(path: pathlib.Path) -> list[Listed]:
    with _opened(path) as archive:
        found = [
            Listed(printable(entry.filename, 300), f"{entry.file_size} {entry.CRC}", path, number)
            for number, entry in enumerate(archive.infolist())
            if entry.filename.lower().endswith(_ENDINGS)
            and not pathlib.PurePosixPath(entry.filename).name.startswith(".")
        ]
    return sorted(found)


def _opened(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{path} is no readable zip file: {error}") from error


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, scratch: pathlib.Path, photo: Listed) -> pathlib.Path:
    """Returns a file with a zip member's content; its name in the archive is never used as a file name."""
    path = scratch / f"photo{pathlib.PurePosixPath(entry.filename).suffix.lower()}"
    try:
        with archive.open(entry) as member:
            content = member.read(_LARGEST_MEMBER + 1)  # never more, whatever the archive claims
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{photo.name} cannot be unpacked: {error}") from error
    if len(content) > _LARGEST_MEMBER:
        raise UserError(f"{photo.name} holds more than {_LARGEST_MEMBER >> 20} MiB")
    path.write_bytes(content)
    return path
