"""Finds the object in a photo, framed as in the GAN's images, for any GAN's category; and draws what was found.

Coarse to fine: crops of all sizes and positions are scored by how typical they are of the GAN's pictures; the best are
moved by the alignment network, which was trained on the GAN's samples, and scored again. Of several crops of the same
object, the most typical is kept.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from gan2shape_jax.apps.photo import alignment
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop, scaled_box
from gan2shape_jax.method.models import Params
from gan2shape_jax.results.pictures import font
from gan2shape_jax.stylegan2.typicality import LIMIT

__all__ = ["Frame", "Score", "find_frames", "framing_picture", "refined"]

# Maps crops (n, SIDE, SIDE, 3), 0 to 255, to how unlike the GAN's pictures they are; lower is better.
Score = Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, " n"]]

_WORK_SIDE = 448  # pixels of the photo's longer side in the search
_LARGEST, _SMALLEST = 1.25, 0.2  # crop sides, as shares of the photo's shorter side
_LEAST = 20  # pixels of the photo: smaller objects are not searched for
_FINER = 1.4  # ratio of successive sizes
_STRIDE = 0.35  # sides between positions: the alignment network recovers from that far off
_FIRST, _SECOND = 24, 6  # crops that are moved in the first round, and in the last
_MOVES = (3, 4)
_GREATEST_TURN = 50  # degrees: objects rotated further are searched for in a rotated photo
_APART = 0.5  # least distance between the centres of two objects, in sides

_DRAWN_SIDE = 1024  # pixels of the drawing's longer side, at most
_LEAST_DRAWN = 384  # small photos are enlarged, so that lines do not hide them
# Distinguishable with red-green colour blindness too (Okabe and Ito), and by their numbers.
_CHOSEN, _OTHER, _OUTLINE = (230, 159, 0), (86, 180, 233), (0, 158, 115)
_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


class Frame(NamedTuple):
    """A square of a photo that shows an object."""

    box: CropBox
    atypicality: float  # how unlike the GAN's pictures it is, in standard deviations of the GAN's samples

    @property
    def known(self) -> bool:
        """Whether it looks like what the GAN draws."""
        return self.atypicality <= LIMIT


def find_frames(photo: UInt8[np.ndarray, "height width 3"], params: Params, score: Score) -> list[Frame]:
    """Returns the objects in a photo, the most typical first; at least one.

    If no crop is typical of the GAN, the photo is also searched sideways and upside down, and if nothing is found
    there either, only the best crop is returned. `params` are the alignment network's.
    """
    work, factor = _reduced(photo)
    found = _search(work, params, score, turned=0.0)
    if not found[0].known:
        for turned in (90.0, 270.0, 180.0):
            other = _search(work, params, score, turned=turned)
            if other[0].known and other[0].atypicality < found[0].atypicality:
                found = other
    good = [frame for frame in found if frame.known] or found[:1]
    return [Frame(scaled_box(frame.box, factor), frame.atypicality) for frame in good]


def refined(
    photo: UInt8[np.ndarray, "height width 3"], box: CropBox, params: Params, score: Score, *, moves: int = sum(_MOVES)
) -> Frame:
    """Returns a box moved onto the object near it, without a search."""
    work, factor = _reduced(photo)
    (frame,) = _moved(work, [Frame(scaled_box(box, 1 / factor), 0)], params, score, moves, upright=box.roll_deg)
    return Frame(scaled_box(frame.box, factor), frame.atypicality)


def _search(work: np.ndarray, params: Params, score: Score, *, turned: float) -> list[Frame]:
    frames = _without(_scored(work, list(_grid(work, turned)), score), _alike)[:_FIRST]
    for keep, moves in zip((_SECOND, None), _MOVES, strict=True):
        frames = _without(_moved(work, frames, params, score, moves, upright=turned), _overlap)[:keep]
    return frames


def _reduced(photo: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the photo reduced to at most `_WORK_SIDE` pixels per side, and the reduction factor."""
    height, width = photo.shape[:2]
    factor = max(height, width) / _WORK_SIDE
    if factor <= 1:
        return photo, 1.0
    sides = max(1, round(width / factor)), max(1, round(height / factor))
    return cv2.resize(photo, sides, interpolation=cv2.INTER_AREA), factor


def _grid(work: np.ndarray, turned: float) -> Iterator[CropBox]:
    height, width = work.shape[:2]
    side = _LARGEST * min(height, width)
    while side >= max(_SMALLEST * min(height, width), min(_LEAST, height, width)):
        for y in _places(height, side):
            for x in _places(width, side):
                yield CropBox(x=x, y=y, side=side, roll_deg=turned)
        side /= _FINER


def _places(length: int, side: float) -> Sequence[float]:
    """Returns centres along one axis; crops extend a little past the photo's edge, or are centred in it."""
    first, last = min(0.4 * side, length / 2), max(length - 0.4 * side, length / 2)
    return np.linspace(first, last, 1 + int(np.ceil((last - first) / (_STRIDE * side)))).tolist()


def _crops(work: np.ndarray, boxes: Sequence[CropBox]) -> UInt8[np.ndarray, "n s s 3"]:
    return np.stack([sample_crop(work, box, alignment.SIDE) for box in boxes])


def _scored(work: np.ndarray, boxes: Sequence[CropBox], score: Score) -> list[Frame]:
    """Returns the boxes with their scores, the best first."""
    scores = score(_crops(work, boxes))
    return sorted(map(Frame, boxes, map(float, scores)), key=lambda frame: frame.atypicality)


def _moved(
    work: np.ndarray, frames: Sequence[Frame], params: Params, score: Score, moves: int, *, upright: float
) -> list[Frame]:
    """Returns the boxes moved onto the objects near them, the best first."""
    boxes, (height, width) = [frame.box for frame in frames], work.shape[:2]
    least, most = min(_LEAST, height, width) / 2, 2 * max(height, width)
    for _ in range(moves):
        for i, step in enumerate(alignment.corrections(params, _crops(work, boxes))):
            box = alignment.corrected(boxes[i], step)
            inside = 0 <= box.x <= width and 0 <= box.y <= height and least <= box.side <= most
            if inside and abs(box.roll_deg - upright) <= _GREATEST_TURN:
                boxes[i] = box
    return _scored(work, boxes, score)


def _without(frames: Sequence[Frame], same: Callable[[CropBox, CropBox], bool]) -> list[Frame]:
    """Returns the frames, best first, without those that are the same as a better one."""
    kept: list[Frame] = []
    for frame in frames:
        if not any(same(frame.box, other.box) for other in kept):
            kept.append(frame)
    return kept


def _alike(one: CropBox, other: CropBox) -> bool:
    """Whether two boxes hardly differ."""
    smaller, larger = sorted((one.side, other.side))
    return larger < 1.2 * smaller and _distance(one, other) < _STRIDE / 2 * smaller


def _overlap(one: CropBox, other: CropBox) -> bool:
    """Whether two boxes show the same object, or part of it."""
    return _distance(one, other) <= _APART * max(one.side, other.side)


def _distance(one: CropBox, other: CropBox) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def framing_picture(
    photo: UInt8[np.ndarray, "h w 3"], boxes: Sequence[CropBox], chosen: int, mask: Float[np.ndarray, "s s"]
) -> Image.Image:
    """Returns a photo with its crops, numbered from 1, and the outline of `mask`, in [0, 1], in the chosen one."""
    height, width = photo.shape[:2]
    factor = min(_DRAWN_SIDE / max(height, width), max(1.0, _LEAST_DRAWN / max(height, width)))
    sides = max(1, round(width * factor)), max(1, round(height * factor))
    shown = cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    picture = Image.fromarray(shown)
    pen, line = ImageDraw.Draw(picture), max(2, max(sides) // 256)

    def draw(points: np.ndarray, box: CropBox, side: int, **style: Any) -> tuple[float, float]:
        """Draws a closed line through points of a crop; returns where it begins."""
        places = [(float(x), float(y)) for x, y in crop_to_photo(points, scaled_box(box, factor), side)]
        pen.line([*places, places[0]], **style)
        return places[0]

    for number, box in enumerate(boxes):
        colour = _CHOSEN if number == chosen else _OTHER
        x, y = draw(_CORNERS, box, 1, fill=colour, width=line, joint="curve")
        if len(boxes) > 1:
            pen.text((x + 2 * line, y + line), str(number + 1), fill=colour, font=font(8 * line))
    outlines, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        if len(outline) > 2:
            draw(outline[:, 0] + 0.5, boxes[chosen], len(mask), fill=_OUTLINE, width=max(1, line // 2))
    return picture
