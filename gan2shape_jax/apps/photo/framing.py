"""Draws into a photo where its objects were detected, which one was taken, and the outline of its mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epy
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from gan2shape_jax.detection.gan_detector import resized
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, scaled_box

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import cv2

_DRAWN_SIDE = 1024  # pixels of the drawing's longer side, at most
_LEAST_DRAWN = 384  # small photos are enlarged, so that lines do not hide them
# Distinguishable with red-green colour blindness too (Okabe and Ito), and by their numbers.
_CHOSEN, _OTHER, _OUTLINE = (230, 159, 0), (86, 180, 233), (0, 158, 115)
_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def framing_picture(
    photo: UInt8[np.ndarray, "h w 3"], boxes: Sequence[CropBox], chosen: int, mask: Float[np.ndarray, "s s"]
) -> Image.Image:
    """Returns a photo with its crops, numbered from 1, and the outline of `mask`, in [0, 1], in the chosen one."""
    longer = max(photo.shape)
    factor = min(_DRAWN_SIDE / longer, max(1.0, _LEAST_DRAWN / longer))
    picture = Image.fromarray(resized(photo, factor))
    pen, line = ImageDraw.Draw(picture), max(2, max(picture.size) // 256)

    def draw(points: np.ndarray, box: CropBox, side: int, **style: Any) -> tuple[float, float]:
        """Draws a closed line through points of a crop; returns where it begins."""
        places = [(float(x), float(y)) for x, y in crop_to_photo(points, scaled_box(box, factor), side)]
        pen.line([*places, places[0]], **style)
        return places[0]

    for number, box in enumerate(boxes):
        colour = _CHOSEN if number == chosen else _OTHER
        x, y = draw(_CORNERS, box, 1, fill=colour, width=line, joint="curve")
        if len(boxes) > 1:
            pen.text((x + 2 * line, y + line), str(number + 1), fill=colour, font_size=8 * line)
    if not boxes:
        return picture
    outlines, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        if len(outline) > 2:
            draw(outline[:, 0] + 0.5, boxes[chosen], len(mask), fill=_OUTLINE, width=max(1, line // 2))
    return picture
