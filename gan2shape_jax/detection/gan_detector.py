"""Finds objects of any kind by what a GAN's samples teach, without labels.

Coarse to fine, at one size whatever the file's: crops of all sizes and positions are scored by how typical they are of
the GAN's pictures; the best are moved by the alignment network, and looked at more closely. Of several crops of the
same object, the one is kept that most certainly shows it, larger ones before others.

Whether a crop shows the GAN's kind of object at all (`GanDetector.scores`) is judged by how typical it is, and by
two things that a search for the most typical crop does not improve: whether the network leads wrong crops of it back to
one place, and how much less typical it is upside down and on its sides. See docs/reports/trust.md.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from etils import epy
from jaxtyping import Float, UInt8

from gan2shape_jax.detection.alignment import between, corrected, corrections
from gan2shape_jax.detection.detector import PERHAPS, SIDE, SURE, Detection, apart, certain, exposed
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop, scaled_box
from gan2shape_jax.method.models import Params

with epy.lazy_imports():  # importing it changes the environment
    import cv2

_WORK_SIDE = 448  # pixels of the photo's longer side in the search
_LARGEST, _SMALLEST = 1.25, 0.2  # crop sides, as shares of the photo's shorter side
_LEAST = 20  # pixels of the photo: smaller objects are not searched for
_FINER = 1.4  # ratio of successive sizes
_STRIDE, _COARSER = 0.35, 0.5  # sides between positions, upright and turned: the network recovers from that far off
_KEPT, _MOVES = (32, 12), (3, 6)  # crops that are moved in the first round and in the last, and how often
_LARGER = 1.0  # by what a crop's size counts, beside the odds
_GREATEST_TURN = 50  # degrees: objects rotated further are searched for in a rotated photo
_TILTED = 30  # degrees: beyond this, what is not certain may be an object that is rotated further

# Wrong crops whose ends are compared, as corrections of the right one.
_NUDGES = np.concatenate([np.diag((0.2, 0.2, 0.3, 0.35)), -np.diag((0.2, 0.2, 0.3, 0.35))])
_LEADS = 4  # corrections of each
_LEAST_SPREAD = 0.003  # below which differences are noise
# The logarithm of the odds: of 1, atypicality, log(spread), and how much more atypical the crop is turned; fitted to
# pictures with and without cats and faces (docs/reports/trust.md).
_ODDS = np.array([-3.84, -0.69, -1.36, 0.64])


@dataclasses.dataclass(frozen=True)
class GanDetector:
    """Finds objects of the kind that a GAN draws; see `detector.Detector`.

    Attributes:
      alignment: the alignment network's weights.
      atypicality: maps crops (n, SIDE, SIDE, 3), 0 to 255, to how unlike the GAN's pictures they are.
      batch: crops that are corrected at a time.
    """

    alignment: Params
    atypicality: Callable[[UInt8[np.ndarray, "n s s 3"]], Float[np.ndarray, " n"]]
    batch: int
    most = _KEPT[-1]

    def detect(self, photo: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """Returns the objects in an upright photo, from left to right, see `detector.Detector`; at least one.

        If the photo has none as it is, or perhaps one far from upright, it is also searched sideways and upside down.
        """
        factor = max(photo.shape) / _WORK_SIDE
        work = exposed(resized(photo, 1 / factor))
        best = self._search(work, turned=0.0)
        enough = SURE if abs(best[0].box.roll_deg) > _TILTED else PERHAPS
        for turned in (90.0, 270.0, 180.0) if best[0].score < enough else ():
            other = self._search(work, turned=turned)
            if other[0].score > max(SURE, best[0].score):
                best = other
        return [detection._replace(box=scaled_box(detection.box, factor)) for detection in certain(best)]

    def scores(self, crops: UInt8[np.ndarray, "n s s 3"]) -> list[float]:
        """Returns how certainly each of at least one crop shows an object of the GAN's kind, 0 to 1."""
        turned = np.concatenate([np.rot90(crops, turns, axes=(1, 2)) for turns in range(4)])
        plain, *others = np.asarray(self.atypicality(turned), np.float64).reshape(4, -1)
        disagreement = np.log(_disagreement(self.alignment, crops, self.batch) + _LEAST_SPREAD)
        odds = _ODDS @ np.stack([np.ones(len(crops)), plain, disagreement, np.min(others, axis=0) - plain])
        certainty: list[float] = (1 / (1 + np.exp(-np.clip(odds, -50, 50)))).tolist()
        return certainty

    def aligned(self, work: np.ndarray, boxes: Sequence[CropBox], moves: int, *, upright: float) -> list[CropBox]:
        """Returns the boxes aligned with the objects near them."""
        boxes, (height, width) = list(boxes), work.shape[:2]
        least, most = min(_LEAST, height, width) / 2, 2 * max(height, width)
        for _ in range(moves):
            for i, step in enumerate(corrections(self.alignment, crops_of(work, boxes), self.batch)):
                box = corrected(boxes[i], step)
                inside = 0 <= box.x <= width and 0 <= box.y <= height and least <= box.side <= most
                if inside and abs(box.roll_deg - upright) <= _GREATEST_TURN:
                    boxes[i] = box
        return boxes

    def candidates(self, work: np.ndarray, *, turned: float) -> list[CropBox]:
        """Returns the crops that a search ends with, whatever they show; at most `most`."""
        boxes = list(_grid(work, turned))
        for keep, moves in zip(_KEPT, _MOVES, strict=True):
            typical = (-float(value) for value in self.atypicality(crops_of(work, boxes)))
            ranked = sorted(map(Detection, boxes, typical), key=lambda detection: detection.score, reverse=True)
            best = _without(ranked, _hardly_differ)[:keep]
            boxes = self.aligned(work, [detection.box for detection in best], moves, upright=turned)
        return boxes

    def _search(self, work: np.ndarray, *, turned: float) -> list[Detection]:
        boxes = self.candidates(work, turned=turned)
        ranked = sorted(map(Detection, boxes, self.scores(crops_of(work, boxes))), key=_worth, reverse=True)
        return _without(ranked, lambda first, other: not apart(first, other))


def _worth(detection: Detection) -> float:
    """Returns by what detections are ranked: the logarithm of the odds, and of the size."""
    odds = math.log(max(detection.score, 1e-9) / max(1 - detection.score, 1e-9))
    return odds + _LARGER * math.log(detection.box.side)


def resized(photo: np.ndarray, factor: float) -> np.ndarray:
    """Returns a photo, uint8, scaled by `factor`."""
    sides = max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor))
    return cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def crops_of(work: np.ndarray, boxes: Sequence[CropBox]) -> UInt8[np.ndarray, "n s s 3"]:
    """Returns the crops of a photo, of `SIDE` pixels."""
    return np.stack([sample_crop(work, box, SIDE) for box in boxes])


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


def _without(ranked: Sequence[Detection], same: Callable[[CropBox, CropBox], bool]) -> list[Detection]:
    """Returns the detections, best first, without those that are the same as a better one."""
    kept = list[Detection]()
    for candidate in ranked:
        if not any(same(candidate.box, other.box) for other in kept):
            kept.append(candidate)
    return kept


def _hardly_differ(first: CropBox, other: CropBox) -> bool:
    """Whether two boxes hardly differ."""
    smaller, larger = sorted((first.side, other.side))
    return larger < 1.2 * smaller and math.dist((first.x, first.y), (other.x, other.y)) < _STRIDE / 2 * smaller


def _disagreement(params: Params, crops: UInt8[np.ndarray, "n s s 3"], size: int) -> Float[np.ndarray, " n"]:
    """Returns how far apart the ends are to which wrong crops of each crop are led: sides, log scale or radians."""
    home = CropBox(SIDE / 2, SIDE / 2, SIDE)
    boxes = [[corrected(home, nudge) for nudge in _NUDGES] for _ in crops]
    for _ in range(_LEADS):
        views = [sample_crop(crop, box, SIDE) for crop, row in zip(crops, boxes, strict=True) for box in row]
        steps = iter(corrections(params, np.stack(views), size))
        boxes = [[_on_crop(corrected(box, next(steps)), box) for box in row] for row in boxes]
    ends = np.array([[between(home, box) for box in row] for row in boxes])
    off = np.abs(ends - np.median(ends, axis=1, keepdims=True)).max(2)
    return np.asarray(np.median(off, axis=1))


def _on_crop(box: CropBox, otherwise: CropBox) -> CropBox:
    """Returns the box if its centre is on the crop and its size says something, otherwise the other one."""
    return box if 0 <= min(box.x, box.y) <= max(box.x, box.y) <= SIDE and SIDE / 6 < box.side < 3 * SIDE else otherwise
