"""What a detector returns, and the interface that all detectors share."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from gan2shape_jax.geometry.crop_box import CropBox

SIDE = 64  # pixels of the crops that are assessed
# Scores from which an object may be there, and from which it is.
PERHAPS, SURE = 0.6, 0.85


class Assessment(NamedTuple):
    """What a crop shows, judged by the crop alone."""

    atypicality: float  # how unlike the GAN's pictures it is, in standard deviations of the GAN's samples
    score: float  # that it shows an object of the GAN's kind, 0 to 1


class Detection(NamedTuple):
    """A square of a photo that shows an object, framed as in the GAN's pictures."""

    box: CropBox
    atypicality: float  # as of `Assessment`
    score: float = 0.0  # as of `Assessment`


@runtime_checkable
class Detector(Protocol):
    """Finds objects of one kind."""

    def detect(self, photo: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """Returns the objects in an upright photo, from left to right.

        If there are none with a score of at least `SURE`, the best candidate alone; [] if there is not even that.
        """

    def assess(self, crops: UInt8[np.ndarray, "n s s 3"]) -> list[Assessment]:
        """Returns what each of at least one crop of `SIDE` pixels shows."""


def certain(detections: list[Detection]) -> list[Detection]:
    """Returns the detections that `Detector.detect` returns, of all candidates, the best first."""
    found = [one for one in detections if one.score >= SURE] or detections[:1]
    return sorted(found, key=lambda one: one.box.x)


def apart(one: CropBox, other: CropBox, least: float = 0.5) -> bool:
    """Whether the centres of two boxes are further apart than `least` sides of the larger one."""
    return bool(np.hypot(one.x - other.x, one.y - other.y) > least * max(one.side, other.side))
