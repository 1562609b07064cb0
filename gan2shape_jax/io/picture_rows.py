"""Converts, rotates and shrinks pictures a few rows at a time, so that no second whole picture is in memory.

Every pixel comes out as if processed at once: conversion treats pixels independently, and Pillow's resizing is one
pass along rows, rounded, and another along columns.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

__all__ = ["converted", "resized"]

_PIXELS = 2**20  # processed at once

# Views of an upright picture's pixels, arranged as in its file, by EXIF orientation.
_AS_IN_FILE: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def converted(
    picture: Image.Image,
    convert: Callable[[Image.Image], Image.Image],
    *,
    bands: int,
    orientation: int = 1,
    box: tuple[int, int, int, int] | None = None,
    keep: bool = False,
) -> Image.Image:
    """Returns a picture converted and upright; the input is closed unless it is to be kept.

    Args:
      picture: the picture, oriented as in its file.
      convert: converts some rows to 8 bits per band.
      bands: 1 for a grey picture, 3 for RGB.
      orientation: the file's EXIF orientation.
      box: left, top, right and bottom of the part of the upright picture to return; None for all.
      keep: whether the caller still uses the input picture.
    """
    width, height = picture.size
    sides = (height, width) if orientation < 5 else (width, height)
    pixels = np.empty((*sides, bands)[: 2 + (bands > 1)], np.uint8)
    lying = _AS_IN_FILE[orientation](pixels)
    step = max(1, _PIXELS // width)
    for top in range(0, height, step):
        rows = picture.crop((0, top, width, min(top + step, height)))
        lying[top : top + step] = np.asarray(convert(rows))
    if not keep:
        picture.close()  # frees its pixels before they are copied
    if box not in (None, (0, 0, sides[1], sides[0])):
        del lying
        left, top, right, bottom = box
        pixels = np.ascontiguousarray(pixels[top:bottom, left:right])
    return Image.fromarray(pixels)


def resized(
    picture: Image.Image, box: tuple[int, int, int, int], size: int, filter: Image.Resampling, mode: str
) -> Image.Image:
    """Returns a part of a picture in another mode, resized to `size` pixels per side.

    Args:
      picture: any.
      box: left, top, right and bottom of the part.
      size: side of the result, pixels.
      filter: resampling filter.
      mode: Pillow mode in which to resize.
    """
    left, top, right, bottom = box
    step = max(1, _PIXELS // (right - left))
    narrow = Image.new(mode, (size, bottom - top))
    for row in range(top, bottom, step):
        rows = picture.crop((left, row, right, min(row + step, bottom)))
        rows = rows if rows.mode == mode else rows.convert(mode)
        narrow.paste(rows.resize((size, rows.height), filter), (0, row - top))
    return narrow.resize((size, size), filter)
