"""Reads picture files of any colour mode as upright 8-bit pictures, and rejects the rest.

Pillow knows some forty formats. It starts another program for one of them (Ghostscript for EPS), and decodes others
byte by byte in Python; so the list here is closed, and Pillow is asked for the one format that a file begins as. What
decoding HEIC and AVIF takes depends on a video stream inside, so they are read only where single photos are, in a child
process (`sandbox`); there, too, go pictures from strangers.

Pillow images here are `RGB` or `L`, values 0 to 255, already rotated by their EXIF orientation or HEIC's boxes, and in
sRGB's colours where they carry the profile of others. Sides are in pixels.
"""

import contextlib
import io
import os
import pathlib
import re
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageFile, ImageOps

from gan2shape_jax.errors import ArgumentError, UserError, install
from gan2shape_jax.io.files import MIB, open_regular
from gan2shape_jax.io.sandbox import run_limited

LARGEST = 8192  # pixels per side: more is a scan or a mistake
MOST_PIXELS = 4096  # per side of one rendered picture
MOST_GIF_PIXELS = 2**31  # in all frames of one GIF, which its encoder keeps until the last
# What folders, patterns and archives are searched for; a file given by name is tried whatever its ending.
ENDINGS: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".gif", ".bmp")
ENDINGS += (".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif", ".avif")
READ = "PNG, JPEG, WebP, TIFF, GIF, BMP and PPM"
_READ_ALONE = "PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF, BMP and PPM"  # for single photos
LARGEST_FILE = 256 * MIB  # 8192 x 8192 pixels of 24 bits take 192 MiB uncompressed
_REDUCED = LARGEST // 2  # pixels of the longer side above which single photos are decoded smaller
_MEMORY, _SECONDS = 2048 * MIB, 60  # for decoding one picture in a child process
_INSTALL = f"install what reads it with: {install('heic')}, or save it as JPEG or PNG"

# Pillow's names by the first bytes.
_KINDS = {
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"\xff\xd8\xff": "JPEG",
    rb"RIFF....WEBP": "WEBP",
    rb"(II[*+]\x00|MM\x00[*+])": "TIFF",
    rb"GIF8[79]a": "GIF",
    rb"BM": "BMP",
    rb"P[456]\s": "PPM",
}
_JPEG_END, _MISSING, _LEAST_THERE = b"\xff\xd9", 128, 0.5  # its marker; what libjpeg shows then; share of the rows
_TURNING_BOX = re.compile(rb"\0\0\0\x09i(rot|mir)")  # of HEIC and AVIF: rotation, mirror image
_LARGEST_EXIF = 65536  # bytes up to its first directory and that
_AVIF, _HEIC = rb"....ftyp(avi|mif1.{0,40}avif)", rb"....ftyp(hei|hev|mif1|msf1)"
_ALONE = {_AVIF: "AVIF", _HEIC: "HEIF"}
# Common names of other formats, for messages.
_OTHERS = {_AVIF: "AVIF", _HEIC: "HEIC", rb"\s*(<\?xml|<!doctype|<html)": "a web page: has a download failed?"}


class Picture(NamedTuple):
    """A decoded, upright picture."""

    picture: Image.Image  # RGB of sRGB, composited over white where transparent
    # Its alpha channel as 8-bit grey, or None if it is absent or does not separate an object from a background: some
    # pixels more than half opaque, and some less.
    alpha: Image.Image | None
    reduction: int  # the file's pixels per pixel of the picture along a side
    transparent: bool  # whether some pixels are not fully opaque


def open_square(
    path: str | pathlib.Path, *, least: int = 16, expected: int | None = None, cut: bool = False
) -> Picture:
    """Returns a square picture file of any colour mode, of at least so many pixels a side.

    One below `expected` pixels is accepted with a warning that it will be enlarged. With `cut`, one that is not square
    is cropped to its largest centred square. Raises `UserError` for a file that is missing, truncated, animated, not
    square, too small, too large or not a picture.
    """
    picture, _ = _decoded(pathlib.Path(path))
    if picture.width != picture.height and not cut:
        advice = "crop it to a square around the object first, or set config.data.crop to the side of the centred one"
        raise UserError(f"{path} is {picture.width} x {picture.height} pixels and must be square: {advice}")
    picture = central_square(picture)
    if picture.width < least:
        raise UserError(f"{path} is only {picture.width} pixels wide: at least {least} are needed")
    if expected is not None and picture.width < expected:
        soft = f"is enlarged to {expected}: expect a soft result"
        warnings.warn(f"{path} is {picture.width} pixels wide and {soft}", stacklevel=2)
    return finished(picture, path)


def grey_mask(picture: Picture, name: str) -> Image.Image:
    """Returns the mask that a picture shows, as 8-bit grey: its alpha channel, as cut-outs have it, or its brightness.

    Raises `ArgumentError`, with the `name` at its beginning, for one that is transparent and has no opaque object.
    """
    if picture.alpha is None and picture.transparent:
        raise ArgumentError(f"{name} is transparent everywhere: make the object opaque and the rest transparent")
    return picture.picture.convert("L") if picture.alpha is None else picture.alpha


def inverted_fault(mask: Float[np.ndarray, "s s"]) -> str:
    """Returns what is wrong with a mask in [0, 1] that covers much of its border and nothing in the middle; else "".

    It is the rest of a sentence that begins with the mask's name.
    """
    third = len(mask) // 3
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    if border > 1 / 3 and mask[third:-third, third:-third].mean() < 0.05:
        return "covers the border and not the middle: it may be inverted (white, or opaque, is the object)"
    return ""


def open_upright(path: str | pathlib.Path, *, least: int, foreign: bool = False) -> Picture:
    """Returns a picture file of any shape, HEIC and AVIF too, whose shorter side has at least so many pixels.

    A JPEG of more than 4096 pixels per side is reduced to a half, a quarter or an eighth of its sides. A `foreign`
    file, one from a stranger, is decoded in a child process with a limit on memory and time, as HEIC and AVIF always
    are. Raises `UserError` like `open_square`, and where the reader of HEIC is not installed.
    """
    path = pathlib.Path(path)
    if not foreign:
        with contextlib.suppress(OSError), open_regular(path) as file:  # errors are reported below
            foreign = _begins(file.read(64), _ALONE) is not None
    if not foreign:
        return _upright(path, least)
    limits: dict[str, Any] = {"memory": _MEMORY, "seconds": _SECONDS, "source": f"image {path}"}
    pixels, alpha, *facts = run_limited(_upright_pixels, str(path), least, **limits)
    return Picture(Image.fromarray(pixels), None if alpha is None else Image.fromarray(alpha), *facts)


def _upright_pixels(path: str, least: int) -> tuple[np.ndarray, np.ndarray | None, int, bool]:
    picture, alpha, reduction, transparent = _upright(pathlib.Path(path), least)
    return np.asarray(picture), None if alpha is None else np.asarray(alpha), reduction, transparent


def _upright(path: pathlib.Path, least: int) -> Picture:
    picture, reduction = _decoded(path, alone=True)
    if min(picture.size) < least:
        raise UserError(f"{path} is only {picture.width} x {picture.height} pixels: at least {least} a side are needed")
    return finished(picture, path, reduction)


def finished(picture: Image.Image, path: str | pathlib.Path, reduction: int = 1) -> Picture:
    """Returns a decoded picture of any colour mode as the rest of the program takes it."""
    deep = picture.mode.startswith(("I", "F"))
    picture = _in_srgb(_from_deep(picture, path) if deep else picture)
    if not picture.has_transparency_data:
        return Picture(picture.convert("RGB"), None, reduction, False)
    layer = picture.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    alpha = layer.getchannel("A")
    least, most = np.asarray(alpha).min(), np.asarray(alpha).max()
    return Picture(on_white, alpha if least < 128 <= most else None, reduction, bool(least < 255))


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Returns a picture of 8 bits a channel in sRGB's colours; the same if its profile is sRGB, absent or unusable."""
    if not (content := picture.info.get("icc_profile")):
        return picture
    with contextlib.suppress(Exception):  # whatever a broken profile, or a Pillow without this library, raises
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        mode = {"GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip(), "RGB")
        if picture.mode not in (mode, f"{mode}A") and (mode != "RGB" or picture.mode == "CMYK"):
            return picture
        change = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        ramp = Image.linear_gradient("L")
        probe = Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))
        if mode == "RGB" and np.asarray(ImageChops.difference(change.apply(probe), probe)).max() <= 1:
            return picture
        changed: Image.Image = change.apply(picture if picture.mode == mode else picture.convert(mode))
        if picture.has_transparency_data:
            changed.putalpha(picture.convert("RGBA").getchannel("A"))
        return changed
    return picture


def pictures_in(folder: str | pathlib.Path, *, below: bool) -> tuple[list[pathlib.Path], list[str]]:
    """Returns the files in a folder that end as pictures do, and the names of what else is there, both sorted.

    `below` looks into its folders too, each once, linked ones as well. What begins with a dot is neither.
    """
    places, visited = list[pathlib.Path](), set[str]()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        places += [pathlib.Path(parent, name) for name in files if not name.startswith(".")]
        if not below:
            places += [pathlib.Path(parent, name) for name in folders]
            break
    pictures = sorted(path for path in places if path.suffix.lower() in ENDINGS)
    return pictures, sorted(str(path.relative_to(folder)) for path in {*places} - {*pictures})


def has_alpha(path: str | pathlib.Path) -> bool:
    """Whether a picture file's header declares transparency; False if it cannot be read."""
    try:
        with _opened(pathlib.Path(path)) as picture:
            return picture.has_transparency_data
    except UserError:
        return False


def picture_sides(path: str | pathlib.Path) -> tuple[int, int]:
    """Returns the sides of a picture, the shorter one first, from its file's header; raises like `open_square`."""
    with _opened(pathlib.Path(path)) as picture:
        return min(picture.size), max(picture.size)


def crop_and_resize(picture: Image.Image, crop: int | None, size: int) -> Image.Image:
    """Returns the centred square of side `crop` of a square, as (size, size), with antialiasing.

    Margins are rounded as in torchvision's CenterCrop; a crop larger than the picture, or None, takes all of it.
    """
    return central_square(picture, crop).resize((size, size), Image.Resampling.BILINEAR)


def central_square(picture: Image.Image, side: int | None = None) -> Image.Image:
    """Returns the centred square of a picture, of its shorter side or, if it is given and smaller, of this one."""
    side = min(*picture.size, side or LARGEST)
    left, top = (round((length - side) / 2) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def shrunk_mask(picture: Image.Image, crop: int | None, size: int, name: str) -> Float[np.ndarray, "s s"]:
    """Returns a grey square, cropped and resized by area averaging, as (size, size) in [0, 1]; warns by its `name`."""
    # In floats: averages of 8-bit values would be rounded.
    square = central_square(picture, crop).convert("F").resize((size, size), Image.Resampling.BOX)
    mask = np.clip(np.asarray(square, np.float32) / 255, 0, 1)
    if fault := inverted_fault(mask):
        warnings.warn(f"{name} {fault}", stacklevel=2)
    return mask


@contextlib.contextmanager
def _opened(path: pathlib.Path, *, alone: bool = False, end: bytes = b"") -> Iterator[ImageFile.ImageFile]:
    """Opens a picture file and yields it with its header read and its pixels not yet decoded.

    If `alone`, AVIF and HEIC are read, and large JPEGs decoded at a half, a quarter or an eighth of their sides. What
    Pillow raises inside the `with` block becomes a `UserError` too. `end` is added to what is read.
    """
    try:
        with open_regular(path, limit=LARGEST_FILE) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large sizes, which are checked here, and about damaged metadata
            kind = _kind(file.read(64), path, alone=alone)
            boxed = _first_file(file) if kind in ("HEIF", "AVIF") else b""
            if end:
                file.seek(0)
            content = file.read() + end if end else boxed
            picture = Image.open(io.BytesIO(content) if content else file, formats=[kind])
            if orientation := _exif_alone(boxed):
                picture.getexif()[ExifTags.Base.Orientation] = orientation
            if alone and picture.format in ("JPEG", "MPO") and max(picture.size) > _REDUCED:
                least = [max(1, side * _REDUCED // max(picture.size)) for side in picture.size]
                picture.draft(None, (least[0], least[1]))
            width, height = picture.size
            if max(width, height) > LARGEST:
                raise UserError(f"image {path} is {width} x {height} pixels: at most {LARGEST} a side are read")
            # Besides its first picture, the photo, a multi-picture JPEG or HEIC holds previews and the like.
            if picture.format not in ("MPO", "HEIF"):
                with contextlib.suppress(EOFError):
                    picture.seek(1)
                    raise UserError(f"image {path} is animated or has several pages: save the one that you want")
            yield picture
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"image {path} does not exist") from None
    except Image.DecompressionBombError:
        raise UserError(f"image {path} is too large: at most {LARGEST} pixels a side are read") from None
    except Exception as error:  # on damaged files, decoders raise OSError, SyntaxError, struct.error and more
        what = "cannot be read" if isinstance(error, PermissionError) else "is damaged or truncated"
        raise UserError(f"image {path} {what}: {error}") from error


def _decoded(path: pathlib.Path, *, alone: bool = False) -> tuple[Image.Image, int]:
    """Returns a decoded, upright picture of any mode, and the file's pixels per pixel of it along a side.

    If `alone`, what there is of a JPEG that is cut short, if that is half of it or more; a warning says so.
    """
    try:
        return _loaded(path, alone=alone)
    except UserError as error:
        if not alone or "image file is truncated" not in str(error.__cause__):
            raise
        with contextlib.suppress(UserError):  # another format, which the end of a JPEG does not mend
            picture, reduction = _loaded(path, alone=True, end=_JPEG_END)
            there = np.flatnonzero((np.asarray(picture.convert("RGB")) != _MISSING).any(axis=(1, 2)))
            if len(there) >= _LEAST_THERE * picture.height:
                warnings.warn(f"image {path} is cut short: what is missing of it counts as grey", stacklevel=2)
                return picture, reduction
        raise


def _loaded(path: pathlib.Path, *, alone: bool, end: bytes = b"") -> tuple[Image.Image, int]:
    with _opened(path, alone=alone, end=end) as picture:
        drafted = picture.decoderconfig if picture.format in ("JPEG", "MPO") else ()
        picture.load()
        with contextlib.suppress(Exception):  # damaged metadata raise anything
            ImageOps.exif_transpose(picture, in_place=True)
        decoded: Image.Image = picture
        if picture.format not in ("AVIF", "HEIF"):
            return decoded, int(drafted[0]) if drafted else 1
        reduction = -(-max(decoded.size) // _REDUCED)
        return decoded.convert("RGBA" if decoded.has_transparency_data else "RGB").reduce(reduction), reduction


def _first_file(file: BinaryIO) -> bytes:
    """Returns a HEIC up to where another file begins, such as a phone's clip, whose parts could be taken for its."""
    file.seek(0)
    content, end = file.read(), 0
    while 8 <= (size := int.from_bytes(content[end : end + 4])) <= len(content) - end:
        end += size
        if content[end + 4 : end + 8] == b"ftyp":
            return content[:end]
    return content


def _exif_alone(content: bytes) -> int | None:
    """Returns the EXIF orientation of a HEIC or AVIF without boxes that say how it is turned, which readers follow.

    Where there are such boxes they alone count, as the formats say, and EXIF only repeats them. Where there are none,
    the formats take the picture as it is; but what converts JPEGs may keep their EXIF and write no box.
    """
    if _TURNING_BOX.search(content):
        return None
    for start in re.finditer(rb"II\*\0|MM\0\*", content):
        exif = Image.Exif()
        with contextlib.suppress(Exception):  # these bytes may be anything
            exif.load(content[start.start() : start.start() + _LARGEST_EXIF])
            if (orientation := int(exif.get(ExifTags.Base.Orientation, 1))) in range(2, 9):
                return orientation
    return None


def _begins(head: bytes, kinds: dict[bytes, str]) -> str | None:
    return next((kind for start, kind in kinds.items() if re.match(start, head, re.DOTALL | re.IGNORECASE)), None)


def _kind(head: bytes, path: pathlib.Path, *, alone: bool) -> str:
    if not head:
        raise UserError(f"image {path} is empty (0 bytes)")
    kind = _begins(head, _KINDS | _ALONE if alone else _KINDS)
    if kind == "HEIF":
        try:
            import pillow_heif
        except ImportError:
            raise UserError(f"image {path}: it is HEIC; {_INSTALL}") from None
        pillow_heif.register_heif_opener()
    if kind is not None:
        return kind
    other = _begins(head, _OTHERS)
    what = f"image {path} is {other}" if other else f"{path} is not an image of a known kind"
    raise UserError(f"{what}; {_READ_ALONE if alone else READ} are read")


def _from_deep(picture: Image.Image, path: str | pathlib.Path) -> Image.Image:
    """Scales a 16-bit picture to 8 bits; Pillow's own conversion would clip it to white."""
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path} has pixels that are not whole numbers from 0 to 65535: save it with 8 or 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
