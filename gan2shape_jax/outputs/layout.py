"""Contact sheets: tiles in rows, captions, margins.

Tiles are uint8 `(h, w, 3)`; a sheet is a PIL image on white. Sizes are in pixels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gan2shape_jax.plain_text import one_line

__all__ = ["Tile", "font", "sheet", "strip"]

_INK = (30, 30, 30)
_QUIET = (110, 110, 110)


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A picture with a caption beneath it."""

    picture: np.ndarray
    caption: str = ""


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's own scalable typeface, which is the same on every machine."""
    return ImageFont.load_default(size=size)


def strip(rows: Sequence[Sequence[np.ndarray] | np.ndarray], *, gap: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """Returns rows of equally large pictures on white, short rows centred, without captions."""
    tall, wide = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    canvas = np.full((len(rows) * (tall + gap) - gap, columns * (wide + gap) - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        start = (columns - len(row)) * (wide + gap) // 2
        for j, picture in enumerate(row):
            left = start + j * (wide + gap)
            canvas[i * (tall + gap) : i * (tall + gap) + tall, left : left + wide] = picture
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
    heading, caption, line = 30, 20, 24
    body = sum(heading + side + (caption if any(t.caption for t in tiles) else 0) + 12 for _, tiles in rows)
    width = 2 * margin + columns * side + (columns - 1) * gap
    top = margin + 40 + (26 if subtitle else 0)
    height = top + body + len(footer) * line + margin
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((margin, margin), one_line(title)[:80], fill=_INK, font=font(28))
    if subtitle:
        pen.text((margin, margin + 38), subtitle, fill=_QUIET, font=font(16))
    y = top
    for name, tiles in rows:
        pen.text((margin, y + 6), name, fill=_INK, font=font(17))
        y += heading
        for j, tile in enumerate(tiles):
            x = margin + j * (side + gap)
            canvas.paste(Image.fromarray(tile.picture), (x, y))
            pen.text((x + side / 2, y + side + 3), tile.caption, fill=_QUIET, font=font(14), anchor="ma")
        y += side + (caption if any(t.caption for t in tiles) else 0) + 12
    for text in footer:
        pen.text((margin, y), text, fill=_INK, font=font(16))
        y += line
    return canvas
