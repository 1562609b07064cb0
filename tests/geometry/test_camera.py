"""The camera's transforms: inverses and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gan2shape_jax.geometry import camera as camera_lib


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
        depth, view = jnp.asarray(rng.uniform(0.9, 1.1, (4, 4))), jnp.asarray(rng.normal(size=6) * 0.3)
        check_grads(jax.jit(lambda d, v: warp(d, v, camera)), (depth, view), order=1, eps=1e-5)
