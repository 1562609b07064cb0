"""Reads picture files of any colour mode as upright 8-bit squares, and rejects the rest.

Pillow images here are `RGB` or `L`, values 0 to 255, already rotated by their EXIF orientation.
Sides are in pixels. See `picture_files` for what is opened at all.
"""

import pathlib
import warnings

import numpy as np
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.isolated_decoder import decode_isolated
from gan2shape_jax.io.picture_files import LARGEST, Decoded, decode, opened, orientation_of
from gan2shape_jax.io.picture_kinds import READ_ALONE, isolated_kind_of
from gan2shape_jax.io.picture_rows import converted, resized
from gan2shape_jax.io.regular_files import open_regular

__all__ = [
    "LARGEST",
    "crop_and_resize",
    "has_alpha",
    "open_alpha",
    "open_gray",
    "open_rgb",
    "open_upright",
    "picture_size",
    "warn_of_transparency",
]


def open_rgb(
    path: str | pathlib.Path, *, least: int = 16, expected: int | None = None, cut: bool = False
) -> Image.Image:
    """Returns a picture file as an upright RGB square.

    Grey, palette, 16-bit and CMYK pictures are converted; transparent ones are composited over white (see
    `warn_of_transparency`).

    Args:
        path: the file.
        least: smallest side accepted, pixels.
        expected: side in pixels, below which a picture is accepted with a warning that it will be enlarged.
        cut: whether a picture that is not square is cropped to its largest centred square; else it is rejected.

    Raises:
        UserError: the file is missing, truncated, animated, not square, too small, too large or not a picture.
    """
    path = pathlib.Path(path)
    picture, orientation, _ = decode(path)
    box = _square(picture, orientation, path, cut=cut)
    width = min(picture.size)
    if width < least:
        raise UserError(f"{path} is only {width} pixels wide: at least {least} are needed")
    if expected is not None and width < expected:
        warnings.warn(
            f"{path} is {width} pixels wide and is enlarged to {expected}: expect a soft result",
            stacklevel=2,
        )
    if picture.mode == "RGB" and orientation == 1 and box == (0, 0, *picture.size):
        return picture
    return converted(picture, lambda rows: _to_rgb(rows, path), bands=3, orientation=orientation, box=box)


def open_gray(path: str | pathlib.Path, *, cut: bool = False) -> Image.Image:
    """Returns a picture file as an upright 8-bit grey square; arguments and errors as for `open_rgb`."""
    path = pathlib.Path(path)
    picture, orientation, _ = decode(path)
    box = _square(picture, orientation, path, cut=cut)
    if picture.mode == "L" and orientation == 1 and box == (0, 0, *picture.size):
        return picture
    return converted(picture, lambda rows: _to_gray(rows, path), bands=1, orientation=orientation, box=box)


def open_upright(path: str | pathlib.Path, *, least: int) -> tuple[Image.Image, Image.Image | None, int]:
    """Returns a picture file of any shape as upright RGB, its alpha channel, and its reduction factor.

    A JPEG of more than 4096 pixels per side is reduced to a half, a quarter or an eighth of its sides. HEIC and AVIF
    are read too, in a separate process (`isolated_decoder`).

    Args:
        path: the file.
        least: shortest side accepted, pixels.

    Returns:
        The picture, composited over white where transparent; its alpha channel as 8-bit grey, or None if it is absent
        or does not separate an object from a background; and the file's pixels per returned pixel along a side.

    Raises:
        UserError: the file is missing, truncated, animated, too small, too large or not a picture.
    """
    path = pathlib.Path(path)
    picture, orientation, reduction = _decoded(path)
    if min(picture.size) < least:
        sides = picture.size if orientation < 5 else picture.size[::-1]
        raise UserError(f"{path} is only {sides[0]} x {sides[1]} pixels: at least {least} a side are needed")
    alpha = None
    if _transparent(picture) and not _deep(picture):
        alpha = converted(picture, _alpha, bands=1, orientation=orientation, keep=True)
        alpha = alpha if _tells_an_object(alpha) else None
    whole = converted(picture, lambda rows: _to_rgb(rows, path), bands=3, orientation=orientation)
    return whole, alpha, reduction


def _decoded(path: pathlib.Path) -> Decoded:
    """Decodes a picture of any common format; only for single photos are HEIC and AVIF worth a process."""
    try:
        with open_regular(path) as file:
            kind = isolated_kind_of(file.read(64))
    except OSError:  # reported by the next call
        kind = None
    if kind is None:
        return decode(path, reduce=True, read=READ_ALONE)
    picture, reduction = decode_isolated(path, kind)
    return Decoded(picture, 1, reduction)


def has_alpha(path: str | pathlib.Path) -> bool:
    """Whether a picture file's header declares transparency; False if it cannot be read."""
    try:
        with opened(pathlib.Path(path)) as picture:
            return _transparent(picture)
    except UserError:
        return False


def open_alpha(path: str | pathlib.Path, *, cut: bool = False) -> Image.Image | None:
    """Returns a picture file's alpha channel as an upright 8-bit grey square, or None if there is no usable one.

    A usable channel separates an object from its background: some pixels are more than half opaque, and some less.
    Arguments and errors as for `open_rgb`.
    """
    path = pathlib.Path(path)
    picture, orientation, _ = decode(path)
    if not _transparent(picture) or _deep(picture):
        return None
    box = _square(picture, orientation, path, cut=cut)
    alpha = converted(picture, _alpha, bands=1, orientation=orientation, box=box)
    return alpha if _tells_an_object(alpha) else None


def warn_of_transparency(path: str | pathlib.Path) -> None:
    """Warns if a picture file is partly transparent, so that `open_rgb` has composited it over white."""
    path = pathlib.Path(path)
    if not has_alpha(path):
        return
    picture, _, _ = decode(path)
    if not _deep(picture) and np.asarray(converted(picture, _alpha, bands=1)).min() < 255:
        warnings.warn(f"{path} is partly transparent and was laid over white", stacklevel=2)


def picture_size(path: str | pathlib.Path) -> tuple[int, int]:
    """Returns the width and height of a picture once upright, pixels, from its file's header.

    Raises:
        UserError: it is not a picture, or one that `open_rgb` rejects by its header.
    """
    with opened(pathlib.Path(path)) as picture:
        width, height = picture.size
        return (width, height) if orientation_of(picture, pathlib.Path(path)) < 5 else (height, width)


def crop_and_resize(
    picture: Image.Image, crop: int | None, size: int, *, by_area: bool = False, mode: str = ""
) -> Image.Image:
    """Returns the centred square of side `crop`, resized with antialiasing or by area averaging.

    Margins are rounded as in torchvision's CenterCrop; a crop larger than the picture takes all of it.

    Args:
        picture: square.
        crop: side of the crop, pixels, or None for the whole picture.
        size: side of the result, pixels.
        by_area: whether pixels are area averages, as needed for masks.
        mode: Pillow mode that the square is converted to before resizing; '' for the picture's own.
    """
    mode = mode or picture.mode
    side = picture.size[0] if crop is None else min(crop, picture.size[0])
    left = round((picture.size[0] - side) / 2)
    box = (left, left, left + side, left + side)
    if side == size:
        return (picture if side == picture.size[0] else picture.crop(box)).convert(mode)
    return resized(picture, box, size, Image.Resampling.BOX if by_area else Image.Resampling.BILINEAR, mode)


def _square(picture: Image.Image, orientation: int, path: pathlib.Path, *, cut: bool) -> tuple[int, int, int, int]:
    """Returns the largest centred square of an upright picture; raises if it is not square and must not be cut."""
    width, height = picture.size if orientation < 5 else picture.size[::-1]
    if width != height and not cut:
        raise UserError(
            f"{path} is {width} x {height} pixels and has to be square: cut it to a square around the object first, or "
            "set config.data.crop to the side of the centred square that shall be cut out"
        )
    side = min(width, height)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def _tells_an_object(alpha: Image.Image) -> bool:
    low, high = np.asarray(alpha).min(), np.asarray(alpha).max()
    return bool(low < 128 <= high)


def _to_rgb(picture: Image.Image, path: pathlib.Path) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if _deep(picture):
        return _from_deep(picture, path).convert("RGB")
    if _transparent(picture):
        layer = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _to_gray(picture: Image.Image, path: pathlib.Path) -> Image.Image:
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    return _from_deep(picture, path) if _deep(picture) else _to_rgb(picture, path).convert("L")


def _alpha(picture: Image.Image) -> Image.Image:
    return picture.convert("RGBA").getchannel("A")


def _transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def _deep(picture: Image.Image) -> bool:
    return picture.mode.startswith(("I", "F"))


def _from_deep(picture: Image.Image, path: pathlib.Path) -> Image.Image:
    """Scales a 16-bit picture to 8 bits; Pillow's own conversion would clip it to white."""
    values = np.asarray(picture)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path} has {picture.mode} pixels outside 0 to 65535: save it with 8 or 16 bits")
    if values.dtype.kind == "f":
        raise UserError(f"{path} holds floating-point pixels: save it with 8 or 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
