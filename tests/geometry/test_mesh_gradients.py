"""Gradients of the rasteriser of triangle meshes: against differences, against that of grids, and on edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from helpers.meshes import CAMERA, KINDS, VERTICES, random_mesh, rasterize

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces


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
        for one, other in zip(fast, general, strict=True):
            np.testing.assert_allclose(one.reshape(other.shape), other, rtol=1e-6, atol=1e-8)


@jax.jit
def _shown(vertices, colours, faces):
    fragments = rasterize(vertices, faces)
    values = compiled.interpolate(fragments, colours, faces=faces)
    return fragments.triangle, jnp.concatenate([fragments.depth[..., None], values], -1)


_slopes = jax.jit(jax.grad(lambda v, c, faces, weights: jnp.sum(_shown(v, c, faces)[1] * weights), argnums=(0, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind):
    rng = np.random.default_rng(7)
    vertices, faces = random_mesh(kind, 5)
    with jax.enable_x64(True):
        vertices, colours = jnp.asarray(vertices), jnp.asarray(rng.normal(size=(VERTICES, 2)))
        moves = [jnp.asarray(rng.normal(size=x.shape)) * 1e-8 for x in (vertices, colours)]

        (below, one), (above, other) = (
            _shown(vertices + sign * moves[0], colours + sign * moves[1], faces) for sign in (-1, 1)
        )
        # The derivative holds visibility fixed, so compare where it stays, and away from slivers' steep ends.
        kept = (below == above) & (above >= 0) & (jnp.abs(other - one).max(-1) < 1e-4)
        assert np.mean(kept) > (0.003 if kind == "slivers" else 0.05)
        weights = jnp.where(kept[..., None], jnp.asarray(rng.normal(size=one.shape)), 0)
        gradients = _slopes(vertices, colours, faces, weights)
        slope = sum(jnp.sum(g * move) for g, move in zip(gradients, moves, strict=True))
        np.testing.assert_allclose(slope, jnp.sum((other - one) * weights) / 2, rtol=1e-4)
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

    (value, (triangle, values)), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(meshes, colours)
    assert np.isfinite(value) and np.isfinite(values).all() and all(np.isfinite(g).all() for g in gradients)
    assert (triangle[0, 1:-1, 1:-1] >= 0).all() and (triangle[1] == -1).all()
    around = set(np.flatnonzero((faces == 40).any(1)))  # what touches the vertex that is no number
    for k in (2, 3):
        assert len(around) == 6 and not around & set(np.unique(triangle[k])) and (triangle[k] >= 0).any()
    colours = jnp.zeros((81, 1)).at[0].set(jnp.nan)  # an attribute that is no number stays where it is
    fragments = compiled.rasterize(meshes[1], CAMERA, faces=faces)
    assert (compiled.interpolate(fragments, colours, faces=faces) == 0).all()


def test_samples_on_an_edge_have_the_gradient_of_either_side():
    """A frontal plane of depth z cut along the middle, where samples lie: moving it by dz moves every depth by dz."""
    camera = camera_lib.Camera(5)
    vertices = jnp.asarray([[-1.0, -1, 1], [0, -1, 1], [1, -1, 1], [-1, 1, 1], [0, 1, 1], [1, 1, 1]])
    faces = np.array([[0, 1, 3], [1, 4, 3], [1, 2, 4], [2, 5, 4]])

    def depth(vertices):
        return compiled.rasterize(vertices, camera, faces=faces).depth

    np.testing.assert_allclose(depth(vertices), 1, rtol=1e-6)  # the last bit is the processor's
    _, change = jax.jvp(depth, (vertices,), (jnp.zeros_like(vertices).at[:, 2].set(1),))
    np.testing.assert_allclose(change, 1, rtol=1e-6)
