"""The least that is a result: a flat sheet without colours."""

import numpy as np

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results.reconstruction import Reconstruction


def plain_result(name: str = "a", side: int = 16, **fields) -> Reconstruction:
    picture, sheet = np.zeros((side, side, 3)), np.ones((side, side))
    arrays = dict.fromkeys(("depth", "mask", "input_mask", "input_depth"), sheet)
    arrays |= dict.fromkeys(("signed_albedo", "signed_image", "canonical", "reconstruction"), picture)
    arrays |= {"view": np.zeros(6), "light": np.zeros(4)}
    return Reconstruction(**({"name": name, "camera": Camera(side)} | arrays | fields))
