"""Properties of warped depth and of what is drawn with it."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import compiled

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, render


def _sphere(side, radius=0.06):
    """A ball in front of a wall."""
    camera = camera_lib.Camera(side)
    rays = np.asarray(camera_lib.back_project(jnp.ones((side, side)), camera))[..., :2]
    squared = radius**2 - (rays**2).sum(-1)
    return np.where(squared > 0, 1 - np.sqrt(np.maximum(squared, 0)), 1.05).astype(np.float32)


def _norm(array):
    return np.sqrt((np.asarray(array) ** 2).sum(tuple(range(1, array.ndim))))


def test_identity_view_keeps_the_depth():
    camera = camera_lib.Camera(16)
    depth = jnp.asarray(1 + 0.01 * np.random.default_rng(0).normal(size=(2, 16, 16)), jnp.float32)
    plane = jnp.full((2, 16, 16), 1.02)
    found = compiled.warp_depth(plane, jnp.zeros((2, 6)), camera)
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], 1.02, rtol=1e-6)
    # Outer pixels are three quarters empty or half empty, and so beyond the clamp.
    np.testing.assert_allclose(found[:, 0], camera.background_depth)
    warped = compiled.warp_depth(depth, jnp.zeros((2, 6)), camera)
    assert np.abs(warped - depth)[:, 1:-1, 1:-1].max() < 0.05
    valid = render.valid_pixels(found, camera)
    assert valid[:, 1:-1, 1:-1].all() and valid.sum() == 2 * 14**2


def test_clamped_depth_has_no_gradient():
    camera = camera_lib.Camera(12)
    view = jnp.array([0, 0, 0, 0, 0, 0.5])
    found, pull = jax.vjp(lambda d: compiled.warp_depth(d, view, camera), jnp.full((12, 12), 1.0))
    np.testing.assert_allclose(found, camera.background_depth, rtol=1e-6)
    assert (pull(jnp.ones_like(found))[0] == 0).all()
    assert (jax.grad(lambda d: jnp.sum(render.valid_pixels(d, camera) * d))(found * 0.9) == 1).all()


def test_warp_gradient_equals_finite_differences():
    camera = camera_lib.Camera(10)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:10, :10]
    with jax.enable_x64(True):
        depth = jnp.asarray(1 + 0.01 * np.sin(x) * np.cos(y))
        view = jnp.asarray([0.11, -0.23, 0.05, 0.004, -0.003, 0.01])
        weights = np.zeros((10, 10))
        weights[3:-3, 3:-3] = rng.normal(size=(4, 4))
        loss = jax.jit(lambda d, v: jnp.sum(compiled.warp_depth(d, v, camera) * weights))
        gradients = jax.grad(loss, argnums=(0, 1))(depth, view)
        for moved in (0, 1):
            shape = (depth, view)[moved].shape
            direction = jnp.asarray(rng.normal(size=shape)) * 1e-8
            change = (direction, 0 * view) if moved == 0 else (0 * depth, direction)
            ahead, behind = (loss(depth + sign * change[0], view + sign * change[1]) for sign in (1, -1))
            expected = (ahead - behind) / 2
            np.testing.assert_allclose(jnp.sum(gradients[moved] * direction), expected, rtol=1e-4)


def test_gradients_are_finite_in_any_view():
    camera = camera_lib.Camera(16)
    rough = np.random.default_rng(0).uniform(0.9, 1.1, (16, 16))
    depth = jnp.asarray(np.stack([_sphere(16)] * 5 + [rough] * 5), jnp.float32)
    yaw = np.tile([-np.pi / 2, -1.2, 0, 1.2, np.pi / 2], 2)
    view = jnp.asarray(yaw[:, None] * np.eye(6)[1] + 0.1 * np.eye(6)[0], jnp.float32)

    def loss(d, v):
        return jnp.mean(compiled.warp_depth(d, v, camera) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(depth, view)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
    assert (_norm(gradients[0]) > 0).all() and (_norm(gradients[1]) > 0).all()


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
