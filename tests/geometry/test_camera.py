"""The camera's transforms: goldens, inverses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parity_record import PER_VALUE, per_value
from jax.test_util import check_grads

from gan2shape_jax.geometry import camera as camera_lib


def _groups(archive):
    return sorted({key.split("/")[0] for key in archive})


def _relative(found, expected):
    axes = tuple(range(1, expected.ndim))
    return np.sqrt(((found - expected) ** 2).sum(axes) / (expected**2).sum(axes))


_NAMES = {
    "rotation": "camera, rotation matrices",
    "grid3d": "camera, back-projected points",
    "warped_grid2d": "camera, warped grid",
    "inv_grid2d": "camera, inverse warped grid",
}


def test_transforms_equal_golden(golden, parity):
    archive = golden("renderer.npz")
    assert _groups(archive)
    for group in _groups(archive):
        data = {key.split("/", 1)[1]: v for key, v in archive.items() if key.startswith(group + "/")}
        camera = camera_lib.Camera(data["depth"].shape[-1])
        depth, view = jnp.asarray(data["depth"]), jnp.asarray(data["view"])
        parity(
            "camera, intrinsics", per_value(camera_lib.intrinsics(camera), data["K"]), 1e-6, "renderer.npz", PER_VALUE
        )
        found = {
            "rotation": camera_lib.rotation_matrix(view[:, :3]),
            "grid3d": camera_lib.back_project(depth, camera),
            "warped_grid2d": camera_lib.warped_grid(depth, view, camera),
            "inv_grid2d": camera_lib.inverse_warped_grid(jnp.asarray(data["half/warped_depth"]), view, camera),
        }
        for name, value in found.items():
            parity(f"{_NAMES[name]}, S={camera.image_size}", _relative(value, data[name]).max(), 1e-5, "renderer.npz")


def test_inverse_transform_undoes_transform():
    camera = camera_lib.Camera(8)
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        points = jnp.asarray(rng.normal(size=(2, 3, 8, 8, 3)))
        view = jnp.asarray(rng.normal(size=(2, 3, 6)))
        there = camera_lib.transform(points, view, camera)
        back = camera_lib.inverse_transform(there, view, camera)
        np.testing.assert_allclose(back, points, atol=1e-12)
        assert np.abs(there - points).max() > 1


def test_projection_undoes_back_projection():
    camera = camera_lib.Camera(9)
    depth = jnp.asarray(np.random.default_rng(2).uniform(0.9, 1.1, (2, 9, 9)), jnp.float32)
    pixels = camera_lib.project(camera_lib.back_project(depth, camera), camera)
    x, y = np.meshgrid(np.arange(9), np.arange(9))
    np.testing.assert_allclose(pixels, np.broadcast_to(np.stack([x, y], -1), pixels.shape), atol=1e-5)
    grid = camera_lib.to_grid(pixels, camera)
    np.testing.assert_allclose(grid[:, 0, 0], -1, atol=1e-5)
    np.testing.assert_allclose(grid[:, -1, -1], 1, atol=1e-5)


@pytest.mark.parametrize("warp", [camera_lib.warped_grid, camera_lib.inverse_warped_grid])
def test_grid_gradients(warp):
    camera = camera_lib.Camera(4)
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        depth, view = (
            jnp.asarray(rng.uniform(0.9, 1.1, (4, 4))),
            jnp.asarray(rng.normal(size=6) * 0.3),
        )
        check_grads(jax.jit(lambda d, v: warp(d, v, camera)), (depth, view), order=1, eps=1e-5)
