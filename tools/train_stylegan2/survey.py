"""Surveys all photos before training: which are duplicates, which are grey, and which look unlike the others.

Photos are 8-bit RGB squares. Likeness is measured on small grey pictures without their coarse shading, by their
distance from the others' mean and first principal components: photos framed differently from the rest stand out.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

__all__ = ["Surveyor", "Survey"]

_SIDE = 16  # pixels of the pictures that are compared: where eyes, nose and outline are, and nothing finer
_COMPONENTS, _EACH = 6, 200  # at most 6, and one per 200 photos: with fewer photos each, they would fit the odd ones
_FITTED = 5000  # photos, at most, that the components are fitted to
_GREY = 3.0  # levels: mean difference of a photo's channels up to which it counts as grey
_FAR = 4.0  # robust standard deviations from which a photo counts as unlike the others
_FEWEST = 50  # photos needed to judge likeness


class Survey(NamedTuple):
    """What was found, by the photos' positions.

    Attributes:
      copies: positions of photos with the same pixels as an earlier one, and that one's position.
      grey: whether each photo has no colours.
      unlikeness: each photo's distance from the others, in robust standard deviations about the median; 0 for all if
        there are too few.
    """

    copies: dict[int, int]
    grey: np.ndarray
    unlikeness: Float[np.ndarray, " n"]

    @property
    def odd(self) -> list[int]:
        """Positions of the photos unlike the others, the most unlike first."""
        order = np.argsort(-self.unlikeness, kind="stable")
        return [int(i) for i in order if self.unlikeness[i] > _FAR]


class Surveyor:
    """Takes photos one by one, keeping little of each."""

    def __init__(self) -> None:
        """Has seen nothing."""
        self._hashes: dict[bytes, int] = {}
        self._copies: dict[int, int] = {}
        self._grey: list[bool] = []
        self._small: list[np.ndarray] = []

    def see(self, photo: UInt8[np.ndarray, "s s 3"]) -> None:
        """Takes the next photo."""
        position = len(self._grey)
        first = self._hashes.setdefault(hashlib.blake2b(photo.tobytes(), digest_size=16).digest(), position)
        if first != position:
            self._copies[position] = first
        levels = photo.astype(np.int16)
        self._grey.append(float((levels.max(axis=2) - levels.min(axis=2)).mean()) < _GREY)
        small = Image.fromarray(photo).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        self._small.append(_without_shading(np.asarray(small, np.float32)))

    def survey(self) -> Survey:
        """Returns the survey of all photos seen so far."""
        return Survey(self._copies, np.asarray(self._grey), _unlikeness(np.asarray(self._small, np.float32)))


def _without_shading(grey: Float[np.ndarray, "s s"]) -> Float[np.ndarray, " d"]:
    coarse = Image.fromarray(grey).resize((_SIDE // 4, _SIDE // 4), Image.Resampling.BOX)
    detail = grey - np.asarray(coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    return (detail / (detail.std() + 0.1)).ravel()  # the same contrast for all


def _unlikeness(pictures: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    if len(pictures) < _FEWEST:
        return np.zeros(len(pictures), np.float32)
    fitted = pictures[:: max(1, len(pictures) // _FITTED)]
    mean = fitted.mean(axis=0)
    _, _, components = np.linalg.svd(fitted - mean, full_matrices=False)
    components = components[: min(_COMPONENTS, len(pictures) // _EACH)]
    rest = pictures - mean
    rest = rest - (rest @ components.T) @ components
    distance = np.linalg.norm(rest, axis=1)
    spread = 1.4826 * np.median(np.abs(distance - np.median(distance))) + 1e-6
    return ((distance - np.median(distance)) / spread).astype(np.float32)
