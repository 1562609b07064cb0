"""Pictures that a GAN did not generate, to compare its samples with: made only from these samples and random numbers.

Nothing here knows of any other category of pictures. Dead leaves (Lee, Mumford and Huang, IJCV 2001) have edges, sizes
and colours like photographs, but show nothing; crops of a sample, its pieces in another order and its spectrum with
other phases have its colours but not its layout. Images are (n, S, S, 3) in [-1, 1], float32.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

__all__ = ["disturbed", "unlike"]

_Images = Float[np.ndarray, "n s s 3"]
_LEAST_CUT, _GREATEST_CUT = 0.22, 0.62  # side of a crop, as a fraction of the sample's


def disturbed(rng: np.random.Generator, images: _Images) -> _Images:
    """Returns the images slightly shifted, rotated, scaled, blurred, relit and noisy, as photographs may differ."""
    return np.stack([_disturbed(rng, image) for image in images]).clip(-1, 1).astype(np.float32)


def unlike(rng: np.random.Generator, images: _Images) -> _Images:
    """Returns a picture unlike a GAN's samples for each sample: a third dead leaves, a sixth of each other kind."""
    makers = (_leaves, _leaves, _cutting, _shuffled, _other_phases, _patches)
    made = [makers[k % len(makers)](rng, image) for k, image in enumerate(images)]
    return np.stack(made).clip(-1, 1).astype(np.float32)


def _disturbed(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    side = len(image)
    middle = (side - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), rng.normal(0, 2), np.exp(rng.normal(0, 0.03)))
    turn[:, 2] = turn[:, 2] + rng.normal(0, side / 64, 2)
    made = cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    if rng.random() < 0.5:
        made = cv2.GaussianBlur(made, (0, 0), rng.uniform(0.2, 0.8) * side / 64)
    if rng.random() < 0.5:
        made = made + rng.normal(0, rng.uniform(0, 0.05), made.shape)
    return np.asarray((made + rng.normal(0, 0.05)) * np.exp(rng.normal(0, 0.1)))


def _leaves(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Draws overlapping ellipses and boxes, few or many, of similar or varied colours; some blurred, grey or noisy."""
    side = 2 * len(image)
    made = np.full((side, side, 3), rng.uniform(-1, 1, 3), np.float32)
    colour, spread = rng.uniform(-1, 1, 3), rng.uniform(0.1, 0.8)
    least, count = rng.uniform(0.016, 0.063) * side, int(rng.integers(20, 400))
    for _ in range(count):
        radius = least / np.sqrt(rng.uniform(0.01, 1))  # areas distributed as in photographs
        where, flat, turned = rng.integers(0, side, 2).tolist(), rng.uniform(0.2, 1), rng.uniform(0, 180)
        box = (where, (2 * radius, 2 * radius * flat), turned)
        painted = np.clip(rng.normal(colour, spread), -1, 1).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(made, box, painted, -1)
        else:
            cv2.fillPoly(made, [cv2.boxPoints(box).astype(np.int32)], painted)
    softness = rng.uniform(0.004, 0.031) * side if rng.random() < 0.5 else 0.0
    soft = cv2.GaussianBlur(made, (0, 0), softness) if softness else made
    small = np.asarray(cv2.resize(soft, (len(image), len(image)), interpolation=cv2.INTER_AREA))
    if rng.random() < 0.3:
        small = np.repeat(small.mean(-1, keepdims=True), 3, -1)
    return small + rng.normal(0, rng.uniform(0.02, 0.3), small.shape) if rng.random() < 0.4 else small


def _cutting(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    side = len(image)
    cut = int(round(rng.uniform(_LEAST_CUT, _GREATEST_CUT) * side))
    x, y = rng.integers(0, side - cut + 1, 2)
    return np.asarray(cv2.resize(image[y : y + cut, x : x + cut], (side, side), interpolation=cv2.INTER_CUBIC))


def _shuffled(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    pieces = int(rng.choice([2, 4]))
    width = len(image) // pieces
    cut = image.reshape(pieces, width, pieces, width, 3).swapaxes(1, 2).reshape(-1, width, width, 3)
    mixed = cut[rng.permutation(pieces * pieces)].reshape(pieces, pieces, width, width, 3)
    return mixed.swapaxes(1, 2).reshape(image.shape)


def _other_phases(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Shifts the phase of every frequency by that of noise, keeping the mean colour: gives a texture."""
    angles = np.angle(np.fft.rfft2(rng.normal(size=image.shape[:2])))
    waves = np.fft.rfft2(image, axes=(0, 1))
    turned = waves * np.exp(1j * angles)[..., None]
    turned[0, 0] = waves[0, 0]
    return np.fft.irfft2(turned, s=image.shape[:2], axes=(0, 1))


def _patches(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Draws noise of any coarseness and strength: single pixels, patches, gradients, or nearly a single colour."""
    side, cells = len(image), 2 ** int(rng.integers(0, np.log2(len(image)) + 1))
    grid = rng.uniform(-1, 1, (cells, cells, 1 if rng.random() < 0.3 else 3)).astype(np.float32)
    grid = np.broadcast_to(grid, (cells, cells, 3)).copy()
    way = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_CUBIC
    strength = rng.uniform(0, 1)
    return (1 - strength) * rng.uniform(-1, 1, 3) + strength * cv2.resize(grid, (side, side), interpolation=way)
