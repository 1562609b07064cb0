"""Layers, culling, batches of different meshes, other cameras, derivatives along the picture; what is no number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from helpers.meshes import CAMERA, FACES, KINDS, SAMPLES, VERTICES, brute_force, chosen, random_mesh
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import antialias, grid_faces, interpolate, rasterize
from gan2shape_jax.geometry.rasterizer import SampleGrid

_draw = functools.partial(compiled.rasterize, camera=CAMERA, samples=SAMPLES)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_what_lies_behind_what_is_seen(kind):
    vertices, faces = random_mesh(kind, 11)
    with jax.enable_x64(True):
        layers, first = _draw(vertices, faces=faces, layers=6), _draw(vertices, faces=faces)
    each = [brute_force(vertices, faces[k : k + 1], CAMERA, SAMPLES)[2] for k in range(len(faces))]
    order = np.argsort(each, 0, kind="stable")[:6]
    depth = np.take_along_axis(np.array(each), order, 0)
    np.testing.assert_array_equal(layers.triangle, np.where(depth < CAMERA.far, order, -1))
    np.testing.assert_allclose(layers.depth, depth, rtol=1e-7)
    for single, other in zip(jax.tree.leaves(jax.tree.map(lambda leaf: leaf[0], layers)), jax.tree.leaves(first)):
        np.testing.assert_allclose(single, other, rtol=1e-12)
    assert kind == "slivers" or (layers.triangle[1] >= 0).any()


def test_equally_deep_layers_come_in_the_order_of_their_numbers():
    vertices = np.array([[-1.0, -1, 1], [1, -1, 1], [0, 1, 1]])
    with jax.enable_x64(True):
        vertices, faces = compiled.padded(vertices, np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]]))
        layers = _draw(vertices, faces=faces, layers=6)
    visible = np.asarray(layers.triangle[0] >= 0)
    assert visible.any()
    expected = np.array([0, 1, 2, -1, -1, -1])[:, None, None]
    np.testing.assert_array_equal(layers.triangle, np.where(visible, expected, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_one_side_of_triangles_alone_may_be_drawn(kind):
    vertices, faces = random_mesh(kind, 3)
    corners = vertices[faces]
    front = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(-1) < 0
    with jax.enable_x64(True):
        for cull, drawn in (("back", front), ("front", ~front)):
            fragments = _draw(vertices, faces=faces, cull=cull)
            alone = _draw(vertices, faces=chosen(faces, drawn))
            np.testing.assert_array_equal(np.r_[np.flatnonzero(drawn), -1][alone.triangle], fragments.triangle)
            np.testing.assert_allclose(fragments.depth, alone.depth, rtol=1e-12)


def test_the_outside_of_a_mesh_is_its_front():
    """A grid as from a depth map faces the camera; turned by half a turn, it shows its back."""
    camera = Camera(9)
    grid = camera_lib.back_project(jnp.ones((9, 9)), camera)
    turned = camera_lib.transform(grid, jnp.array([0, np.pi, 0, 0, 0, 0.0]), camera)
    for vertices, shown in ((grid, True), (turned, False)):
        drawn = np.asarray(compiled.rasterize(vertices, camera, cull="back").triangle) >= 0
        assert drawn[1:-1, 1:-1].all() == shown and drawn[1:-1, 1:-1].any() == shown


def _meshes():
    meshes = [random_mesh(kind, 4) for kind in KINDS[:3]]
    count, faces = np.array([FACES, 17, 0]), np.stack([faces for _, faces in meshes])
    faces[np.arange(FACES) >= count[:, None]] = -1
    return np.stack([vertices for vertices, _ in meshes]).astype(np.float32), faces, count


def _pictures(vertices, faces, count, colours):
    fragments = rasterize(vertices, CAMERA, faces=faces, count=count, supersample=2, derivatives=True)
    shown, slopes = interpolate(fragments, colours, faces=faces, count=count, derivatives=True)
    samples = interpolate(fragments, colours, faces=faces, count=count, supersample=1)
    blended = antialias(samples, fragments, vertices, CAMERA, faces=faces, count=count)
    return dataclasses.replace(fragments, samples=None), shown, slopes, blended


@pytest.fixture(scope="module")
def batch():
    """Different meshes with their colours, and what is drawn of each alone."""
    vertices, faces, count = _meshes()
    colours = np.random.default_rng(0).uniform(size=(3, VERTICES, 2)).astype(np.float32)
    draw = jax.jit(_pictures)
    alone = [draw(v, f, None, c) for v, f, c in zip(vertices, faces, colours)]  # faces that do not exist are left out
    return (vertices, faces, count, colours), jax.tree.map(lambda *leaves: np.stack(leaves), *alone)


def test_a_batch_of_different_meshes_is_what_each_is_alone(batch):
    arguments, alone = batch
    _assert_close(jax.jit(_pictures)(*arguments), alone)


@pytest.mark.heavy
def test_meshes_mapped_over_and_drawn_uncompiled_are_what_each_is_alone(batch):
    arguments, alone = batch
    _assert_close(jax.jit(jax.vmap(_pictures))(*arguments), alone)
    as_called = _pictures(*(array[1:] for array in arguments))  # every operation a program of its own
    _assert_close(as_called, jax.tree.map(lambda leaf: leaf[1:], alone))


def _assert_close(first, other):
    for leaf, expected in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-4)


def test_a_batch_of_different_meshes_has_layers_and_is_refused_where_a_face_does_not_exist(batch):
    vertices, faces, count, colours = batch[0]
    layered = compiled.rasterize(vertices, CAMERA, faces=faces, count=count, supersample=2, layers=2)
    np.testing.assert_array_equal(layered.triangle[0], batch[1][0].triangle)
    assert compiled.interpolate(layered, colours, faces=faces, count=count).shape == (2, 3, 9, 9, 2)
    with pytest.raises(ValueError, match=r"faces\[1, 17\] is \[-1, -1, -1\], but vertices has 24 rows"):
        rasterize(vertices, CAMERA, faces=faces, count=count + 1)


def test_an_orthographic_camera_sees_along_parallel_rays():
    vertices, faces = random_mesh("small", 6)
    camera = Camera(9, K=(7.0, 8.0, 4.0, 4.3), orthographic=True, extrinsics=np.eye(3, 4) + [[0, 0, 0, 0.1]], near=0.1)
    samples = SampleGrid.over(camera, supersample=3).shifted(0.0123)
    y, x = samples.first + samples.spacing * np.indices(samples.shape)
    at = np.stack([(x - 4 - 0.7) / 7, (y - 4.3 - 0.8) / 8, 1 + 0 * x]).reshape(3, -1)
    corners = np.moveaxis(vertices[faces], 1, 2)  # (F, axis, corner)
    flat = np.concatenate([corners[:, :2], np.ones_like(corners[:, :1])], 1)
    proper = np.abs(np.linalg.det(flat)) > 1e-12
    shares = np.linalg.solve(np.where(proper[:, None, None], flat, np.eye(3)), at)  # (F, corner, sample)
    depth = (shares * corners[:, 2, :, None]).sum(1) + 0.1
    depth[~(proper[:, None] & (shares >= 0).all(1) & (depth > camera.near))] = camera.far
    with jax.enable_x64(True):
        fragments = compiled.rasterize(vertices, camera, faces=faces, samples=samples)
        expected = np.where(depth.min(0) < camera.far, depth.argmin(0), -1).reshape(samples.shape)
        np.testing.assert_array_equal(fragments.triangle, expected)
        np.testing.assert_allclose(fragments.depth, depth.min(0).reshape(samples.shape), rtol=1e-9)
        back = camera_lib.project(camera_lib.back_project(fragments.depth[::3, ::3], camera), camera)
        np.testing.assert_allclose(back, np.stack(np.meshgrid(np.arange(9), np.arange(9)), -1), atol=1e-9)

        def total(vertices):
            visible = rasterize(vertices, camera, faces=faces, samples=samples)
            return jnp.sum(jnp.where(fragments.triangle < 0, 0, visible.depth))

        slope = jax.jit(jax.grad(total))(vertices)
        assert (np.abs(slope) > 0).any(0).all()


def test_a_depth_map_is_warped_for_an_orthographic_camera():
    camera = Camera(8, K=(40.0, 40.0, 3.5, 3.5), orthographic=True)
    warped = compiled.warp_depth(np.full((8, 8), 1.0), np.zeros(6), camera)
    np.testing.assert_allclose(warped[1:-1, 1:-1], 1, rtol=1e-6)
    moved = np.asarray(compiled.warp_depth(np.full((8, 8), 1.0), np.array([0, 0, 0, 2 / 40, 0, 0.05]), camera))
    np.testing.assert_allclose(moved[1:-1, 3:-1], 1.05, rtol=1e-6)
    assert (moved[:, :2] == camera.background_depth).all()
    with pytest.raises(ArgumentError, match="K is missing: an orthographic camera"):
        Camera(8, orthographic=True)
    with pytest.raises(ArgumentError, match="camera is orthographic"):
        camera_lib.intrinsics(camera)


@jax.jit
def _along_the_picture(vertices, faces, colours, camera):
    fragments = rasterize(vertices, camera, faces=faces, samples=SAMPLES, derivatives=True)
    return fragments.triangle, *interpolate(fragments, colours, faces=faces, supersample=1, derivatives=True)


@pytest.mark.parametrize("kind", ["small", "around the camera"])
@pytest.mark.parametrize("orthographic", [False, True])
def test_slopes_are_the_derivatives_along_the_picture(kind, orthographic):
    vertices, faces = random_mesh(kind, 8)
    colours = np.random.default_rng(0).normal(size=(VERTICES, 2))

    def shown(x, y):
        camera = Camera(9, K=(8.0, 8.0, 4 - x, 4 - y), orthographic=orthographic)  # moves the samples by x, y
        return _along_the_picture(vertices, faces, colours, camera)

    with jax.enable_x64(True):
        triangle, _, slopes = jax.device_get(shown(0.0, 0.0))
        step = 1e-7
        for axis, (x, y) in enumerate(np.eye(2) * step):
            (below, low, _), (above, high, _) = jax.device_get((shown(-x, -y), shown(x, y)))
            same = (below == triangle) & (above == triangle) & (triangle >= 0)
            assert same.mean() > 0.1
            np.testing.assert_allclose(slopes[same][..., axis], ((high - low) / 2 / step)[same], rtol=1e-4, atol=1e-4)
        assert (slopes[triangle < 0] == 0).all()


def test_fragments_carry_their_samples():
    vertices, faces = random_mesh("small", 1)
    fragments = compiled.rasterize(vertices.astype(np.float32), CAMERA, faces=faces, samples=SAMPLES)
    colours = np.ones((VERTICES, 1), np.float32)
    samples = compiled.interpolate(fragments, colours, faces=faces, supersample=1)
    assert compiled.interpolate(fragments, colours, faces=faces).shape == (9, 9, 1) and samples.shape == (27, 27, 1)
    blend = functools.partial(compiled.antialias, samples, fragments, vertices, CAMERA, faces=faces)
    np.testing.assert_array_equal(blend(), blend(samples=SAMPLES))
    with pytest.raises(ArgumentError, match="samples is not what the fragments were rasterised with"):
        blend(samples=SampleGrid.over(CAMERA, supersample=3))
    assert jax.jit(lambda f: f)(fragments).samples == SAMPLES


def _seen(fragments):
    """The values whose blend is the silhouette: by the program that blends any."""
    return np.asarray(fragments.triangle >= 0, np.float32)[..., None]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.004, 0.02, 0.1, 0.5]))
def test_blended_values_stay_within_the_range_of_the_values(seed, size):
    rng = np.random.default_rng(seed)
    points = rng.uniform([-0.4, -0.4, 1], [0.4, 0.4, 1.3], (4, 1, 3)) + size * rng.normal(size=(4, 3, 3)) * [1, 1, 0.1]
    values = rng.uniform(-3, 5, (16, 16, 1)).astype(np.float32)
    vertices, faces = compiled.padded(points.reshape(-1, 3).astype(np.float32), np.arange(12).reshape(4, 3))
    camera = Camera(16, K=(13, 13, 7.5, 7.5))
    blended, fragments = compiled.blend(values, vertices, camera, faces=faces)
    mask, _ = compiled.blend(_seen(fragments), vertices, camera, faces=faces)
    assert values.min() <= blended.min() and blended.max() <= values.max()
    assert mask.min() >= 0 and mask.max() <= 1


def test_a_triangle_smaller_than_a_pixel_does_not_cover_less_than_nothing():
    vertices = np.concatenate([np.array([[7.9, 7.9], [8.1, 7.9], [8, 8.13]]) / 16, np.ones((3, 1))], -1)
    vertices, faces = compiled.padded(vertices.astype(np.float32), np.array([[0, 1, 2]]))
    camera = Camera(16, K=(16, 16, 0, 0))
    _, fragments = compiled.blend(np.zeros((16, 16, 1), np.float32), vertices, camera, faces=faces)
    mask, _ = compiled.blend(_seen(fragments), vertices, camera, faces=faces)
    assert mask.min() == 0 and 0 < mask.sum() < 0.1  # its area is 0.023


def test_the_corner_of_a_rectangle_covers_its_area():
    """With its derivatives: both sides cross the corner's cell."""
    camera, faces = Camera(8, K=(8, 8, 0, 0)), np.array([[0, 1, 2], [1, 3, 2]])

    def area(places):
        x, y = places[:2], places[2:]
        vertices = jnp.stack([jnp.stack([x[i] / 8, y[j] / 8, jnp.ones(())]) for j in (0, 1) for i in (0, 1)])
        fragments = rasterize(vertices, camera, faces=faces)
        return antialias((fragments.triangle[..., None] >= 0) * 1.0, fragments, vertices, camera, faces=faces).sum()

    value, slope = jax.jit(jax.value_and_grad(area))(jnp.array([1.8, 5.2, 1.7, 6.3]))
    np.testing.assert_allclose(value, 3.4 * 4.6, rtol=1e-5)
    np.testing.assert_allclose(slope, [-4.6, 4.6, -3.4, 3.4], rtol=1e-5)


_ODD = np.nan, np.inf, -np.inf, 0.0, -1.0, 0.1, 1e-30, 1e20, -1e20, 3e38


def _finite_loss(vertices, colours, focal, *, faces):
    camera = Camera(9, K=(focal, focal, 4.1, 3.9))
    fragments = rasterize(vertices, camera, faces=faces, derivatives=True)
    values, slopes = interpolate(fragments, colours, faces=faces, derivatives=True)
    blended = antialias(values, fragments, vertices, camera, faces=faces)
    visible = fragments.triangle >= 0
    shown = fragments.depth, fragments.barycentric, values, blended, jnp.where(jnp.abs(slopes) < 1e3, slopes, 0)
    return sum(jnp.sum(jnp.sin(part)) for part in shown), (shown, visible, slopes)


_slopes_of_grid = jax.jit(jax.value_and_grad(functools.partial(_finite_loss, faces=None), (0, 1, 2), has_aux=True))
_slopes_of_mesh = jax.jit(
    jax.value_and_grad(functools.partial(_finite_loss, faces=grid_faces(4, 4)), (0, 1, 2), has_aux=True)
)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["grid", "mesh"])
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    changes=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2), st.sampled_from(_ODD)), min_size=1, max_size=5),
)
@example(seed=1795755, changes=[(14, 0, 3e38)])  # x / z overflows
def test_a_vertex_that_is_no_number_poisons_nobody_else(kind, seed, changes):
    """Nor do those that are infinite, at or behind the camera: of grids, meshes and silhouettes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:4, :4]
    grid = np.stack([(x - 1.5) / 4, (y - 1.5) / 4, 1 + 0 * x], -1) + 0.05 * rng.normal(size=(4, 4, 3))
    for vertex, axis, value in changes:
        grid[vertex // 4, vertex % 4, axis] = value
    colours = rng.normal(size=(4, 4, 2)).astype(np.float32)
    grid = grid.astype(np.float32)
    spoilt = ~np.isfinite(grid).all(-1)
    if kind == "grid":
        drawn = _slopes_of_grid(grid, colours, 8.0)
    else:
        drawn = _slopes_of_mesh(grid.reshape(16, 3), colours.reshape(16, 2), 8.0)
    (value, (shown, visible, _)), gradients = jax.device_get(drawn)
    assert np.isfinite(value) and all(np.isfinite(part).all() for part in shown)
    assert (shown[1][~visible] == 0).all() and (shown[2][~visible] == 0).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert (gradients[0].reshape(4, 4, 3)[spoilt] == 0).all() and (gradients[1].reshape(4, 4, 2)[spoilt] == 0).all()
