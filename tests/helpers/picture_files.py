"""Pictures that tests write: a square of noise, and a way to save one in any colour mode."""

import pathlib

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def save(path: pathlib.Path, pixels=PIXELS, mode="RGB", **options) -> pathlib.Path:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (picture if picture.mode == mode else picture.convert(mode)).save(path, **options)
    return path


def opened(path) -> Image.Image:
    """A picture whose file is read and closed, whatever becomes of it."""
    with Image.open(path) as picture:
        picture.load()
        return picture.copy()
