"""The camera's transforms, normals and shading: inverses, planes, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import lighting


def _depth(side, seed=0):
    y, x = np.mgrid[:side, :side] / side
    return 1 + 0.05 * np.sin(5 * x + seed) * np.cos(4 * y)


def test_planes_have_their_normal():
    camera = camera_lib.Camera(12)
    with jax.enable_x64(True):
        frontal = lighting.normals(jnp.full((12, 12), 1.05), camera)
        np.testing.assert_allclose(frontal, np.broadcast_to([0, 0, 1], (12, 12, 3)), atol=1e-12)
        # Points with n . p = 1, for a tilted n.
        normal = np.array([0.3, -0.2, 1.0])
        rays = np.asarray(camera_lib.back_project(jnp.ones((12, 12)), camera))
        tilted = lighting.normals(jnp.asarray(1 / (rays @ normal)), camera)
        expected = np.broadcast_to(normal / np.linalg.norm(normal), (10, 10, 3))
        np.testing.assert_allclose(tilted[1:-1, 1:-1], expected, atol=1e-12)
        np.testing.assert_array_equal(tilted[0], np.broadcast_to([0, 0, 1], (12, 3)))


@pytest.mark.parametrize("unit", [True, False])
def test_normal_gradients(unit):
    camera = camera_lib.Camera(5)
    depth = _depth(5)
    with jax.enable_x64(True):
        normals = jax.jit(lambda d: lighting.normals(d, camera, unit=unit))
        check_grads(normals, (jnp.asarray(depth),), order=1, eps=1e-6, modes=["rev"])


def test_unit_normal_gradients_are_finite():
    camera = camera_lib.Camera(6)
    depth = jnp.asarray([np.ones((6, 6)), np.zeros((6, 6)), _depth(6)], jnp.float32)
    gradient = jax.jit(jax.grad(lambda d: jnp.sum(lighting.normals(d, camera)[..., 0])))(depth)
    assert np.isfinite(gradient).all()


def test_shading_acts_on_zero_to_one():
    albedo = jnp.array([[[-1.0, 0.0, 1.0]]])
    np.testing.assert_allclose(lighting.apply_shading(albedo, jnp.array([[0.5]])), [[[-1, -0.5, 0]]], atol=1e-7)
    np.testing.assert_allclose(lighting.apply_shading(albedo, jnp.ones((1, 1))), albedo)


def test_shading_gradients():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        normal, light, albedo = (jnp.asarray(rng.normal(size=s)) for s in ((3, 3, 3), (4,), (3, 3, 3)))
        shaded = jax.jit(lambda n, lit, a: lighting.apply_shading(a, lighting.shade(n, lit)[0]))
        check_grads(shaded, (normal, light, albedo), order=1, modes=["rev"])


@pytest.mark.parametrize("count", [1, 8])
def test_compiled_shading_of_many_lights_is_what_numpy_gives(count):
    # XLA's CPU compiler of jaxlib 0.10 got this sum wrong for some counts.
    rng = np.random.default_rng(count)
    normal = rng.normal(size=(1, 1, 64, 64, 3)).astype(np.float32)
    light = rng.uniform(-1, 1, size=(1, count, 4)).astype(np.float32)
    direction = np.concatenate([light[..., 2:], np.ones_like(light[..., :1])], axis=-1)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    wanted = np.maximum(np.einsum("abijc,abc->abij", np.broadcast_to(normal, (1, count, 64, 64, 3)), direction), 0)
    shading, diffuse = jax.jit(lighting.shade)(normal, light)
    np.testing.assert_allclose(diffuse, wanted, atol=1e-5)
    np.testing.assert_allclose(shading, light[..., None, None, 0] + light[..., None, None, 1] * wanted, atol=1e-5)


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
