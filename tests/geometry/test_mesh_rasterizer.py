"""The rasteriser of triangle meshes against rays and triangles in numpy, and that of grids; its gradients."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from helpers import compiled
from helpers.meshes import CAMERA, KINDS, SAMPLES, VERTICES, brute_force, chosen, random_mesh, rasterize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay

from gan2shape_jax import platforms
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import mesh_rasterizer, visibility
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces
from gan2shape_jax.geometry.rasterizer import SampleGrid, nothing_visible

_SQUARE = np.array([[0, 1, 2], [1, 3, 2]])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_equals_rays_in_double_precision(kind, seed):
    vertices, faces = random_mesh(kind, seed)
    with jax.enable_x64(True):
        fragments = rasterize(jnp.asarray(vertices), faces)
    triangle, barycentric, depth = brute_force(vertices, faces, CAMERA, SAMPLES)
    np.testing.assert_array_equal(fragments.triangle, triangle)
    np.testing.assert_allclose(fragments.depth, depth, rtol=1e-7)
    np.testing.assert_allclose(fragments.barycentric, barycentric, atol=1e-6)


def test_is_close_to_rays_in_single_precision():
    for kind in KINDS:
        vertices, faces = random_mesh(kind, 0)
        fragments = rasterize(jnp.asarray(vertices, jnp.float32), faces)
        triangle, _, depth = brute_force(vertices.astype(np.float32), faces, CAMERA, SAMPLES)
        assert (triangle >= 0).any()
        assert np.mean(fragments.triangle == triangle) > 0.99
        assert np.mean(np.abs(fragments.depth - depth) < 1e-4 * depth) > 0.99


@pytest.mark.parametrize(
    ("sampling", "supersample"), [("centred", 2), pytest.param("half", 1, marks=pytest.mark.heavy)]
)
def test_a_depth_map_looks_as_the_rasteriser_of_grids_sees_it(sampling, supersample):
    size = 24
    camera = camera_lib.Camera(size)
    rng = np.random.default_rng(0)
    depth = jnp.asarray(1 + 0.01 * rng.normal(size=(3, size, size)), jnp.float32)
    view = jnp.asarray(rng.normal(size=(3, 6)) * [0.2, 0.5, 0.1, 0.01, 0.01, 0], jnp.float32)
    grid = camera_lib.transform(camera_lib.back_project(depth, camera), view, camera)
    colours = jnp.asarray(rng.uniform(size=(3, size, size, 2)), jnp.float32)
    points, faces = grid.reshape(3, -1, 3), grid_faces(size, size)
    options = {"supersample": supersample, "sampling": sampling}
    fast = compiled.rasterize(grid, camera, **options)
    general = compiled.rasterize(points, camera, faces=faces, **options)
    assert np.mean(fast.triangle == general.triangle) > 0.999
    same = np.asarray(fast.triangle == general.triangle)
    np.testing.assert_allclose(general.depth[same], fast.depth[same], rtol=1e-6)
    np.testing.assert_allclose(general.barycentric[same], fast.barycentric[same], atol=1e-4)

    def shown(fragments, values, faces):
        return compiled.interpolate(fragments, values, faces=faces, supersample=supersample)

    pictures = shown(fast, colours, None), shown(general, colours.reshape(3, -1, 2), faces)
    assert pictures[0].shape == (3, size, size, 2)
    assert np.mean(np.abs(pictures[0] - pictures[1]) < 1e-4) > 0.999


def test_a_pixel_is_the_mean_of_its_samples():
    vertices, faces = random_mesh("small", 3)
    fragments = rasterize(jnp.asarray(vertices, jnp.float32), faces)
    colours = jnp.asarray(np.random.default_rng(0).uniform(size=(VERTICES, 3)), jnp.float32)
    each = np.asarray(compiled.interpolate(fragments, colours, faces=faces, supersample=1))
    pixels = compiled.interpolate(fragments, colours, faces=faces)
    np.testing.assert_allclose(pixels, each.reshape(9, 3, 9, 3, 3).mean((1, 3)), atol=1e-6)
    share = compiled.interpolate(fragments, jnp.ones((VERTICES, 1)), faces=faces, supersample=3)[..., 0]
    visible = np.asarray(fragments.triangle >= 0, np.float32)
    np.testing.assert_allclose(share, visible.reshape(9, 3, 9, 3).mean((1, 3)), atol=1e-6)
    assert 0 < visible.mean() < 1


def test_shared_edges_leave_no_holes():
    rng = np.random.default_rng(0)
    corners = np.array([[-2, -2], [2, -2], [-2, 2], [2, 2]])
    points = np.concatenate([corners, rng.uniform(-1, 1, (400, 2)), np.stack([np.linspace(-1, 1, 50)] * 2, -1)])
    faces = Delaunay(points).simplices.astype(np.int32)
    flat = np.concatenate([points, np.ones((len(points), 1))], -1)
    rough = flat + np.concatenate([0 * points, rng.normal(size=(len(points), 1)) * 0.02], -1)
    for vertices in (flat, rough):
        for shift in (0.0, 0.123):  # pixels
            camera = camera_lib.Camera(40, K=(23.2, 23.2, 19.5 - shift, 19.5 - shift))
            fragments = compiled.rasterize(jnp.asarray(vertices, jnp.float32), camera, faces=faces, supersample=2)
            assert (fragments.triangle >= 0).all()


def test_triangles_are_cut_at_the_near_plane():
    """A floor one unit below the camera, from behind it to the horizon: depth is f / (y - center)."""
    camera = camera_lib.Camera(16, fov_deg=90.0, near=1.25, far=50.0)
    floor = jnp.asarray([[-1e3, 1, -1e3], [1e3, 1, -1e3], [0, 1, 1e3]], jnp.float32)
    fragments = compiled.rasterize(floor, camera, faces=np.array([[0, 1, 2]]))
    y = np.arange(16)[:, None] + np.zeros(16) - 7.5
    depth = np.where(y > 0, camera.focal_length / np.where(y > 0, y, 1), np.inf)
    visible = (depth > camera.near) & (depth < camera.far)
    assert 0.3 < visible.mean() < 0.5
    np.testing.assert_array_equal(fragments.triangle >= 0, visible)
    np.testing.assert_allclose(fragments.depth, np.where(visible, depth, camera.far), rtol=1e-4)


@pytest.mark.parametrize("vertices", [jnp.ones((2, 4, 3)), jnp.ones((2, 0, 3)), jnp.ones((0, 4, 3))])
def test_without_faces_nothing_is_drawn(vertices):
    no_faces = np.zeros((0, 3), np.int32)
    fragments, pull = jax.vjp(lambda v: compiled.rasterize(v, CAMERA, faces=no_faces).depth, vertices)
    assert fragments.shape == (len(vertices), 9, 9) and (fragments == CAMERA.far).all()
    assert (pull(fragments)[0] == 0).all()


@pytest.mark.heavy
@pytest.mark.parametrize("faces", [np.array([[0, 1, 2]]), None])
def test_a_map_over_no_images_returns_none(faces):
    vertices = jnp.ones((0, 3, 3) if faces is not None else (0, 4, 4, 3))

    def draw(vertices):
        fragments = compiled.rasterize(vertices, CAMERA, faces=faces)
        return compiled.antialias(fragments.barycentric, fragments, vertices, CAMERA, faces=faces)

    assert jax.jit(jax.vmap(draw))(vertices).shape == (0, 9, 9, 3)
    assert jax.jit(jax.vmap(jax.grad(lambda v: draw(v).sum())))(vertices).shape == vertices.shape


@pytest.mark.parametrize("z", [1e-6, pytest.param(100.0, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("faces", [np.array([[0, 1, 2]]), pytest.param(None, marks=pytest.mark.heavy)])
def test_a_scene_out_of_the_range_of_depths_is_warned_of(z, faces):
    vertices, camera = jnp.full((2, 3, 3), z), dataclasses.replace(CAMERA, near=0.1)
    with pytest.warns(UserWarning, match=r"depths from .* to .*, but .* near = 0.1 and far = 100: nothing is drawn"):
        fragments = mesh_rasterizer.rasterize(vertices, camera, faces=faces)
    assert (fragments.triangle == -1).all()
    mesh_rasterizer.rasterize(-vertices, camera, faces=faces)  # behind the camera: without a word
    if z > 1:
        with pytest.warns(UserWarning, match="lies before far = 100: nothing is drawn"):
            mesh_rasterizer.rasterize(vertices, CAMERA, faces=faces)


@pytest.mark.parametrize("near", [None, 0.1])
def test_a_scene_behind_an_orthographic_camera_is_warned_of(near):
    vertices = jnp.asarray([[0.0, 0.0, -1.0], [1.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    camera = dataclasses.replace(CAMERA, orthographic=True, near=near, fov_deg=None, K=(9.0, 9.0, 4.5, 4.5))
    with pytest.warns(UserWarning, match=r"depths from -1 to 0, .* between near = 0(\.1)? and far = 100: nothing is"):
        fragments = mesh_rasterizer.rasterize(vertices, camera, faces=np.array([[0, 1, 2]]))
    assert (fragments.triangle == -1).all()


@pytest.mark.parametrize(
    ("faces", "orthographic"),
    [
        (_SQUARE, False),
        (None, True),
        pytest.param(_SQUARE, True, marks=pytest.mark.heavy),
        pytest.param(None, False, marks=pytest.mark.heavy),
    ],
)
def test_scenes_of_any_size_are_drawn_by_a_camera_that_does_not_say_how_near(faces, orthographic):
    """Also beside others in a batch, and with vertices beyond all bounds."""
    corners = np.array([[-0.1, -0.1, 1], [0.1, -0.1, 1], [-0.1, 0.1, 2], [0.1, 0.1, 1]], np.float32)
    within = np.zeros((3, 3))  # vertices that no face has

    def drawn(*scales, others=within):
        """What three at once make of it."""
        K = (30 / (scales[0] if orthographic else 1),) * 2 + (4, 4)
        camera = camera_lib.Camera(9, K=K, orthographic=orthographic)
        vertices = np.stack([scale * corners for scale in np.resize(scales, 3)])
        vertices = np.concatenate([vertices, np.tile(others, (3, 1, 1))], 1)
        vertices = vertices if faces is not None else vertices[:, :4].reshape(-1, 2, 2, 3)
        return compiled.blend(None, jnp.asarray(vertices, jnp.float32), camera, faces=faces)[0]

    (usual, *_) = drawn(1.0)
    assert 10 < usual.sum() < 60
    for scale in (2.0**-20, 32.0):
        np.testing.assert_allclose(drawn(scale)[0], usual, atol=1e-5)
    if not orthographic:
        np.testing.assert_allclose(drawn(1.0, 2.0**-20, 32.0), np.stack([usual] * 3), atol=1e-5)
    if faces is not None:
        far, unknown, behind = (0.0, 0.0, 1e30), (np.nan,) * 3, (0.0, 0.0, -1e9)
        np.testing.assert_allclose(drawn(1.0, others=(far, unknown, behind))[0], usual, atol=1e-5)


def test_no_faces_no_images_no_vertices():
    no_faces = np.zeros((0, 3), np.int32)
    none = compiled.rasterize(jnp.ones((0, 4, 3)), CAMERA, faces=np.array([[0, 1, 2]]))
    assert none.barycentric.shape == (0, 9, 9, 3)
    fragments = compiled.rasterize(jnp.ones((2, 4, 3)), CAMERA, faces=no_faces)
    values = compiled.interpolate(fragments, jnp.ones((2, 4, 5)), faces=no_faces)
    assert values.shape == (2, 9, 9, 5) and (values == 0).all()


def test_faces_unknown_until_run_leave_out_what_does_not_exist():
    vertices, faces = random_mesh("large", 1)
    wrong = faces.copy()
    wrong[::2, 1], wrong[1::4, 0] = VERTICES + 5, -1
    good = ((wrong >= 0) & (wrong < VERTICES)).all(1)
    with jax.enable_x64(True):
        expected = rasterize(jnp.asarray(vertices), chosen(faces, good))
        fragments = rasterize(jnp.asarray(vertices), wrong)
    np.testing.assert_array_equal(np.r_[np.flatnonzero(good), -1][expected.triangle], fragments.triangle)
    np.testing.assert_array_equal(fragments.depth, expected.depth)


def test_batches_and_vmap_equal_a_loop():
    meshes = [random_mesh(kind, 2) for kind in KINDS if kind != "slivers"]
    vertices, faces = np.stack([v for v, _ in meshes]), np.stack([f for _, f in meshes])
    with jax.enable_x64(True):  # several programs, which may round differently
        loop = [rasterize(v, f) for v, f in zip(vertices, faces, strict=True)]
        both = jax.jit(jax.vmap(rasterize))(vertices, faces)
        pairs = rasterize(vertices.reshape(2, 2, VERTICES, 3), faces[0])
        turned = jax.jit(jax.vmap(rasterize, (None, 0)))(vertices[0], faces)
    for triangle, depth, fragments in zip(both.triangle, both.depth, loop, strict=True):
        np.testing.assert_array_equal(triangle, fragments.triangle)
        np.testing.assert_allclose(depth, fragments.depth, rtol=1e-12)
    np.testing.assert_array_equal(pairs.triangle[0, 0], loop[0].triangle)
    np.testing.assert_array_equal(turned.triangle[0], loop[0].triangle)


def test_many_triangles_that_each_cover_the_screen():
    """More tiles than a chunk."""
    rng = np.random.default_rng(0)
    count, faces = 21, 300
    shape = 2, faces
    around = np.array([[-90.0, -60.0], [120.0, -70.0], [10.0, 150.0]])
    z = rng.uniform(1, 2, (3, *shape))
    corners = [
        tuple(jnp.asarray(plane, jnp.float32) for plane in (x * depth, y * depth, depth))
        for (x, y), depth in zip(around, z, strict=True)
    ]
    depth, number = visibility.visible_mesh_triangles(tuple(corners), jnp.full(2, 0.1), shape=(count, count))
    at = np.arange(count)
    system = np.stack([*around.T, np.ones(3)])
    weights = np.linalg.solve(system, np.stack([*(v.ravel() for v in np.meshgrid(at, at)), np.ones(count**2)]))
    every = 1 / np.einsum("kbf,kp->bfp", 1 / z, weights)
    np.testing.assert_array_equal(number.reshape(2, -1), every.argmin(1))
    np.testing.assert_allclose(depth.reshape(2, -1), every.min(1), rtol=1e-5)


def _unchecked(function):
    """The function as users have it: its types are not checked as they are in tests."""
    return platforms.arrays(inspect.unwrap(function))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": jnp.ones((4, 2))}, r"vertices has shape \(4, 2\); it must have the axes \(\*shape 3\)"),
        ({"vertices": jnp.ones((4, 3), int)}, "vertices is of int32; it must be floating point"),
        ({"vertices": "a ball"}, "vertices is a str, which is not an array"),
        ({"vertices": jnp.ones((4, 3)), "faces": None}, r"vertices has shape \(4, 3\); without faces .*H, W, 3"),
        ({"faces": np.array([[0, 1, 2], [0, 1, 4]])}, r"faces\[1\] is \[0, 1, 4\], but vertices has 4 rows.* 0 to 3"),
        ({"faces": np.array([[0, -1, 2]])}, r"faces\[0\] is \[0, -1, 2\]"),
        ({"faces": np.array([[0, 2**32, 2]])}, r"faces\[0\] is \[0, 4294967296, 2\]"),
        ({"faces": np.array([0, 1, 2])}, r"faces has shape \(3,\); it must have the axes \(\*each f 3\)"),
        ({"faces": np.array([[0.0, 1, 2]])}, "faces is of float64; it must be"),
        ({"supersample": 0}, "supersample is 0; it must be a whole number, at least 1"),
        ({"size": 0}, "size is 0; it must be a whole number, at least 1"),
        ({"cull": "both"}, "cull is 'both'; it must be"),
        ({"layers": 0}, "layers is 0; it must be a whole number, at least 1"),
        ({"layers": 1.5}, "layers is 1.5; it must be a whole number, at least 1"),
        ({"sampling": "corner"}, "sampling is 'corner'; it must be one of centred, half"),
        ({"size": 40_000, "supersample": 2}, "6,400,000,000 samples are more than"),
    ],
)
def test_refuses_what_is_no_mesh(change, message):
    arguments = {"vertices": jnp.ones((4, 3)), "faces": np.array([[0, 1, 2]]), "camera": CAMERA} | change
    with pytest.raises(ValueError, match=message):
        _unchecked(mesh_rasterizer.rasterize)(**arguments)


@pytest.mark.parametrize("change", [{"supersample": 1.5}, {"size": 2.5}, {"size": "9"}])
def test_samples_are_whole_numbers(change):
    ((name, value),) = change.items()
    with pytest.raises(ArgumentError, match=f"{name} is {value}; it must be a whole number, at least 1"):
        inspect.unwrap(SampleGrid.over.__func__)(SampleGrid, CAMERA, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": jnp.ones((3, 2))}, r"faces\[0\] is \[0, 1, 3\], but attributes has 3 rows"),
        ({"attributes": jnp.ones((5, 4, 2))}, r"attributes has leading axes \(5,\), the fragments \(2,\)"),
        ({"attributes": jnp.ones((4, 2)), "faces": None}, "without faces it must be"),
        ({"supersample": 1.5}, "supersample is 1.5; the fragments have 1 a side of a pixel"),
        ({"supersample": 2}, "supersample is 2; the fragments have 1 a side of a pixel"),
        ({"derivatives": True}, "fragments has no derivatives"),
    ],
)
def test_refuses_values_that_do_not_go_with_the_fragments(change, message):
    faces = np.array([[0, 1, 3]])
    fragments = nothing_visible((2, 9, 9), jnp.float32, CAMERA, SampleGrid.over(CAMERA))
    arguments = {"attributes": jnp.ones((4, 2)), "faces": faces} | change
    with pytest.raises(ValueError, match=message):
        _unchecked(mesh_rasterizer.interpolate)(fragments, **arguments)


@pytest.mark.heavy
def test_gradients_of_grids_and_meshes_agree():
    size = 12
    camera = camera_lib.Camera(size)
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        grid = camera_lib.back_project(jnp.asarray(1 + 0.01 * rng.normal(size=(size, size))), camera)
        grid = camera_lib.transform(grid, jnp.asarray([0.1, 0.3, 0.05, 0, 0, 0]), camera)  # no sample on an edge
        colours = jnp.asarray(rng.uniform(size=(size, size, 2)))
        faces = grid_faces(size, size)

        def loss(vertices, values, faces):
            fragments = compiled.rasterize(vertices, camera, faces=faces, supersample=3)
            picture = compiled.interpolate(fragments, values, faces=faces, supersample=3)
            return jnp.sum(jnp.sin(picture)) + jnp.sum(jnp.where(fragments.triangle < 0, 0, fragments.depth) ** 2)

        fast = jax.jit(jax.grad(loss, argnums=(0, 1)))(grid, colours, None)
        general = jax.jit(jax.grad(loss, argnums=(0, 1)))(grid.reshape(-1, 3), colours.reshape(-1, 2), faces)
        for first, other in zip(fast, general, strict=True):
            np.testing.assert_allclose(first.reshape(other.shape), other, rtol=1e-6, atol=1e-8)


@jax.jit
def _shown(vertices, colours, faces):
    fragments = rasterize(vertices, faces)
    values = compiled.interpolate(fragments, colours, faces=faces, supersample=1)
    return fragments.triangle, jnp.concatenate([fragments.depth[..., None], values], -1)


_slopes = jax.jit(jax.grad(lambda v, c, faces, weights: jnp.sum(_shown(v, c, faces)[1] * weights), argnums=(0, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind):
    rng = np.random.default_rng(7)
    vertices, faces = random_mesh(kind, 5)
    with jax.enable_x64(True):
        vertices, colours = jnp.asarray(vertices), jnp.asarray(rng.normal(size=(VERTICES, 2)))
        moves = [jnp.asarray(rng.normal(size=x.shape)) * 1e-8 for x in (vertices, colours)]

        (below, first), (above, other) = (
            _shown(vertices + sign * moves[0], colours + sign * moves[1], faces) for sign in (-1, 1)
        )
        # The derivative holds visibility fixed, so compare where it stays, and away from slivers' steep ends.
        kept = (below == above) & (above >= 0) & (jnp.abs(other - first).max(-1) < 1e-4)
        assert np.mean(kept) > (0.003 if kind == "slivers" else 0.05)
        weights = jnp.where(kept[..., None], jnp.asarray(rng.normal(size=first.shape)), 0)
        gradients = _slopes(vertices, colours, faces, weights)
        slope = sum(jnp.sum(g * move) for g, move in zip(gradients, moves, strict=True))
        np.testing.assert_allclose(slope, jnp.sum((other - first) * weights) / 2, rtol=1e-4)
        assert (np.abs(gradients[0]).max(0) > 0).all() and (np.abs(gradients[1]).max(0) > 0).all()


def test_values_and_gradients_are_finite():
    """On edges and corners, without area, behind the camera, tiny, huge, or not finite at all."""
    plane = np.asarray(camera_lib.back_project(jnp.ones((9, 9)), CAMERA)).reshape(-1, 3)
    faces = grid_faces(9, 9)
    point = np.broadcast_to([0.0, 0.0, 1.0], plane.shape)
    undefined, endless, behind = plane.copy(), plane.copy(), plane.copy()
    undefined[40], endless[40, 0], behind[::3, 2] = np.nan, np.inf, -1
    edge_on = plane[:, [2, 1, 0]] * [1, 1, 1] + [-1, 0, 1]
    meshes = [plane, point, undefined, endless, behind, edge_on, plane * 1e-3 + point, plane * [1e19, 1e19, 1]]
    meshes = jnp.asarray(np.stack([*meshes, plane * [1, 1, 1e30], 1e-25 * (plane - point) + point]), jnp.float32)
    colours = jnp.asarray(np.random.default_rng(0).normal(size=(len(meshes), 81, 2)), jnp.float32)

    def loss(meshes, colours):
        fragments = compiled.rasterize(meshes, CAMERA, faces=faces)
        values = compiled.interpolate(fragments, colours, faces=faces)
        return jnp.mean(fragments.depth**2) + jnp.sum(values**2), (fragments.triangle, values)

    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (value, (triangle, values)), gradients = run(meshes, colours)
    assert np.isfinite(value) and np.isfinite(values).all() and all(np.isfinite(g).all() for g in gradients)
    assert (triangle[0, 1:-1, 1:-1] >= 0).all() and (triangle[1] == -1).all()
    around = set(np.flatnonzero((faces == 40).any(1)))  # what touches the vertex that is no number
    for k in (2, 3):
        assert len(around) == 6 and not around & set(np.unique(triangle[k])) and (triangle[k] >= 0).any()
    odd = np.zeros(colours.shape, np.float32)
    odd[1, 0] = np.nan  # an attribute that is no number stays where it is
    assert (run(meshes, odd)[0][1][1][1] == 0).all()


def test_samples_on_an_edge_have_the_gradient_of_either_side():
    """A frontal plane of depth z cut along the middle, where samples lie: moving it by dz moves every depth by dz."""
    camera = camera_lib.Camera(5)
    vertices = jnp.asarray([[-1.0, -1, 1], [0, -1, 1], [1, -1, 1], [-1, 1, 1], [0, 1, 1], [1, 1, 1]])
    faces = np.array([[0, 1, 3], [1, 4, 3], [1, 2, 4], [2, 5, 4]])

    def depth(vertices):
        return compiled.rasterize(vertices, camera, faces=faces).depth

    value, change = jax.jvp(depth, (vertices,), (jnp.zeros_like(vertices).at[:, 2].set(1),))
    np.testing.assert_allclose(value, 1, rtol=1e-6)  # the last bit is the processor's
    np.testing.assert_allclose(change, 1, rtol=1e-6)


def test_samples_on_shared_edges_are_counted_once():
    """Triangles between points of the lattice, each drawn alone, cover all samples but the last row and column."""
    camera = camera_lib.Camera(17, K=(16, 16, 8, 8))
    points = np.random.default_rng(0).integers(0, 17, (40, 2))
    points = np.unique(np.concatenate([[[0, 0], [16, 0], [0, 16], [16, 16]], points]), axis=0)
    vertices = jnp.asarray(np.concatenate([(points - 8) / 16, np.ones((len(points), 1))], -1), jnp.float32)
    faces = Delaunay(points).simplices.astype(np.int32)
    faces[::2] = faces[::2, ::-1]
    alone = jax.jit(jax.vmap(lambda face: mesh_rasterizer.rasterize(vertices, camera, faces=face[None]).triangle))
    expected = np.ones((17, 17), int)
    expected[16], expected[:, 16] = 0, 0
    np.testing.assert_array_equal((alone(jnp.asarray(faces)) >= 0).sum(0), expected)


_CAMERA_16 = camera_lib.Camera(16, K=(8, 8, 0, 0))


def test_a_rectangle_covers_its_share_of_the_cells_at_its_border():
    """Samples see the pixels' middles; blended, a mask is the area that the rectangle has in every pixel of a side."""
    places = np.array([[1.2, 2.3], [5.9, 2.3], [1.2, 6.4], [5.9, 6.4]])
    rectangle = jnp.asarray(np.concatenate([places / 8, np.ones((4, 1))], -1), jnp.float32)
    vertices, faces = compiled.padded(rectangle, np.array([[0, 1, 2], [1, 3, 2]]))

    blended, fragments = compiled.blend(None, vertices, _CAMERA_16, faces=faces)
    pixels = np.arange(16)
    across, down = (
        np.clip(np.minimum(pixels + 0.5, end) - np.maximum(pixels - 0.5, start), 0, 1)
        for start, end in zip(*places[[0, 3]])
    )
    np.testing.assert_allclose(blended[3:6, :, 0], np.broadcast_to(across, (3, 16)), atol=1e-6)
    np.testing.assert_allclose(blended[:, 2:6, 0], np.broadcast_to(down[:, None], (16, 4)), atol=1e-6)
    as_grid = compiled.blend(None, rectangle.reshape(2, 2, 3), _CAMERA_16)[0]
    np.testing.assert_allclose(as_grid, blended, atol=1e-6)
    with pytest.raises(ValueError, match="samples is not what the fragments were rasterised with"):
        samples = SampleGrid.over(_CAMERA_16, supersample=2)
        mesh_rasterizer.antialias(blended, fragments, vertices, _CAMERA_16, faces=faces, samples=samples)


def _on_lattice(places):
    """Vertices in the plane z = 1 that are seen at these places by the camera returned."""
    return jnp.asarray(np.concatenate([(places - 8) / 16, np.ones((*places.shape[:-1], 1))], -1), jnp.float32)


_LATTICE = np.array([[0.5, 9.5], [11, 9], [2, 1.5]])


def test_an_edge_through_a_pixels_centre_covers_half_of_it():
    vertices, faces = compiled.padded(_on_lattice(_LATTICE), np.array([[0, 1, 2]]))
    blended, _ = compiled.blend(None, vertices, camera_lib.Camera(16, K=(16, 16, 8, 8)), faces=faces)
    np.testing.assert_allclose(blended[4, 5], 0.5, atol=1e-5)  # the edge from (2, 1.5) to (11, 9)


@pytest.mark.heavy
def test_triangles_on_the_lattice_are_blended_alike_eagerly_and_compiled(count=10_000):
    """Their edges pass through pixels' centres: rounding, which differs, must not decide what is blended."""
    camera, faces = camera_lib.Camera(12, K=(16, 16, 8, 8)), np.array([[0, 1, 2]])
    places = np.random.default_rng(0).integers(0, 23, (count, 3, 2)) / 2
    places[0] = _LATTICE
    vertices = _on_lattice(places)
    draws = inspect.unwrap(compiled.blend), compiled.blend
    eager, compiled_one = (draw(None, vertices, camera, faces)[0] for draw in draws)
    np.testing.assert_allclose(eager, compiled_one, atol=1e-5)
    np.testing.assert_allclose(compiled_one[0, 4, 5], 0.5, atol=1e-5)


@pytest.mark.heavy
def test_corners_on_samples_are_seen_alike_eagerly_and_compiled(count=10_000):
    """In any depth, where places on the lattice are rounded; compiled as for users, not as `conftest.py` has it."""
    users = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
    camera, faces = camera_lib.Camera(16, K=(13.7, 13.7, 7.5, 7.5)), np.array([[0, 1, 2]])
    rng = np.random.default_rng(0)
    places, z = rng.integers(0, 32, (count, 3, 2)) / 2, rng.uniform(0.5, 2, (count, 3, 1))
    vertices = jnp.asarray(np.concatenate([(places - 7.5) / 13.7 * z, z], -1), jnp.float32)
    draw = functools.partial(mesh_rasterizer.rasterize, camera=camera, faces=faces)
    eager, compiled_one = draw(vertices).triangle, jax.jit(draw, compiler_options=users)(vertices).triangle
    assert (eager >= 0).sum() > 15 * count
    np.testing.assert_array_equal(eager, compiled_one)


def test_a_triangle_with_a_vertex_twice_ends_no_silhouette():
    """Nor begins one: it shares its edges with nobody, itself included."""
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    places = np.array([[1.2, 2.3], [5.9, 2.3], [1.2, 6.4], [5.9, 6.4]])
    vertices = jnp.asarray(np.concatenate([places / 8, np.ones((4, 1))], -1), jnp.float32)
    lines = np.array([[1, 2, 2], [2, 1, 1], [0, 1, 1], [3, 3, 3]])
    with_lines, alone = (
        compiled.blend(None, points, _CAMERA_16, faces=some)[0]
        for points, some in (compiled.padded(vertices, some) for some in (np.concatenate([lines, faces]), faces))
    )
    np.testing.assert_allclose(with_lines, alone, atol=1e-6)


@pytest.mark.heavy
def test_silhouettes_have_the_gradient_of_the_covered_area():
    """A box from many sides, moved, turned and scaled: its area is that of the convex hull of its corners on screen."""
    camera = camera_lib.Camera((48, 40), K=(300, 330, 19, 24))
    box = np.stack(np.meshgrid([-0.03, 0.03], [-0.04, 0.04], [-0.02, 0.02]), -1).reshape(-1, 3)
    faces = ConvexHull(box).simplices.astype(np.int32)

    def placed(moves):
        return camera_lib.transform(box * moves[6:] + jnp.array([0, 0, 1.0]), moves[:6], camera)

    def area(moves, faces):
        return jnp.sum(compiled.blend(None, placed(moves), camera, faces)[0])

    rng = np.random.default_rng(0)
    poses = np.concatenate([rng.normal(size=(24, 6)) * [1, 1, 1, 0.005, 0.005, 0.02], np.ones((24, 3))], -1)
    with jax.enable_x64(True):
        actual, slopes = jax.jit(jax.vmap(jax.value_and_grad(area), (0, None)))(jnp.asarray(poses), jnp.asarray(faces))
        corners = jax.jit(jax.vmap(lambda moves: camera_lib.project(placed(moves), camera)))
        steps = 1e-5 * np.eye(9)
        exact = ([ConvexHull(c).volume for c in np.asarray(corners(poses + step))] for step in (0, *steps, *-steps))
        whole, *moved = np.array(list(exact))
        expected = (np.array(moved[:9]) - moved[9:]).T / 2e-5
    np.testing.assert_allclose(actual, whole, rtol=0.003)
    off, size = (np.sqrt((array**2).mean(0)) for array in (np.asarray(slopes) - expected, expected))
    # Turned, nearer, larger: within 6%. Moved, both sides cancel but for at most a row or column that only one has.
    turned, moved, nearer, larger = np.split(off, [3, 5, 6])
    assert (turned < 0.06 * size[:2].mean()).all() and (nearer < 0.06 * size[5]).all(), off
    assert (moved < [300, 330]).all() and (larger < 0.06 * size[6:]).all(), off


@pytest.mark.heavy
def test_an_outline_of_many_thin_triangles_has_its_gradient():
    """A ball of 1,280 triangles: next to its outline, several lie between two samples."""
    camera, ball = camera_lib.Camera(48), trimesh.creation.icosphere(subdivisions=3, radius=0.05)
    points = ball.vertices @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    faces = jnp.asarray(ball.faces, jnp.int32)

    def area(scale, faces):
        return jnp.sum(compiled.blend(None, points * scale + jnp.array([0, 0, 1.0]), camera, faces)[0])

    with jax.enable_x64(True):
        value, slope = jax.jit(jax.value_and_grad(area))(1.0, faces)
        project = functools.partial(camera_lib.project, camera=camera)
        around = [ConvexHull(project(points * scale + [0, 0, 1])).volume for scale in (0.999, 1, 1.001)]
    np.testing.assert_allclose(value, around[1], rtol=1e-3)
    np.testing.assert_allclose(slope, (around[2] - around[0]) / 0.002, rtol=0.02)
