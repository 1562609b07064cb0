"""Properties of warped depth and of what is drawn with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, render

_CAMERA = camera_lib.Camera(16)


def _sphere(side, radius=0.06):
    """A ball in front of a wall."""
    camera = camera_lib.Camera(side)
    rays = np.asarray(camera_lib.back_project(jnp.ones((side, side)), camera))[..., :2]
    squared = radius**2 - (rays**2).sum(-1)
    return np.where(squared > 0, 1 - np.sqrt(np.maximum(squared, 0)), 1.05).astype(np.float32)


def _norm(array):
    return np.sqrt((np.asarray(array) ** 2).sum(tuple(range(1, array.ndim))))


@pytest.fixture(scope="module")
def warped():
    """Depth, what is seen of it, and gradients to depth and view: a plane, a rough and a far one, then any views."""
    rough = 1 + 0.01 * np.random.default_rng(0).normal(size=(16, 16))
    rougher = np.random.default_rng(0).uniform(0.9, 1.1, (16, 16))
    depth = np.stack([rough * 0 + 1.02, rough, rough * 0 + 1, *[_sphere(16)] * 5, *[rougher] * 5])
    yaw = np.tile([-np.pi / 2, -1.2, 0, 1.2, np.pi / 2], 2)
    view = np.stack([np.zeros(6)] * 2 + [0.5 * np.eye(6)[5]] + [np.array([0.1, turn, 0, 0, 0, 0]) for turn in yaw])

    def loss(d, v):
        seen = compiled.warp_depth(d, v, _CAMERA)
        return jnp.sum(seen**2), seen

    arrays = depth.astype(np.float32), view.astype(np.float32)
    (_, seen), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(*arrays)
    return depth, seen, *gradients


def test_identity_view_keeps_the_depth(warped):
    depth, found = (array[:2] for array in warped[:2])
    np.testing.assert_allclose(found[0, 1:-1, 1:-1], 1.02, rtol=1e-6)
    # Outer pixels are three quarters empty or half empty, and so beyond the clamp.
    np.testing.assert_allclose(found[0, 0], _CAMERA.background_depth)
    assert np.abs(found[1] - depth[1])[1:-1, 1:-1].max() < 0.05
    valid = np.asarray(render.valid_pixels(found, _CAMERA))[0]
    assert valid[1:-1, 1:-1].all() and valid.sum() == 14**2


def test_clamped_depth_has_no_gradient(warped):
    found = warped[1][2]
    np.testing.assert_allclose(found, _CAMERA.background_depth, rtol=1e-6)
    assert (warped[2][2] == 0).all() and (warped[3][2] == 0).all()
    assert (jax.grad(lambda d: jnp.sum(render.valid_pixels(d, _CAMERA) * d))(found * 0.9) == 1).all()


def test_warp_gradient_equals_finite_differences():
    camera = camera_lib.Camera(10)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:10, :10]
    with jax.enable_x64(True):
        depth = 1 + 0.01 * np.sin(x) * np.cos(y)
        view = np.asarray([0.11, -0.23, 0.05, 0.004, -0.003, 0.01])
        weights = np.zeros((10, 10))
        weights[3:-3, 3:-3] = rng.normal(size=(4, 4))
        loss = jax.jit(jax.value_and_grad(lambda x: jnp.sum(compiled.warp_depth(*x, camera) * weights)))
        gradients = loss((depth, view))[1]
        for moved in (0, 1):
            shape = (depth, view)[moved].shape
            direction = rng.normal(size=shape) * 1e-8
            change = (direction, 0 * view) if moved == 0 else (0 * depth, direction)
            ahead, behind = (loss((depth + sign * change[0], view + sign * change[1]))[0] for sign in (1, -1))
            expected = (ahead - behind) / 2
            np.testing.assert_allclose(np.sum(gradients[moved] * direction), expected, rtol=1e-4)


def test_gradients_are_finite_in_any_view(warped):
    assert all(np.isfinite(part).all() for part in warped)
    assert (_norm(warped[2][3:]) > 0).all() and (_norm(warped[3][3:]) > 0).all()


def test_exchanged_vertices_are_the_ends_of_every_cells_diagonal():
    """The published code hands a cell's colours over in the order of reading, not of its triangles' vertices."""
    side = 5
    camera = camera_lib.Camera(side)
    rng = np.random.default_rng(0)
    colours = rng.uniform(size=(side, side, 3)).astype(np.float32)
    flat = camera_lib.back_project(jnp.ones((side, side)), camera)
    seen = compiled.rasterize_grid(flat, camera, samples=rasterizer.SampleGrid.over(camera, size=4 * side))
    drawn = np.asarray(compiled.interpolate_grid(seen, jnp.asarray(colours), exchanged=True))
    fraction = (np.arange(4 * side) + 0.5) / 4 - 0.5  # image coordinates of the samples
    for row, y in enumerate(fraction):
        for column, x in enumerate(fraction):
            if not (0 <= x < side - 1 and 0 <= y < side - 1) or abs(x % 1 + y % 1 - 1) < 1e-3:
                continue  # outside the mesh, or on the diagonal
            j, i, v, u = int(x), int(y), x % 1, y % 1
            right, below = colours[i + 1, j], colours[i, j + 1]  # exchanged
            if u + v < 1:
                wanted = (1 - u - v) * colours[i, j] + v * right + u * below
            else:
                wanted = (u + v - 1) * colours[i + 1, j + 1] + (1 - u) * right + (1 - v) * below
            np.testing.assert_allclose(drawn[row, column], wanted, atol=1e-4)
