"""Draws into a photo what was chosen: the crop, other objects that were found, the mask's outline."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, scaled_box
from gan2shape_jax.results.pictures import font

__all__ = ["draw_framing", "framing_picture"]

_SIDE = 1024  # pixels of the drawing's longer side, at most
_LEAST = 384  # small photos are enlarged, so that lines do not hide them
# Distinguishable with red-green colour blindness too (Okabe and Ito), and by their numbers.
_CHOSEN, _OTHER, _OUTLINE = (230, 159, 0), (86, 180, 233), (0, 158, 115)
_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def draw_framing(
    photo: UInt8[np.ndarray, "h w 3"], boxes: Sequence[CropBox], chosen: int, mask: Float[np.ndarray, "s s"]
) -> bytes:
    """Returns `framing_picture` as a JPEG; same arguments."""
    content = io.BytesIO()
    framing_picture(photo, boxes, chosen, mask).save(content, "JPEG", quality=90)
    return content.getvalue()


def framing_picture(
    photo: UInt8[np.ndarray, "h w 3"], boxes: Sequence[CropBox], chosen: int, mask: Float[np.ndarray, "s s"]
) -> Image.Image:
    """Returns a photo with its crops, numbered from 1, and the outline of the object in the chosen one.

    Args:
      photo: upright.
      boxes: the objects' boxes.
      chosen: index of the one that was taken, from 0.
      mask: the mask of that crop, in [0, 1].
    """
    height, width = photo.shape[:2]
    factor = min(_SIDE / max(height, width), max(1.0, _LEAST / max(height, width)))
    sides = max(1, round(width * factor)), max(1, round(height * factor))
    shown = cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    picture = Image.fromarray(shown)
    pen, line = ImageDraw.Draw(picture), max(2, max(sides) // 256)
    for number, box in enumerate(boxes):
        colour = _CHOSEN if number == chosen else _OTHER
        corners = _points(crop_to_photo(_CORNERS, scaled_box(box, factor), 1))
        pen.line([*corners, corners[0]], fill=colour, width=line, joint="curve")
        if len(boxes) > 1:
            place = (corners[0][0] + 2 * line, corners[0][1] + line)
            pen.text(place, str(number + 1), fill=colour, font=font(8 * line))
    for outline in _outlines(mask):
        points = _points(crop_to_photo(outline, scaled_box(boxes[chosen], factor), len(mask)))
        pen.line([*points, points[0]], fill=_OUTLINE, width=max(1, line // 2))
    return picture


def _points(places: Float[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in places]


def _outlines(mask: Float[np.ndarray, "s s"]) -> list[Float[np.ndarray, "n 2"]]:
    """Returns the outlines of a mask's pieces, in crop coordinates."""
    found, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [piece[:, 0].astype(np.float64) + 0.5 for piece in found if len(piece) > 2]
