"""A result whose reconstruction the method's own renderer has made: a lopsided bump, turned and lit from the side."""

import numpy as np

from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import Result
from gan2shape_jax.results.surface import lit, normals, shading
from helpers.plain_result import plain_result


def lit_bump() -> Result:
    """A smooth bump with colours that change slowly, so that pixels of different grids can be compared."""
    size = 48
    camera = Camera(size)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    height = np.clip(1 - ((x - 0.08) / 0.8) ** 2 - (y / 0.9) ** 2, 0, None) ** 0.8
    depth = (1.04 - 0.07 * height - 0.02 * np.exp(-(((x - 0.1) / 0.2) ** 2) - (y / 0.3) ** 2)).astype(np.float32)
    colours = [0.2 + 0.5 * np.sin(3 * x + k) * np.cos(2.5 * y - k) for k in range(3)]
    albedo = np.stack(colours, axis=-1).astype(np.float32)
    mask = (height > 0.15).astype(np.float32)
    light = np.array([0.35, 0.6, 0.5, 0.2], np.float32)
    view = np.array([0.06, -0.2, 0.05, 0.004, -0.003, 0.002], np.float32)
    canonical = lit(albedo, shading(normals(depth, camera), light))
    warped = np.asarray(render.warp_depth(depth, view, camera))
    reconstruction = np.asarray(render.draw_texture(canonical, warped, view, camera))
    arrays = {"depth": depth, "warped_depth": warped, "albedo": albedo, "view": view, "light": light}
    arrays |= {"mask": mask, "input_mask": (warped < 1.035).astype(np.float32)}
    arrays |= {"canonical": np.clip(canonical, -1, 1), "image": reconstruction, "reconstruction": reconstruction}
    return plain_result("bump", size, **arrays, metrics={"side": 0.0123}, category="bump")
