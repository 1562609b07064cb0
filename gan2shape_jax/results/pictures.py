"""From arrays to pictures: value ranges, colours, sizes, PNG files, and contact sheets of tiles in rows with captions.

Pictures inside the program are `(..., H, W, 3)` in [-1, 1]; pictures for viewing are uint8 of the same layout. Depth is
in scene units; normals point into the surface (a plane facing the camera has (0, 0, 1)). A sheet is a PIL image on
white; its sizes are in pixels.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from gan2shape_jax.errors import one_line

__all__ = ["Tile", "colour_depth", "colour_mask", "depth_range", "enlarge", "font", "on_white", "pasted", "sheet"]
__all__ += ["sheet_size", "strip", "to_uint8", "write_png"]

_COMPRESSION = 3  # of PNG
_FADE = 0.15  # how much of their colour the object's surroundings keep in the depth picture
_INK = (30, 30, 30)
_QUIET = (110, 110, 110)
_GAP, _MARGIN = 8, 24  # between the tiles of a sheet, and around everything
_HEADING, _CAPTION, _LINE, _BELOW = 30, 20, 24, 12  # heights of text, and of the space below a row of tiles


def to_uint8(picture: Float[np.ndarray, "*batch h w 3"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Converts pictures in [-1, 1], or unit normals as n/2 + 1/2, to 0..255, rounded and clamped."""
    return np.rint(np.clip(np.asarray(picture) / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


def on_white(
    picture: Float[np.ndarray, "*batch h w 3"], coverage: Float[np.ndarray, "*batch h w"]
) -> Float[np.ndarray, "*batch h w 3"]:
    """Composites pictures in [-1, 1] over white, with `coverage` in [0, 1] as their opacity."""
    return 1 + (picture - 1) * coverage[..., None]


def depth_range(depth: Float[np.ndarray, "*batch h w"], mask: Float[np.ndarray, "*batch h w"]) -> tuple[float, float]:
    """Returns the nearest and farthest depth worth a colour: the 1st and 99th percentiles on the object."""
    chosen = depth[mask > 0.5]
    near, far = (float(value) for value in np.percentile(chosen if chosen.size else depth, (1, 99)))
    return near, max(far, near + 1e-6)


def colour_depth(
    depth: Float[np.ndarray, "*batch h w"],
    near: float,
    far: float,
    *,
    mask: Float[np.ndarray, "*batch h w"] | None = None,
) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Colours depth: bright is near, dark is far; what lies outside `mask` is faded towards white."""
    share = np.clip((far - depth) / (far - near), 0, 1)
    colours = _magma()[np.minimum(share * 256, 255).astype(int)]
    if mask is not None:
        opacity = _FADE + (1 - _FADE) * np.clip(mask, 0, 1)[..., None]
        colours = 1 + (colours - 1) * opacity
    return np.rint(colours * 255).astype(np.uint8)


@functools.cache
def _magma() -> Float[np.ndarray, "256 3"]:
    import cv2  # here, because importing it changes the environment

    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_MAGMA)[:, 0, ::-1] / 255


def colour_mask(mask: Float[np.ndarray, "*batch h w"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Shows a mask in [0, 1] as grey."""
    return to_uint8(np.repeat(mask[..., None] * 2 - 1, 3, axis=-1))


def enlarge(picture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Resizes a square picture smoothly to `size` pixels per side; one of that size is left alone."""
    if picture.shape[0] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def write_png(path: pathlib.Path, picture: UInt8[np.ndarray, "h w 3"], description: str = "") -> None:
    """Writes an RGB PNG; image viewers show the description among its properties.

    Compression is lower than zlib's default: it takes about half the time, for files that are up to 15% larger.
    """
    info = PngImagePlugin.PngInfo()
    if description:
        info.add_text("Description", description)
    Image.fromarray(picture).save(path, pnginfo=info, compress_level=_COMPRESSION)


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A picture with a caption beneath it."""

    picture: np.ndarray
    caption: str = ""


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's own scalable typeface, which is the same on every machine."""
    return ImageFont.load_default(size=size)


def strip(rows: Sequence[Sequence[np.ndarray] | np.ndarray], *, gap: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """Returns rows of equally sized squares on white, with short rows centred and without captions."""
    return pasted(rows, columns=max(map(len, rows)), side=rows[0][0].shape[0], gap=gap)


def pasted(
    rows: Sequence[Iterable[np.ndarray]], *, columns: int, side: int, gap: int = 2
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns what `strip` does, for rows of up to `columns` squares of `side` pixels, generated one by one or not."""
    step = side + gap
    canvas = np.full((len(rows) * step - gap, columns * step - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        start = (columns - len(row)) * step // 2 if isinstance(row, (Sequence, np.ndarray)) else 0
        for j, picture in enumerate(row):
            left = start + j * step
            canvas[i * step : i * step + side, left : left + side] = picture
    return canvas


def sheet(
    rows: Sequence[tuple[str, Sequence[Tile]]], *, title: str, subtitle: str = "", footer: Sequence[str] = ()
) -> Image.Image:
    """Draws a titled sheet: each row has a heading above its tiles, each tile its caption beneath."""
    side = rows[0][1][0].picture.shape[0]
    columns = max(len(tiles) for _, tiles in rows)
    captioned = [any(tile.caption for tile in tiles) for _, tiles in rows]
    size = sheet_size(side, columns, captioned, subtitle=bool(subtitle), footer=len(footer))
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, _MARGIN), one_line(title)[:80], fill=_INK, font=font(28))
    pen.text((_MARGIN, _MARGIN + 38), subtitle, fill=_QUIET, font=font(16))
    y = _top(bool(subtitle))
    for (name, tiles), has in zip(rows, captioned, strict=True):
        pen.text((_MARGIN, y + 6), name, fill=_INK, font=font(17))
        y += _HEADING
        for j, tile in enumerate(tiles):
            x = _MARGIN + j * (side + _GAP)
            canvas.paste(Image.fromarray(tile.picture), (x, y))
            pen.text((x + side / 2, y + side + 3), tile.caption, fill=_QUIET, font=font(14), anchor="ma")
        y += side + _CAPTION * has + _BELOW
    for number, text in enumerate(footer):
        pen.text((_MARGIN, y + number * _LINE), text, fill=_INK, font=font(16))
    return canvas


def sheet_size(
    side: int, columns: int, captioned: Sequence[bool], *, subtitle: bool = False, footer: int = 0
) -> tuple[int, int]:
    """Returns the width and height of a `sheet`.

    Args:
      side: of the tiles.
      columns: tiles in the longest row.
      captioned: for each row, whether its tiles have captions.
      subtitle: whether there is one.
      footer: number of its lines.
    """
    body = sum(_HEADING + side + _CAPTION * has + _BELOW for has in captioned)
    width = 2 * _MARGIN + columns * side + (columns - 1) * _GAP
    return width, _top(subtitle) + body + footer * _LINE + _MARGIN


def _top(subtitle: bool) -> int:
    return _MARGIN + 40 + 26 * subtitle
