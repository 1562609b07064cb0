"""A bundled picture drawn into a landscape of waves: a photo of which it is known where the object is."""

import numpy as np
from PIL import Image

from gan2shape_jax.io.bundled import asset


def placed(picture="ictface/image/006.png", *, width=300, height=220, x=190, y=100, side=96):
    """Returns a photo (height, width, 3), uint8, that shows the picture in `side` pixels around (x, y)."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    photo = np.stack([90 + 40 * np.sin(across / 31), 110 + 30 * np.cos(down / 23), 80 + 0 * down], axis=-1)
    photo = np.clip(photo + np.random.default_rng(0).normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
    with Image.open(asset(picture)) as face:
        square = np.asarray(face.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    photo[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = square
    return photo
