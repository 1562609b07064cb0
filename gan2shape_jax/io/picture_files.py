"""Opens untrusted picture files: regular files of a closed list of formats, within a memory budget.

What a picture takes is known from its header: it is either rejected there, with a message, or decoded.
"""

import contextlib
import pathlib
import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, ImageFile

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import tiff_directory
from gan2shape_jax.io.picture_headers import Announced, announced
from gan2shape_jax.io.picture_kinds import READ, kind_of
from gan2shape_jax.io.regular_files import MIB, open_regular

__all__ = ["LARGEST", "Decoded", "decode", "opened", "orientation_of"]

LARGEST = 8192  # pixels per side: more is a scan or a mistake
_REDUCED = LARGEST // 2  # pixels of the longer side above which a JPEG may be decoded smaller
_MOST_BYTES = 7 * LARGEST**2  # 448 MiB; Pillow stores RGB in 4 bytes per pixel, and a conversion adds 3
# Peak memory of decoding, bytes per pixel; measured. Other formats take no more than the picture.
_WEBP = 20
_COMPRESSED_TIFF = 12
# Decoders in C that make one pass over the file; Pillow's others work byte by byte in Python.
_CODECS = ("raw", "zip", "jpeg", "gif", "libtiff")


@contextlib.contextmanager
def opened(path: pathlib.Path, *, reduce: bool = False, read: str = READ) -> Iterator[ImageFile.ImageFile]:
    """Opens a picture file and yields it with its header read and its pixels not yet decoded.

    Args:
        path: the file.
        reduce: whether a large JPEG is decoded at a half, a quarter or an eighth of its sides, so that the longer one
            has less than `LARGEST` pixels.
        read: the formats that are read, for the message about any other.

    Raises:
        UserError: the file is not a regular one, of a format that is not read, damaged, animated, or too large for the
            budget; also for what Pillow raises inside the `with` block.
    """
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large sizes, which are checked here, and about damaged metadata
            kind, told = _kind(file, path, read)
            picture = Image.open(file, formats=[kind])
            whole = picture.size
            if reduce and kind == "JPEG" and max(whole) > _REDUCED:
                least = [max(1, side * _REDUCED // max(whole)) for side in whole]
                picture.draft(None, (least[0], least[1]))
            _check_header(picture, path, kind, told, whole)
            yield picture
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"image {path} does not exist") from None
    except PermissionError:
        raise UserError(f"image {path} may not be read by this user") from None
    except Image.DecompressionBombError:
        raise UserError(f"image {path} is too large: at most {LARGEST} pixels a side") from None
    except Exception as error:  # on damaged files, decoders raise OSError, SyntaxError, struct.error and more
        raise UserError(f"image {path} is damaged or truncated: {error}") from error


class Decoded(NamedTuple):
    """A decoded picture.

    Attributes:
        picture: oriented as in the file.
        orientation: EXIF orientation, 1 (upright) to 8.
        reduction: the file's pixels per pixel of the picture, along a side.
    """

    picture: Image.Image
    orientation: int
    reduction: int


def decode(path: pathlib.Path, *, reduce: bool = False, read: str = READ) -> Decoded:
    """Returns a decoded picture; arguments and errors as for `opened`."""
    with opened(path, reduce=reduce, read=read) as picture:
        drafted = picture.decoderconfig if reduce and picture.format in ("JPEG", "MPO") else ()
        picture.load()
        orientation = orientation_of(picture, path)
        # WebP pictures keep a reference to their decoder.
        return Decoded(
            picture.copy() if picture.format == "WEBP" else picture,
            orientation,
            drafted[0] if drafted and isinstance(drafted[0], int) else 1,
        )


def orientation_of(picture: Image.Image, path: pathlib.Path) -> int:
    """Returns an opened picture's EXIF or XMP orientation, 1 to 8; 1 if there is none that can be read."""
    if picture.format == "TIFF":  # rotated on decoding, its size as soon as it is opened
        return 1
    found = None
    exif = re.sub(b"^(Exif\0\0){1,2}", b"", _exif(picture))
    try:
        directory = tiff_directory.require_modest(exif)
    except ValueError as error:
        raise UserError(f"image {path} is refused: {error}") from error
    if directory is not None:
        found = directory.numbers.get(0x0112)
    if found is None:
        xmp = picture.info.get("XML:com.adobe.xmp") or picture.info.get("xmp") or b""
        text = xmp if isinstance(xmp, bytes) else xmp.encode("utf-8", "replace")
        match = re.search(rb'tiff:Orientation(?:="|>)([0-9])', text)
        found = int(match[1]) if match else 1
    return found if 1 <= found <= 8 else 1


def _exif(picture: Image.Image) -> bytes:
    exif = picture.info.get("exif")
    text = picture.info.get("Raw profile type exif")
    if exif is None and isinstance(text, str):  # PNG from ImageMagick: three lines, then hexadecimal digits
        with contextlib.suppress(ValueError):
            return bytes.fromhex("".join(text.split("\n")[3:]))
    return exif if isinstance(exif, bytes) else b""


def _kind(file, path: pathlib.Path, read: str) -> tuple[str, Announced]:
    head = file.read(64)
    if not head:
        raise UserError(f"image {path} is empty (0 bytes)")
    try:
        kind = kind_of(head)
    except ValueError as error:
        told = f"image {path} is {error}" if str(error) else f"{path} is not an image of a kind that is known"
        raise UserError(f"{told}; {read} are read") from None
    try:
        return kind, announced(file, kind)
    except ValueError as error:
        raise UserError(f"image {path} is refused: {error}") from None


def _check_header(
    picture: ImageFile.ImageFile, path: pathlib.Path, kind: str, told: Announced, whole: tuple[int, int]
) -> None:
    """Rejects what would take too much; `whole` is the size in the file, below which it may be decoded."""
    width, height = picture.size
    if max(width, height) > LARGEST:
        raise UserError(f"image {path} is {width} x {height} pixels: at most {LARGEST} a side, make it smaller first")
    if min(width, height) < 1:
        raise UserError(f"image {path} is {width} x {height} pixels: there is nothing in it")
    # Besides its first picture, the photo, a multi-picture JPEG holds previews and the like.
    frames = 1 if picture.format == "MPO" or kind in ("GIF", "TIFF") else getattr(picture, "n_frames", 1)
    if told.pages or frames > 1:
        raise UserError(f"image {path} is animated or has several pages: save the one that is meant")
    codec = picture.tile[0][0] if picture.tile else "raw"
    if codec not in _CODECS:
        raise UserError(f"image {path} is a {kind} file of a rare kind ({codec}): save it as PNG")
    needed = width * height * max(_bytes_a_pixel(picture, kind, codec), _core(picture) + 3)
    if told.buffered:  # for all the file's pixels, whatever the size decoded at; they are freed late
        in_full = width * height * (_core(picture) + 3) + whole[0] * whole[1] * 2 * told.buffered
        needed = max(needed, in_full)
    if needed > _MOST_BYTES:
        raise UserError(
            f"image {path} is {width} x {height} pixels, which take {needed / MIB:.0f} MiB to decode from such a "
            f"{kind} file: at most {_MOST_BYTES / MIB:g} are taken; make it smaller first, or save it as PNG or "
            "baseline JPEG"
        )


def _bytes_a_pixel(picture: Image.Image, kind: str, codec: str) -> float:
    if kind == "WEBP":
        return _WEBP
    if kind == "TIFF":
        turned = picture.tag_v2.get(0x0112, 1) != 1  # type: ignore[attr-defined]
        return _COMPRESSED_TIFF if codec == "libtiff" else _core(picture) * (2 if turned else 1)
    return _core(picture)


def _core(picture: Image.Image) -> int:
    """Returns what Pillow takes per pixel, bytes."""
    return 1 if picture.mode in ("1", "L", "P") else 2 if picture.mode.startswith("I;16") else 4
