"""Finds the object in a photo, framed as in the GAN's images, for any GAN's category; and draws what was found.

Coarse to fine, at one size whatever the file's: crops of all sizes and positions are scored by how typical they are of
the GAN's pictures; the best are moved by the alignment network (`run.guide`), and looked at more closely. Of several
crops of the same object, the one is kept that most certainly shows it, larger ones before others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epy
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop, scaled_box
from gan2shape_jax.run.guide import PERHAPS, SIDE, SURE, Sight, corrected, corrections

with epy.lazy_imports():  # it comes with an extra, which --help does without
    import cv2

_WORK_SIDE = 448  # pixels of the photo's longer side in the search
_LARGEST, _SMALLEST = 1.25, 0.2  # crop sides, as shares of the photo's shorter side
_LEAST = 20  # pixels of the photo: smaller objects are not searched for
_FINER = 1.4  # ratio of successive sizes
_STRIDE, _COARSER = 0.35, 0.5  # sides between positions, upright and turned: the network recovers from that far off
_KEPT, _MOVES = (32, 12), (3, 6)  # crops that are moved in the first round and in the last, and how often
_LARGER = 1.0  # by what a frame's size counts, beside the odds
_GREATEST_TURN = 50  # degrees: objects rotated further are searched for in a rotated photo
_TILTED = 30  # degrees: beyond this, what is not certain may be an object that is rotated further
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
    certainty: float = 0.0  # that it shows the GAN's kind of object, 0 to 1


def find_frames(photo: UInt8[np.ndarray, "height width 3"], sight: Sight) -> list[Frame]:
    """Returns the objects in a photo, the best first; at least one, of which alone `certainty` may be below `SURE`.

    If the photo has none as it is, or perhaps one far from upright, it is also searched sideways and upside down.
    """
    factor = max(photo.shape) / _WORK_SIDE
    work = _resized(photo, 1 / factor)
    found = _search(work, sight, turned=0.0)
    enough = SURE if abs(found[0].box.roll_deg) > _TILTED else PERHAPS
    for turned in (90.0, 270.0, 180.0) if found[0].certainty < enough else ():
        other = _search(work, sight, turned=turned)
        if other[0].certainty > max(SURE, found[0].certainty):
            found = other
    good = [frame for frame in found if frame.certainty >= SURE] or found[:1]
    return [frame._replace(box=scaled_box(frame.box, factor)) for frame in good]


def moved(work: np.ndarray, boxes: Sequence[CropBox], sight: Sight, moves: int, *, upright: float) -> list[CropBox]:
    """Returns the boxes moved onto the objects near them."""
    boxes, (height, width) = list(boxes), work.shape[:2]
    least, most = min(_LEAST, height, width) / 2, 2 * max(height, width)
    for _ in range(moves):
        for i, step in enumerate(corrections(sight.alignment, _crops(work, boxes))):
            box = corrected(boxes[i], step)
            inside = 0 <= box.x <= width and 0 <= box.y <= height and least <= box.side <= most
            if inside and abs(box.roll_deg - upright) <= _GREATEST_TURN:
                boxes[i] = box
    return boxes


def _candidates(work: np.ndarray, sight: Sight, *, turned: float) -> list[CropBox]:
    """Returns the crops that a search ends with, whatever they show; at most 12."""
    boxes = list(_grid(work, turned))
    for keep, moves in zip(_KEPT, _MOVES, strict=True):
        scores = map(float, sight.score(_crops(work, boxes)))
        frames = _without(sorted(map(Frame, boxes, scores), key=lambda frame: frame.atypicality), _alike)[:keep]
        boxes = moved(work, [frame.box for frame in frames], sight, moves, upright=turned)
    return boxes


def _search(work: np.ndarray, sight: Sight, *, turned: float) -> list[Frame]:
    boxes = _candidates(work, sight, turned=turned)
    seen = zip(boxes, sight.look(_crops(work, boxes)), strict=True)
    return _without(sorted((Frame(box, *one) for box, one in seen), key=_worth, reverse=True), _overlap)


def _worth(frame: Frame) -> float:
    """Returns by what frames are ranked: the logarithm of the odds, and of the size."""
    odds = math.log(max(frame.certainty, 1e-9) / max(1 - frame.certainty, 1e-9))
    return odds + _LARGER * math.log(frame.box.side)


def _resized(photo: np.ndarray, factor: float) -> np.ndarray:
    sides = max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor))
    return cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def _grid(work: np.ndarray, turned: float) -> Iterator[CropBox]:
    height, width = work.shape[:2]
    side = _LARGEST * min(height, width)
    while side >= max(_SMALLEST * min(height, width), min(_LEAST, height, width)):
        apart = side * (_COARSER if turned else _STRIDE)
        for y in _places(height, side, apart):
            for x in _places(width, side, apart):
                yield CropBox(x, y, side, turned)
        side /= _FINER


def _places(length: int, side: float, apart: float) -> Sequence[float]:
    """Returns centres along one axis; crops extend a little past the photo's edge, or are centred in it."""
    first, last = min(0.4 * side, length / 2), max(length - 0.4 * side, length / 2)
    return np.linspace(first, last, 1 + int(np.ceil((last - first) / apart))).tolist()


def _crops(work: np.ndarray, boxes: Sequence[CropBox]) -> UInt8[np.ndarray, "n s s 3"]:
    return np.stack([sample_crop(work, box, SIDE) for box in boxes])


def _without(frames: Sequence[Frame], same: Callable[[CropBox, CropBox], bool]) -> list[Frame]:
    """Returns the frames, best first, without those that are the same as a better one."""
    kept = list[Frame]()
    for frame in frames:
        if not any(same(frame.box, other.box) for other in kept):
            kept.append(frame)
    return kept


def _alike(one: CropBox, other: CropBox) -> bool:
    """Whether two boxes hardly differ."""
    smaller, larger = sorted((one.side, other.side))
    return larger < 1.2 * smaller and math.dist((one.x, one.y), (other.x, other.y)) < _STRIDE / 2 * smaller


def _overlap(one: CropBox, other: CropBox) -> bool:
    """Whether two boxes show the same object, or part of it."""
    return math.dist((one.x, one.y), (other.x, other.y)) <= _APART * max(one.side, other.side)


def framing_picture(
    photo: UInt8[np.ndarray, "h w 3"], boxes: Sequence[CropBox], chosen: int, mask: Float[np.ndarray, "s s"]
) -> Image.Image:
    """Returns a photo with its crops, numbered from 1, and the outline of `mask`, in [0, 1], in the chosen one."""
    longer = max(photo.shape)
    factor = min(_DRAWN_SIDE / longer, max(1.0, _LEAST_DRAWN / longer))
    picture = Image.fromarray(_resized(photo, factor))
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
    outlines, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        if len(outline) > 2:
            draw(outline[:, 0] + 0.5, boxes[chosen], len(mask), fill=_OUTLINE, width=max(1, line // 2))
    return picture
