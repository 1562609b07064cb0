"""How well a picture shows an object, and how like its model's picture of it: what a verdict on its 3D goes by.

Nothing here depends on gain, contrast or colour, as far as the object can still be seen.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from gan2shape_jax.detection.detector import LIGHTEST, LUMA, SIDE

# Distances in pixels of a crop of `SIDE`, whose differences are compared: in a sharp picture those of neighbours are
# nearly as large as those of pixels further apart; where it is out of focus, they are as small as a plane's.
NEAR, FAR = 1, 4
LOW, HIGH = 5, 95  # percentiles of luma between which contrast is measured
AROUND = 6  # pixels to either side of those that a pixel's surroundings have, of pictures of `SIDE`
MOUTH_WIDE, MOUTH_HIGH = 0.42, 0.19  # standard deviations of where it is: of its width, and of how far eyes are above


class Assessment(NamedTuple):
    """What a crop shows, and how well, judged by the photo alone; NaN where that is unknown.

    Attributes:
      score: that it shows an object of the GAN's kind, 0 to 1.
      pixels: of the photo, along the crop's side.
      outside: share of where the object usually is that lies outside of the photo, 0 to 1.
      light: luma that the lightest hundredth of the crop exceeds, 0 to 255.
      contrast: range of the object's luma (5th to 95th percentile), as a share of `light`.
      softness: how fast differences of luma grow with distance on the object: about 0.5 in a sharp picture and 1 where
        it is out of focus (the exponent of the structure function, also known as Hurst's).
    """

    score: float
    pixels: float = np.nan
    outside: float = np.nan
    light: float = np.nan
    contrast: float = np.nan
    softness: float = np.nan


def assessed(
    crop: UInt8[np.ndarray, "s s 3"],
    score: float,
    inside: Bool[np.ndarray, "s s"],
    *,
    pixels: float = np.nan,
    outside: float = np.nan,
) -> Assessment:
    """Returns the assessment of a crop of `SIDE` pixels, not lightened; `inside` is where its object usually is."""
    luma = crop @ np.array(LUMA)
    light = float(np.percentile(luma, LIGHTEST))
    low, high = np.percentile(luma[inside], (LOW, HIGH))
    return Assessment(score, pixels, outside, light, float(high - low) / max(light, 1.0), softness(luma, inside))


def softness(luma: Float[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"]) -> float:
    """Returns a picture's softness where it shows its object, see `Assessment`; gain and contrast do not change it."""
    near, far = (_difference(luma, inside, apart) for apart in (NEAR, FAR))
    return float(np.log(max(far, 1e-6) / max(near, 1e-6)) / (2 * np.log(FAR / NEAR)))


def _difference(luma: np.ndarray, inside: np.ndarray, apart: int) -> float:
    """Returns the mean squared difference of the object's pixels that lie this far apart along a row or column."""
    squares, counts = 0.0, 0
    for rows in (False, True):
        values, there = (luma.T, inside.T) if rows else (luma, inside)
        both = there[:, apart:] & there[:, :-apart]
        squares += float(np.square(values[:, apart:] - values[:, :-apart])[both].sum())
        counts += int(both.sum())
    return squares / max(counts, 1)


def unlikeness(
    picture: Float[np.ndarray, "s s 3"], reconstruction: Float[np.ndarray, "s s 3"], inside: Bool[np.ndarray, "s s"]
) -> float:
    """Returns how unlike a model's reconstruction a picture is inside its object: 0 is alike, 1 has nothing in common.

    It is 1 minus the correlation of luma after the mean of each pixel's surroundings is subtracted from it, so that
    neither light, gain, contrast nor colour decide, but where eyes, nose and mouth are.
    """
    around = max(1, round(AROUND * len(picture) / SIDE))
    there, other = (_detail(values @ np.array(LUMA), inside, around)[inside] for values in (picture, reconstruction))
    return 1.0 - float(np.sum(there * other) / max(np.sqrt(np.sum(there**2) * np.sum(other**2)), 1e-9))


def mouth(
    picture: Float[np.ndarray, "s s 3"], landmarks: Float[np.ndarray, "5 2"], inside: Bool[np.ndarray, "s s"]
) -> float:
    """Returns how much there is to see where a face's mouth is, relative to the whole face; NaN without landmarks.

    It is about 1.1 where a mouth is seen and 0.4 where a surgical mask covers it: the standard deviation of luma there,
    after the mean of each pixel's surroundings is subtracted, over the root mean square of that inside the face.
    Whether lips are darker or lighter than what is around them does not count.

    Args:
      picture: of any range; gain and contrast do not change the result.
      landmarks: eyes, nose, corners of the mouth, in pixels, with pixel centres at integers.
      inside: where the face is.
    """
    if not np.isfinite(landmarks).all():
        return float("nan")
    side = len(picture)
    detail = _detail(picture @ np.array(LUMA), inside, max(1, round(AROUND * side / SIDE)))
    (x, y), (_, eyes) = landmarks[3:].mean(0), landmarks[:2].mean(0)
    wide = max(MOUTH_WIDE * abs(landmarks[4, 0] - landmarks[3, 0]), 1.0)
    high = max(MOUTH_HIGH * abs(y - eyes), 1.0)
    rows, columns = np.mgrid[:side, :side]
    weight = inside * np.exp(-((columns - x) ** 2) / (2 * wide**2) - (rows - y) ** 2 / (2 * high**2))
    total = max(float(weight.sum()), 1e-9)
    mean = float((weight * detail).sum()) / total
    there = float((weight * np.square(detail - mean)).sum()) / total
    return float(np.sqrt(there / max(float(np.square(detail[inside]).mean()), 1e-9))) if inside.any() else float("nan")


def _detail(luma: np.ndarray, inside: np.ndarray, around: int) -> np.ndarray:
    """Returns luma less the mean of the object's pixels in the square around each pixel."""
    count = np.maximum(_summed(inside.astype(np.float64), around), 1)
    return np.asarray(luma - _summed(np.where(inside, luma, 0.0), around) / count)


def _summed(values: np.ndarray, around: int) -> np.ndarray:
    """Returns the sum of the values in the square around each pixel; those beyond the edge count as 0."""
    total = np.pad(values, ((around + 1, around), (around + 1, around))).cumsum(0).cumsum(1)
    wide = 2 * around + 1
    return np.asarray(total[wide:, wide:] - total[:-wide, wide:] - total[wide:, :-wide] + total[:-wide, :-wide])
