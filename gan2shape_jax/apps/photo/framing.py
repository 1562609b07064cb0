"""Finds the object in a photo, framed as in the GAN's images, for any GAN's category; and draws what was found.

Coarse to fine: crops of all sizes and positions are scored by how typical they are of the GAN's pictures; the best are
moved by the alignment network, which was trained on the GAN's samples, and scored again. Of several crops of the same
object, the most typical is kept.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from gan2shape_jax.apps.photo import alignment
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop, scaled_box
from gan2shape_jax.method.models import Params
from gan2shape_jax.results.pictures import font

__all__ = ["Frame", "Score", "draw_framing", "find_frames", "framing_picture", "refined"]

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
    """A square that shows an object.

    Attributes:
      box: its place in the photo.
      atypicality: how unlike the GAN's pictures it is, in standard deviations of the GAN's samples.
    """

    box: CropBox
    atypicality: float


def find_frames(
    photo: UInt8[np.ndarray, "height width 3"], params: Params, score: Score, *, limit: float
) -> list[Frame]:
    """Returns the objects in a photo, the most typical first; at least one.

    Args:
      photo: upright.
      params: weights of the alignment network.
      score: scores crops.
      limit: atypicality above which a crop shows no such object: the photo is then also searched sideways and upside
        down, and if nothing is within the limit, only the best is returned.
    """
    work, factor = _reduced(photo)
    found = _search(work, params, score, turned=0.0)
    if found[0].atypicality > limit:
        for turned in (90.0, 270.0, 180.0):
            other = _search(work, params, score, turned=turned)
            if other[0].atypicality < min(limit, found[0].atypicality):
                found = other
    good = [frame for frame in found if frame.atypicality <= limit] or found[:1]
    return [Frame(scaled_box(frame.box, factor), frame.atypicality) for frame in good]


def refined(
    photo: UInt8[np.ndarray, "height width 3"], box: CropBox, params: Params, score: Score, *, moves: int = sum(_MOVES)
) -> Frame:
    """Returns a box moved onto the object near it, without a search."""
    work, factor = _reduced(photo)
    (moved,) = _moved(work, [scaled_box(box, 1 / factor)], params, moves, upright=box.roll_deg)
    (value,) = _scores(work, [moved], score)
    return Frame(scaled_box(moved, factor), value)


def _search(work: np.ndarray, params: Params, score: Score, *, turned: float) -> list[Frame]:
    boxes = list(_grid(work, turned))
    frames = _unlike(_framed(boxes, _scores(work, boxes, score)))[:_FIRST]
    for keep, moves in zip((_SECOND, None), _MOVES, strict=True):
        boxes = _moved(work, [frame.box for frame in frames], params, moves, upright=turned)
        frames = _distinct(_framed(boxes, _scores(work, boxes, score)))[:keep]
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
    least = max(_SMALLEST * min(height, width), min(_LEAST, min(height, width)))
    while side >= least:
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


def _scores(work: np.ndarray, boxes: Sequence[CropBox], score: Score) -> list[float]:
    return [float(value) for value in score(_crops(work, boxes))]


def _framed(boxes: Sequence[CropBox], scores: Sequence[float]) -> list[Frame]:
    return sorted((Frame(box, value) for box, value in zip(boxes, scores, strict=True)), key=lambda f: f.atypicality)


def _moved(work: np.ndarray, boxes: Sequence[CropBox], params: Params, moves: int, *, upright: float) -> list[CropBox]:
    boxes = list(boxes)
    for _ in range(moves):
        steps = alignment.corrections(params, _crops(work, boxes))
        moved = [alignment.corrected(box, one) for box, one in zip(boxes, steps, strict=True)]
        boxes = [_within(work, after, before, upright) for after, before in zip(moved, boxes, strict=True)]
    return boxes


def _within(work: np.ndarray, box: CropBox, before: CropBox, upright: float) -> CropBox:
    """Returns a moved box, or the previous one if it has left the photo or turned too far."""
    height, width = work.shape[:2]
    inside = 0 <= box.x <= width and 0 <= box.y <= height
    sized = min(_LEAST, min(height, width)) / 2 <= box.side <= 2 * max(height, width)
    return box if inside and sized and abs(box.roll_deg - upright) <= _GREATEST_TURN else before


def _unlike(frames: Sequence[Frame]) -> list[Frame]:
    """Returns the frames, best first, without those that hardly differ from a better one."""
    kept: list[Frame] = []
    for frame in frames:
        if all(not _alike(frame.box, other.box) for other in kept):
            kept.append(frame)
    return kept


def _alike(one: CropBox, other: CropBox) -> bool:
    smaller, larger = sorted((one.side, other.side))
    return larger < 1.2 * smaller and _distance(one, other) < _STRIDE / 2 * smaller


def _distinct(frames: Sequence[Frame]) -> list[Frame]:
    """Returns the frames, best first, without those that show the same object as a better one, or part of it."""
    kept: list[Frame] = []
    for frame in frames:
        if all(_distance(frame.box, other.box) > _APART * max(frame.box.side, other.box.side) for other in kept):
            kept.append(frame)
    return kept


def _distance(one: CropBox, other: CropBox) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


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
    factor = min(_DRAWN_SIDE / max(height, width), max(1.0, _LEAST_DRAWN / max(height, width)))
    sides = max(1, round(width * factor)), max(1, round(height * factor))
    shown = cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    picture = Image.fromarray(shown)
    pen, line = ImageDraw.Draw(picture), max(2, max(sides) // 256)
    for number, box in enumerate(boxes):
        colour = _CHOSEN if number == chosen else _OTHER
        corners = _pixels(crop_to_photo(_CORNERS, scaled_box(box, factor), 1))
        pen.line([*corners, corners[0]], fill=colour, width=line, joint="curve")
        if len(boxes) > 1:
            place = (corners[0][0] + 2 * line, corners[0][1] + line)
            pen.text(place, str(number + 1), fill=colour, font=font(8 * line))
    for outline in _outlines(mask):
        points = _pixels(crop_to_photo(outline, scaled_box(boxes[chosen], factor), len(mask)))
        pen.line([*points, points[0]], fill=_OUTLINE, width=max(1, line // 2))
    return picture


def _pixels(places: Float[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in places]


def _outlines(mask: Float[np.ndarray, "s s"]) -> list[Float[np.ndarray, "n 2"]]:
    """Returns the outlines of a mask's pieces, in crop coordinates."""
    found, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [piece[:, 0].astype(np.float64) + 0.5 for piece in found if len(piece) > 2]
