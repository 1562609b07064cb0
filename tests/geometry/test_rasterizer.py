"""The rasteriser against a brute-force one in numpy, warped depth, what is drawn with it, and their gradients."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from helpers.meshes import brute_force

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, render, visibility
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces
from gan2shape_jax.platforms import tracing_for

_SIDE = 7
_CAMERA = camera_lib.Camera(_SIDE, near=0.1)


def _brute_force(mesh, samples):
    """What rays see of a grid, of which triangles with a vertex at or before `near` are not drawn."""
    points, faces = mesh.reshape(-1, 3).astype(np.float64), grid_faces(_SIDE, _SIDE).copy()
    faces[points[faces, 2].min(1) <= _CAMERA.near] = 0
    return brute_force(points, faces, _CAMERA, samples)


def _grid(side=_SIDE, depth=1.0):
    camera = camera_lib.Camera(side)
    return np.asarray(camera_lib.back_project(jnp.full((side, side), depth, jnp.float32), camera), np.float64)


def _mesh(kind, seed=0):
    """Returns a (7, 7, 3) mesh of a named difficulty."""
    rng = np.random.default_rng(seed)
    mesh = _grid()
    if kind == "rough":
        mesh[..., 2] += rng.uniform(-0.1, 0.1, mesh.shape[:2])
    elif kind == "folded":
        mesh += rng.normal(size=mesh.shape) * [0.03, 0.03, 0.05]
    elif kind == "stretched":
        mesh[..., :2] *= rng.choice([0.2, 1, 30], mesh.shape[:2])[..., None]
        mesh[..., 2] += rng.uniform(-0.1, 0.1, mesh.shape[:2])
    elif kind == "whole screen":
        # One triangle reaches far beyond all sides of the image, behind an ordinary mesh.
        mesh[0, 0], mesh[1, 0], mesh[0, 1] = (-1, -1, 1.3), (0, 1.5, 1.4), (1, -1, 1.5)
    elif kind == "edge-on":
        mesh[..., 2] += rng.uniform(-0.1, 0.1, mesh.shape[:2])
        angles = jnp.array([0, np.pi / 2, 0, 0, 0, 0], jnp.float32)
        mesh = np.asarray(camera_lib.transform(jnp.asarray(mesh, jnp.float32), angles, _CAMERA), np.float64)
    else:  # behind the camera
        mesh[2, 3, 2], mesh[4, 4, 2], mesh[5, 1, 2] = -0.5, 0.05, 0.0
    return mesh


_KINDS = ["rough", "folded", "stretched", "whole screen", "edge-on", "behind the camera"]


def _rasterize(meshes, samples, **options):
    return compiled.rasterize_grid(jnp.asarray(meshes), _CAMERA, samples=samples, **options)


def test_equals_brute_force_in_double_precision():
    samples = rasterizer.SampleGrid.over(_CAMERA, supersample=5).shifted(0.0123)
    meshes = np.stack([_mesh(kind, seed) for kind in _KINDS for seed in range(3)])
    with jax.enable_x64(True):
        actual = _rasterize(meshes, samples)
    for item, mesh in enumerate(meshes):
        triangle, barycentric, depth = _brute_force(mesh, samples)
        assert (triangle >= 0).any()
        np.testing.assert_array_equal(actual.triangle[item], triangle)
        np.testing.assert_allclose(actual.depth[item], depth, rtol=1e-9)
        np.testing.assert_allclose(actual.barycentric[item], barycentric, atol=1e-7)


_SAMPLES = rasterizer.SampleGrid.over(_CAMERA, supersample=4).shifted(0.0123)


@pytest.fixture(scope="module")
def single():
    """Meshes and what is seen of them in single precision: of all kinds, twice the same surface, and one masked."""
    twice = _grid()
    twice[4:] = twice[:3]
    meshes = np.stack([*map(_mesh, _KINDS), twice, _mesh("rough")]).astype(np.float32)
    mask = np.ones(meshes.shape[:3], bool)
    mask[-2, 3] = mask[-1, 3, 3] = False  # of what is twice there, the row between
    return meshes, jax.device_get(_rasterize(meshes, _SAMPLES, mask=mask))


def test_is_close_to_brute_force_in_single_precision(single):
    meshes, actual = single
    for item, mesh in enumerate(meshes[: len(_KINDS)]):
        triangle, _, depth = _brute_force(mesh, _SAMPLES)
        assert np.mean(actual.triangle[item] == triangle) > 0.995
        assert np.mean(np.abs(actual.depth[item] - depth) < 1e-5 * depth) > 0.995


def test_shared_edges_leave_no_holes():
    """Samples on the vertices and edges themselves, and in a slightly shaken mesh, are all covered."""
    side = 24
    shake = np.random.default_rng(0).normal(size=(side, side, 3)) * 1e-4
    meshes = jnp.asarray(np.stack([_grid(side), _grid(side) + shake]), jnp.float32)
    samples = rasterizer.SampleGrid(2 * (int((side - 3) / 0.25),), 1.0, 0.25)
    actual = compiled.rasterize_grid(meshes, camera_lib.Camera(side), samples=samples)
    assert (np.asarray(actual.triangle) >= 0).all()


def test_equal_depths_go_to_the_lowest_triangle(single):
    triangle = single[1].triangle[-2]
    row = triangle[triangle >= 0] % (_SIDE - 1) ** 2 // (_SIDE - 1)
    assert len(row) > 50 and (row <= 1).all()


def test_chunks_that_fit_a_cpus_cache_change_nothing():
    images = jax.random.normal(jax.random.key(0), (6, 5)), jnp.arange(6)

    def function(values, number):
        return jnp.cumsum(values, axis=1) * number[:, None], number + 1

    def in_chunks(*images):
        return visibility.in_chunks(function, *images, size=128 * 128)  # three at a time

    actual = jax.jit(in_chunks).lower(*images)
    chex.assert_trees_all_equal(actual.compile()(*images), function(*images))
    two = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), images)
    chex.assert_trees_all_equal(jax.jit(jax.vmap(in_chunks))(*two), jax.vmap(function)(*two))
    with tracing_for("gpu"):
        whole = jax.jit(in_chunks).lower(*images)
    assert "stablehlo.while" in actual.as_text() and "stablehlo.while" not in whole.as_text()


def test_depth_gradient_equals_finite_differences():
    rng = np.random.default_rng(3)
    samples = rasterizer.SampleGrid.over(_CAMERA, supersample=3)
    with jax.enable_x64(True):
        mesh = _mesh("folded", 5)
        direction = rng.normal(size=mesh.shape) * 1e-7

        def loss(mesh, weights):
            actual = compiled.rasterize_grid(mesh, _CAMERA, samples=samples)
            return jnp.sum(actual.depth * weights), actual

        run = jax.jit(jax.grad(loss, has_aux=True))
        (_, below), (_, above) = (run(mesh + sign * direction, np.ones((21, 21))) for sign in (-1, 1))
        # The derivative holds visibility fixed, so compare where it stays.
        kept = np.asarray((below.triangle == above.triangle) & (above.triangle >= 0))
        assert np.mean(kept) > 0.5
        weights = np.where(kept, rng.normal(size=kept.shape), 0)
        gradient = np.asarray(run(mesh, weights)[0])
        expected = np.sum((above.depth - below.depth) * weights) / 2
        np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-5)
        # Each coordinate has its part in it.
        assert (np.abs(gradient).max((0, 1)) > 0).all()


def test_gradients_are_finite():
    point = np.broadcast_to([0.0, 0.0, 1.0], (_SIDE, _SIDE, 3))
    undefined = _grid()
    undefined[3, 3] = np.nan
    meshes = jnp.asarray([*map(_mesh, _KINDS), point, undefined], jnp.float32)
    gradients = jax.jit(jax.grad(lambda m: jnp.sum(compiled.rasterize_grid(m, _CAMERA).depth ** 2)))(meshes)
    assert np.isfinite(gradients).all()


def test_masked_vertices_take_their_triangles_with_them(single):
    lost = {n for n, corners in enumerate(grid_faces(_SIDE, _SIDE)) if 3 * _SIDE + 3 in corners}
    visible = set(np.unique(single[1].triangle[-1])) - {-1}
    assert len(lost) == 6 and not lost & visible and len(visible) > 50


_SIXTEEN = camera_lib.Camera(16)


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
        visible = compiled.warp_depth(d, v, _SIXTEEN)
        return jnp.sum(visible**2), visible

    arrays = depth.astype(np.float32), view.astype(np.float32)
    (_, visible), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(*arrays)
    return depth, visible, *gradients


def test_identity_view_keeps_the_depth(warped):
    depth, actual = (array[:2] for array in warped[:2])
    np.testing.assert_allclose(actual[0, 1:-1, 1:-1], 1.02, rtol=1e-6)
    # Outer pixels are three quarters empty or half empty, and so beyond the clamp.
    np.testing.assert_allclose(actual[0, 0], _SIXTEEN.background_depth)
    assert np.abs(actual[1] - depth[1])[1:-1, 1:-1].max() < 0.05
    valid = np.asarray(render.valid_pixels(actual, _SIXTEEN))[0]
    assert valid[1:-1, 1:-1].all() and valid.sum() == 14**2


def test_clamped_depth_has_no_gradient(warped):
    actual = warped[1][2]
    np.testing.assert_allclose(actual, _SIXTEEN.background_depth, rtol=1e-6)
    assert (warped[2][2] == 0).all() and (warped[3][2] == 0).all()
    assert (jax.grad(lambda d: jnp.sum(render.valid_pixels(d, _SIXTEEN) * d))(actual * 0.9) == 1).all()


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
