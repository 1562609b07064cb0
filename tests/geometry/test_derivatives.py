"""Derivatives of what renders, in every mode and arrangement, and in the kernels for TPU, interpreted here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.rendered import CASES, OTHERS
from helpers.simulated import records_of
from jax.flatten_util import ravel_pytree

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, render, tpu, visibility
from gan2shape_jax.platforms import tracing_for


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def _close(first, other):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(b).max())


_LONG = [pytest.param(name, marks=pytest.mark.heavy) for name in ("drawn mesh", "warped depth")]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["sampled image", *_LONG])
def test_gradients_of_maps_and_maps_of_gradients_agree(name):
    loss, arguments = CASES[name](batch=3)
    mapped = jax.jit(jax.vmap(jax.grad(loss)))(arguments)
    of_map = jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(loss)(x))))(arguments)
    whole = jax.jit(jax.grad(loss))(arguments)  # the batch that the function itself takes
    first = jax.jit(jax.grad(loss))(jax.tree.map(lambda x: x[1], arguments))
    _close(mapped, of_map)
    _close(mapped, whole)
    _close(jax.tree.map(lambda x: x[1], mapped), first)


_COMPILE_LONG = "warped depth", "blended mesh", "drawn mesh", "drawn grid", "textured mesh"
_COMPILE_LONG = [pytest.param(name, marks=pytest.mark.heavy) for name in _COMPILE_LONG]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["sampled image", *_COMPILE_LONG])
def test_second_derivatives_of_every_mode_equal_finite_differences(name):
    """Of every operation: forward over reverse, reverse over reverse, reverse over forward; and forward over itself."""
    loss, arguments = (CASES | OTHERS)[name]()
    flat, restore = ravel_pytree(arguments)

    def value(x):
        return loss(restore(x))

    @jax.jit
    def run(x, direction):
        def along(x):
            return jax.jvp(value, (x,), (direction,))[1]

        gradient = jax.grad(value)
        products = (
            jax.jvp(gradient, (x,), (direction,))[1],
            jax.grad(lambda x: jnp.vdot(gradient(x), direction))(x),
            jax.grad(along)(x),
        )
        return gradient(x), products, along(x), jax.jvp(along, (x,), (direction,))[1]

    flat, direction = np.asarray(flat), np.random.default_rng(1).normal(size=flat.size)
    gradient, products, slope, bend = run(flat, direction)
    (above, *_), (below, *_) = (run(flat + step, direction) for step in (1e-7 * direction, -1e-7 * direction))
    expected = (above - below) / 2e-7
    for product in products:
        np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(product, products[0], rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert abs(slope) > 0 and abs(bend) > 0
    np.testing.assert_allclose(slope, direction @ gradient, rtol=1e-9)
    np.testing.assert_allclose(bend, direction @ products[0], rtol=1e-9)


@pytest.mark.heavy
def test_eight_devices_see_what_one_sees():
    (record,) = records_of("derivatives_program.py")
    assert set(record) == set(CASES)
    for name, errors in record.items():
        assert max(errors.values()) < 1e-10 and len(errors) >= 3, (name, errors)


@pytest.mark.parametrize(
    ("side", "count", "roughness", "most", "chunks"),
    [
        (10, 40, 9.0, 48, 3),  # folded, across many tiles; three rows of cells in fast memory at once
        pytest.param(10, 40, 0.4, 2048, 1, marks=pytest.mark.heavy),
        pytest.param(67, 70, 0.7, 2048, 2, marks=pytest.mark.heavy),  # a row of cells in more than one register
        pytest.param(2, 5, 0.0, 2048, 1, marks=pytest.mark.heavy),  # one cell
    ],
)
def test_kernels_see_and_sum_what_scatters_do(monkeypatch, side, count, roughness, most, chunks):
    monkeypatch.setattr(tpu, "_CHUNK_BLOCKS", most)
    blocks = tpu._Blocks((side, side), (count, count))
    assert blocks.chunks == chunks
    rng = np.random.default_rng(0)  # vertices on screen, some beyond its border, and some that are not drawable
    y, x = np.mgrid[:side, :side] * (count + 3) / (side - 1) - 2
    x, y = (part + rng.normal(size=(2, side, side)) * roughness for part in (x, y))
    inverse = rng.uniform(0.9, 1.1, (2, side, side)) * (rng.uniform(size=(2, side, side)) > 0.02)
    screen = tuple(jnp.asarray(part, jnp.float32) for part in (x, y, inverse))
    assert (np.asarray(jax.jit(blocks.reach)(screen)[1][:, :, 4]).mean() > 0.1) == (roughness > 1)
    values = np.random.default_rng(1).normal(size=(2, 5, 2, side - 1, side - 1)).astype(np.float32)
    cotangent = np.random.default_rng(2).normal(size=(2, 5, count, count)).astype(np.float32)

    def run(visible_triangles):
        @jax.jit
        def at_samples(values, cotangent):
            depth, triangle = visible_triangles(screen, shape=(count, count))
            planes = [values[:, k] for k in range(5)]
            visible, pull = jax.vjp(
                lambda *p: jnp.stack(rasterizer.triangles_at_samples(p, triangle, screen), 1), *planes
            )
            return depth, triangle, visible, jnp.stack(pull(cotangent), 1)

        return jax.device_get(at_samples(values, cotangent))

    depth, triangle, visible, sums = run(visibility.visible_triangles)
    assert 0.2 < np.mean(triangle >= 0)
    with tracing_for("interpreted"):
        actual = run(tpu.visible_triangles)
    np.testing.assert_array_equal(actual[1], triangle)
    np.testing.assert_allclose(actual[0], depth, rtol=1e-6)
    np.testing.assert_array_equal(actual[2], visible)
    np.testing.assert_allclose(actual[3], sums, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [pytest.param("warped depth", marks=pytest.mark.heavy), "sampled image"])
def test_derivatives_are_those_of_the_other_form(name):
    """Values, gradients under vmap, and the gradient of a gradient's norm."""
    with jax.enable_x64(True):
        loss, arguments = CASES[name](batch=2)

        def everything(arguments):
            def norm(arguments):
                gradient = jax.grad(loss)(arguments)
                return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient))

            return loss(arguments), jax.vmap(jax.grad(loss))(arguments), jax.grad(norm)(arguments)

        expected = jax.jit(everything)(arguments)
        with tracing_for("interpreted"):
            actual = jax.jit(everything)(arguments)
    for first, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(first, other, rtol=1e-8, atol=1e-10 * np.abs(other).max())


@pytest.mark.parametrize(
    ("platform", "scatters", "kernels"), [pytest.param("gpu", True, 0, marks=pytest.mark.heavy), ("tpu", False, 3)]
)
def test_a_program_for_a_tpu_has_kernels_and_no_scatter(platform, scatters, kernels):
    """Also where `jax.shard_map` refuses branches and kernels that do not say that they vary over devices."""
    camera = camera_lib.Camera(8)
    split = jax.sharding.PartitionSpec("images")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("images",))

    def loss(depth, view, texture):
        return jnp.sum(render.draw_texture(texture, render.warp_depth(depth, view, camera), view, camera))

    gradient = jax.grad(loss, argnums=(0, 1, 2))
    arguments = jnp.ones((2, 8, 8)), jnp.zeros((2, 6)), jnp.ones((2, 8, 8, 3))
    target = "cuda" if platform == "gpu" else platform
    mapped = jax.shard_map(gradient, mesh=mesh, in_specs=split, out_specs=split)
    with tracing_for(platform):
        text = jax.export.export(jax.jit(mapped), platforms=[target])(*arguments).mlir_module()
    assert ("stablehlo.scatter" in text) == scatters
    assert text.count("stablehlo.custom_call @tpu_custom_call") == kernels
