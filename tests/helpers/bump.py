"""A small result for the tests of outputs: a lopsided bump on a sheet."""

import pathlib

import numpy as np

from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results import OutputOptions, Reconstruction, write_outputs
from helpers.plain_result import plain_result

SIZE = 16


def result() -> Reconstruction:
    """A lopsided bump on a sheet, with colours that differ from pixel to pixel."""
    camera = Camera(SIZE)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1
    height = np.clip(1 - (x - 0.1) ** 2 - y**2, 0, None)
    depth = (1.05 - 0.08 * height).astype(np.float32)
    mask = (height > 0.2).astype(np.float32)
    albedo = rng.uniform(-0.9, 0.6, (SIZE, SIZE, 3)).astype(np.float32)
    light = np.array([0.4, 0.6, 0.3, -0.2], np.float32)
    shading, _ = lighting.shade(np.asarray(lighting.normals(depth, camera)), light)
    canonical = np.clip(np.asarray(lighting.apply_shading(albedo, shading)), -1, 1)
    arrays = dict.fromkeys(("depth", "input_depth", "true_depth"), depth) | {"signed_albedo": albedo, "light": light}
    arrays |= dict.fromkeys(("mask", "input_mask"), mask) | {"view": np.array([0.1, -0.3, 0.02, 0.001, 0.002, 0])}
    arrays |= dict.fromkeys(("signed_image", "canonical", "reconstruction"), canonical)
    metrics = {"side": 0.01, "mad": 20.5, "prior": {"side": 0.02, "mad": 30.0}}
    metrics |= {"reconstruction_l1": 0.0, "inversion_l1": None}
    return plain_result("bump", SIZE, **arrays, metrics=metrics, category="face")


def write(result: Reconstruction, folder: pathlib.Path) -> pathlib.Path:
    """Fills a folder with everything, the "GAN" being a negative at half the size."""
    write_outputs(
        result,
        folder,
        gan_project=lambda pictures: -pictures[:, ::2, ::2],
        options=OutputOptions(picture_size=32, turntable_frames=4),
        extra={"history.csv": b"a,b\n"},
    )
    return folder
