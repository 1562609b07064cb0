"""What a detector returns, the interface that all detectors share, and how light pictures are for them.

GANs hardly draw underexposed pictures, so detectors and networks know little of them: they get such pictures lightened.
Lightness is that of the picture's lightest parts, not its mean, so that what is dark in good light stays dark.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.geometry.crop_box import CropBox

SIDE = 64  # pixels of the crops that are assessed
# Scores from which an object may be there, and from which it is.
PERHAPS, SURE = 0.6, 0.85
# Of 255, the luma that 1% of a picture exceeds: of the bundled GANs' samples, 5% are below the second (108 to 159), and
# half are below the third (191 to 226). What is below the first is lightened to the third, up to the second less so.
DIM, FAIR, LIGHT = 128, 160, 210
MOST_GAIN = 4.0
LUMA, LIGHTEST = (0.299, 0.587, 0.114), 99  # weights of a pixel's colours, and of which percentile lightness is
APART = 0.5  # sides of the larger of two boxes: those that are nearer to each other show one object


class Detection(NamedTuple):
    """A square of a photo that shows an object, framed as in the GAN's pictures."""

    box: CropBox
    score: float  # that it shows an object of the GAN's kind, 0 to 1


@runtime_checkable
class Detector(Protocol):
    """Finds objects of one kind."""

    @property
    def most(self) -> int:
        """How many objects are found in one photo, at most."""

    def detect(self, photo: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """Returns the objects in an upright photo, from left to right.

        If there are none with a score of at least `SURE`, the best candidate alone; [] if there is not even that.
        """

    def scores(self, crops: UInt8[np.ndarray, "n s s 3"]) -> list[float]:
        """Returns how certainly each of at least one crop of `SIDE` pixels shows an object of the kind, 0 to 1."""


def certain(detections: list[Detection]) -> list[Detection]:
    """Returns the detections that `Detector.detect` returns, of all candidates, the best first."""
    sure = [detection for detection in detections if detection.score >= SURE] or detections[:1]
    return sorted(sure, key=lambda detection: detection.box.x)


def apart(first: CropBox, other: CropBox, least: float = APART) -> bool:
    """Whether the centres of two boxes are further apart than `least` sides of the larger one."""
    return bool(np.hypot(first.x - other.x, first.y - other.y) > least * max(first.side, other.side))


def exposure_gain(picture: UInt8[np.ndarray, "h w 3"]) -> float:
    """Returns the factor by which a picture's values are multiplied to be as light as a GAN's: 1 for most pictures."""
    light = float(np.percentile(picture @ np.array(LUMA), LIGHTEST))
    share = np.clip((FAIR - light) / (FAIR - DIM), 0, 1)
    return float(min((LIGHT / max(light, 1.0)) ** share, MOST_GAIN))


def exposed(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a picture as light as a GAN's, see `exposure_gain`; most stay as they are."""
    gain = exposure_gain(picture)
    return picture if gain == 1 else np.clip(np.rint(picture * gain), 0, 255).astype(np.uint8)


def corrected(box: CropBox, correction: Float[np.ndarray, "4"]) -> CropBox:
    """Returns a box moved, scaled and rotated by a correction (dx, dy, log scale, roll).

    The centre moves by (dx, dy) sides of the box, along its own axes; the side is multiplied by exp(log scale); the box
    is rotated clockwise by roll radians.
    """
    dx, dy, log_scale, roll = (float(value) for value in correction)
    cos, sin = math.cos(math.radians(box.roll_deg)), math.sin(math.radians(box.roll_deg))
    x, y = box.x + box.side * (cos * dx - sin * dy), box.y + box.side * (sin * dx + cos * dy)
    return CropBox(x, y, box.side * math.exp(log_scale), box.roll_deg + math.degrees(roll))


def between(box: CropBox, target: CropBox) -> Float[np.ndarray, "4"]:
    """Returns the correction that takes one box to another; the inverse of `corrected`."""
    cos, sin = math.cos(math.radians(box.roll_deg)), math.sin(math.radians(box.roll_deg))
    dx, dy = (target.x - box.x) / box.side, (target.y - box.y) / box.side
    turn = math.radians(target.roll_deg - box.roll_deg)
    return np.array([cos * dx + sin * dy, cos * dy - sin * dx, math.log(target.side / box.side), turn])
