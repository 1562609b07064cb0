"""A whole head: an egg with hair, skin and features of a face, and eyes by whose distance it is known to be whole."""

import dataclasses

import numpy as np

from gan2shape_jax.results.reconstruction import Reconstruction
from helpers.plain_result import plain_result

SIDE = 64
HAIR, SKIN = (60, 40, 20), (200, 150, 120)


def egg(*, texture: bool = True) -> Reconstruction:
    """Returns it; colours are hair above the middle's upper third, skin below, and stripes and spots as of a face."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    height = np.clip(1 - x**2 / 0.5 - y**2 / 0.8, 0, None)
    mask = (height > 0.05).astype(float)
    colours = np.where((y < -0.3)[..., None], HAIR, SKIN).astype(np.uint8)
    inner = (x**2 / 0.5 + y**2 / 0.8 < 0.45) & (y > -0.3)
    features = np.random.default_rng(0).uniform(size=(SIDE // 4, SIDE // 4)).repeat(4, 0).repeat(4, 1) > 0.5
    colours[inner & features] = (20, 20, 160)
    arrays = {"depth": 1.05 - 0.1 * np.sqrt(height), "mask": mask, "input_mask": mask}
    arrays |= {"signed_albedo": colours / 127.5 - 1, "light": np.array([1.0, 0, 0, 0])}
    result = plain_result("egg", SIDE, **arrays, eyes=0.04)
    return dataclasses.replace(result, texture=colours.repeat(4, 0).repeat(4, 1)) if texture else result
