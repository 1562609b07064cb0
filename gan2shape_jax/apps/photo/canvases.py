"""A GAN's samples as they might appear in larger photos: extended beyond their frame, miscropped, lit differently.

What a photo shows beyond the GAN's frame is not known, so samples are extended in several ways, none of them right: by
repeating their outermost pixels, with increasing blur, by a single colour, or by fading into another sample.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from gan2shape_jax.apps.photo import alignment
from gan2shape_jax.geometry.crop_box import CropBox, centred_box, sample_crop

__all__ = ["KINDS", "MARGIN", "Disturbed", "canvas", "disturb", "frame_of", "recoloured"]

KINDS = ("repeated", "blurred", "plain", "faded")
MARGIN = 1.0  # width added on each side of the sample, in sides of it
# Greatest perturbation: sides, log scale, radians. Smaller ones are drawn as often, since the last moves are small.
_SHIFT, _LOG_SCALE, _ROLL = 0.42, 0.58, 0.65
_SHARES = (1.0, 0.5, 0.25)


class Disturbed(NamedTuple):
    """A wrong crop of a canvas.

    Attributes:
      crop: (SIDE, SIDE, 3), 0 to 255.
      correction: the correction that leads back to the sample's own frame.
    """

    crop: Float[np.ndarray, "s s 3"]
    correction: Float[np.ndarray, "4"]


def frame_of(side: int) -> CropBox:
    """Returns where a sample of `side` pixels lies in its canvas."""
    whole = centred_box(_canvas_side(side), _canvas_side(side))
    return CropBox(x=whole.x, y=whole.y, side=side)


def canvas(
    sample: UInt8[np.ndarray, "s s 3"], kind: str, other: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "l l 3"]:
    """Returns a sample in the middle of a picture of three times its side.

    Args:
      sample: the GAN's picture.
      kind: one of `KINDS`.
      other: another picture, which 'faded' fades into.
      rng: random number generator.
    """
    margin = round(MARGIN * sample.shape[0])
    around = ((margin, margin), (margin, margin), (0, 0))
    repeated = np.pad(sample, around, mode="edge")
    if kind == "repeated":
        return repeated
    if kind == "plain":
        rim = np.concatenate([sample[0], sample[:, 0], sample[:, -1]])
        plain = np.broadcast_to(np.median(rim, axis=0).astype(np.uint8), repeated.shape).copy()
        plain[margin:-margin, margin:-margin] = sample
        return plain
    far = _distance(repeated.shape[0], margin)
    if kind == "blurred":
        for reach in (0.0, 0.12, 0.3):
            blurred = cv2.GaussianBlur(repeated, (0, 0), sample.shape[0] * (0.03 + reach / 4))
            repeated = np.where((far > reach * sample.shape[0])[..., None], blurred, repeated)
        return repeated
    if kind == "faded":
        large = cv2.resize(other, repeated.shape[:2], interpolation=cv2.INTER_LINEAR)
        large = cv2.GaussianBlur(large, (0, 0), rng.uniform(0.5, 6))
        share = np.clip(1 - far / (rng.uniform(0.05, 0.3) * sample.shape[0]), 0, 1)[..., None]
        return (repeated * share + large * (1 - share)).astype(np.uint8)
    raise ValueError(f"kind is {kind!r}: one of {KINDS} is possible")


def disturb(picture: UInt8[np.ndarray, "l l 3"], frame: CropBox, rng: np.random.Generator) -> Disturbed:
    """Returns a wrong crop of a canvas, randomly mirrored, recoloured."""
    share = rng.choice(_SHARES)
    shift, (log_scale, roll) = rng.uniform(-_SHIFT, _SHIFT, 2), rng.uniform(-1, 1, 2) * (_LOG_SCALE, _ROLL)
    box = alignment.corrected(frame, share * np.array([*shift, log_scale, roll]))
    crop, correction = sample_crop(picture, box, alignment.SIDE), alignment.between(box, frame)
    if rng.random() < 0.5:
        crop, correction = crop[:, ::-1], correction * (-1, 1, 1, -1)
    return Disturbed(recoloured(crop, rng), correction)


def recoloured(crop: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
    """Returns a picture with changed contrast, brightness, tint, blur and noise: photos differ from a GAN's images."""
    picture = crop.astype(np.float32)
    picture = (picture - picture.mean()) * rng.uniform(0.7, 1.3) + picture.mean() + rng.uniform(-30, 30)
    picture = picture * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0))
    noise = rng.standard_normal(picture.shape, np.float32) * rng.uniform(0, 8)
    return np.clip(picture + noise, 0, 255).astype(np.float32)


def _canvas_side(side: int) -> int:
    return side + 2 * round(MARGIN * side)


def _distance(side: int, margin: int) -> Float[np.ndarray, "l l"]:
    """Returns how far each pixel of a canvas lies outside the sample, pixels."""
    places = np.arange(side, dtype=np.float32)
    out = np.maximum(np.maximum(margin - places, places - (side - 1 - margin)), 0)
    return np.hypot(out[:, None], out[None, :])
