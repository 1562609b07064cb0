"""Contact sheets: tiles in rows, captions, margins.

Tiles are uint8 `(h, w, 3)`; a sheet is a PIL image on white. Sizes are in pixels.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gan2shape_jax.errors import one_line

__all__ = ["Tile", "font", "pasted", "sheet", "sheet_size", "strip"]

_INK = (30, 30, 30)
_QUIET = (110, 110, 110)
_HEADING, _CAPTION, _LINE, _BELOW = 30, 20, 24, 12  # heights of text, and of the space below a row of tiles


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A picture with a caption beneath it."""

    picture: np.ndarray
    caption: str = ""


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's own scalable typeface, which is the same on every machine."""
    return ImageFont.load_default(size=size)


def strip(rows: Sequence[Sequence[np.ndarray] | np.ndarray], *, gap: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """Returns rows of equally sized pictures on white, with short rows centred and without captions."""
    tall, wide = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    canvas = np.full((len(rows) * (tall + gap) - gap, columns * (wide + gap) - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        start = (columns - len(row)) * (wide + gap) // 2
        for j, picture in enumerate(row):
            left = start + j * (wide + gap)
            canvas[i * (tall + gap) : i * (tall + gap) + tall, left : left + wide] = picture
    return canvas


def pasted(
    rows: Sequence[Iterable[np.ndarray]], *, columns: int, side: int, gap: int = 2
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns what `strip` does for rows of `columns` squares of `side` pixels that are generated one by one."""
    step = side + gap
    canvas = np.full((len(rows) * step - gap, columns * step - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            canvas[i * step : i * step + side, j * step : j * step + side] = picture
    return canvas


def sheet(
    rows: Sequence[tuple[str, Sequence[Tile]]],
    *,
    title: str,
    subtitle: str = "",
    footer: Sequence[str] = (),
    gap: int = 8,
    margin: int = 24,
) -> Image.Image:
    """Draws a titled sheet: each row has a heading above its tiles, each tile its caption beneath."""
    side = rows[0][1][0].picture.shape[0]
    columns = max(len(tiles) for _, tiles in rows)
    captioned = [any(tile.caption for tile in tiles) for _, tiles in rows]
    top = _top(margin, bool(subtitle))
    size = sheet_size(side, columns, captioned, subtitle=bool(subtitle), footer=len(footer), gap=gap, margin=margin)
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((margin, margin), one_line(title)[:80], fill=_INK, font=font(28))
    if subtitle:
        pen.text((margin, margin + 38), subtitle, fill=_QUIET, font=font(16))
    y = top
    for name, tiles in rows:
        pen.text((margin, y + 6), name, fill=_INK, font=font(17))
        y += _HEADING
        for j, tile in enumerate(tiles):
            x = margin + j * (side + gap)
            canvas.paste(Image.fromarray(tile.picture), (x, y))
            pen.text((x + side / 2, y + side + 3), tile.caption, fill=_QUIET, font=font(14), anchor="ma")
        y += side + (_CAPTION if any(t.caption for t in tiles) else 0) + _BELOW
    for text in footer:
        pen.text((margin, y), text, fill=_INK, font=font(16))
        y += _LINE
    return canvas


def sheet_size(
    side: int,
    columns: int,
    captioned: Sequence[bool],
    *,
    subtitle: bool = False,
    footer: int = 0,
    gap: int = 8,
    margin: int = 24,
) -> tuple[int, int]:
    """Returns the width and height of a `sheet`.

    Args:
      side: of the tiles.
      columns: tiles in the longest row.
      captioned: for each row, whether its tiles have captions.
      subtitle: whether there is one.
      footer: number of its lines.
      gap: between tiles.
      margin: around everything.
    """
    body = sum(_HEADING + side + (_CAPTION if has else 0) + _BELOW for has in captioned)
    height = _top(margin, subtitle) + body + footer * _LINE + margin
    return 2 * margin + columns * side + (columns - 1) * gap, height


def _top(margin: int, subtitle: bool) -> int:
    return margin + 40 + (26 if subtitle else 0)
