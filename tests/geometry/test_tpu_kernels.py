"""The kernels for TPU: what the scatters give, in any arrangement; what a program lowered for each platform holds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.rendered import CASES

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, render, seen_values, visibility
from gan2shape_jax.geometry.tpu import blocks as blocks_lib
from gan2shape_jax.geometry.tpu import operations
from gan2shape_jax.geometry.tpu import values as tpu_values
from gan2shape_jax.geometry.tpu import visibility as tpu_visibility
from gan2shape_jax.platforms import emulated_tpu

_FAR = 100.0


def _screen(side, count, *, roughness, batch=2):
    """Returns vertices on screen, some beyond its border, and some that are not drawable."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] * (count + 3) / (side - 1) - 2
    x, y = (part + rng.normal(size=(batch, side, side)) * roughness for part in (x, y))
    inverse = rng.uniform(0.9, 1.1, (batch, side, side)) * (rng.uniform(size=(batch, side, side)) > 0.02)
    return tuple(jnp.asarray(part, jnp.float32) for part in (x, y, inverse))


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
    monkeypatch.setattr(blocks_lib, "_CHUNK_BLOCKS", most)
    blocks = blocks_lib.Blocks(side, count)
    assert blocks.chunks == chunks
    screen = _screen(side, count, roughness=roughness)
    assert (np.asarray(blocks.reach(screen).tiles[:, :, 4]).mean() > 0.1) == (roughness > 1)
    depth, triangle = visibility.visible_triangles(screen, count=count, far=_FAR)
    assert 0.2 < np.mean(triangle >= 0)
    values = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 2, side - 1, side - 1)), jnp.float32)
    cotangent = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5, count, count)), jnp.float32)

    def at_samples(values):
        planes = [values[:, k] for k in range(5)]
        return jnp.stack(seen_values.triangles_at_samples(planes, triangle, screen), 1)

    expected, pull = jax.vjp(at_samples, values)
    with emulated_tpu():
        found = jax.jit(lambda: operations.visible_triangles(screen, count=count, far=_FAR))()
        seen, pull_kernel = jax.vjp(lambda values: at_samples(values), values)
        sums = jax.jit(lambda c: pull_kernel(c))(cotangent)[0]
    np.testing.assert_array_equal(found[1], triangle)
    np.testing.assert_allclose(found[0], depth, rtol=1e-6)
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_allclose(sums, pull(cotangent)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.heavy
def test_loops_that_are_written_out_give_the_same():
    """What is compiled for a TPU has them written out, what tests interpret has not."""
    screen = _screen(10, 40, roughness=2.0)
    values = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 2, 9, 9)), jnp.float32)

    @functools.partial(jax.jit, static_argnames="unroll")
    def everything(unroll):
        options = {"interpret": True, "unroll": unroll}
        depth, triangle = tpu_visibility.visible_triangles(screen, count=40, far=_FAR, **options)
        seen = tpu_values.values_at_samples(values, triangle, screen, **options)
        return depth, triangle, seen, tpu_values.sums_over_samples(jnp.sin(seen), triangle, screen, **options)

    jax.tree.map(np.testing.assert_array_equal, everything(True), everything(False))


@pytest.mark.parametrize("name", [pytest.param("warped depth", marks=pytest.mark.heavy), "sampled image"])
def test_derivatives_are_those_of_the_other_form(name):
    """Forward and backward mode, second derivatives, and batches under vmap."""
    with jax.enable_x64(True):
        loss, arguments = CASES[name](batch=2)
        change = jax.tree.map(lambda x: jnp.asarray(np.random.default_rng(0).normal(size=x.shape)), arguments)

        def everything(arguments, change):
            mapped = jax.vmap(jax.grad(loss))(arguments)
            twice = jax.jvp(jax.grad(loss), (arguments,), (change,))
            return mapped, twice, jax.jvp(loss, (arguments,), (change,))

        expected = jax.jit(everything)(arguments, change)
        with emulated_tpu():
            found = jax.jit(lambda a, c: everything(a, c))(arguments, change)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10 * np.abs(other).max())


@pytest.mark.parametrize(("platform", "scatters", "kernels"), [("cpu", True, 0), ("cuda", True, 0), ("tpu", False, 5)])
def test_a_program_for_a_tpu_has_kernels_and_no_scatter(platform, scatters, kernels):
    camera = camera_lib.Camera(8)

    def loss(depth, view, texture):
        return jnp.sum(render.reconstruct(texture, render.warp_depth(depth, view, camera), view, camera))

    arguments = jnp.ones((2, 8, 8)), jnp.zeros((2, 6)), jnp.ones((2, 8, 8, 3))
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    text = jax.export.export(gradient, platforms=[platform])(*arguments).mlir_module()
    assert ("stablehlo.scatter" in text) == scatters
    assert text.count("stablehlo.custom_call @tpu_custom_call") == kernels


@pytest.mark.parametrize(("platform", "kernels"), [("cpu", 0), ("tpu", 3)])
def test_results_vary_over_devices_as_arguments_do(platform, kernels):
    """`jax.shard_map` refuses branches and kernels that do not say so."""
    camera = camera_lib.Camera(6)
    split = jax.sharding.PartitionSpec("images")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("images",))

    def gradient(depth, view):
        return jax.grad(lambda d: jnp.sum(render.warp_depth(d, view, camera) ** 2))(depth)

    sharded = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=split, out_specs=split))
    exported = jax.export.export(sharded, platforms=[platform])(jnp.ones((2, 6, 6)), jnp.zeros((2, 6)))
    assert exported.mlir_module().count("stablehlo.custom_call @tpu_custom_call") == kernels


def test_only_samples_of_the_grid_come_back():
    blocks = blocks_lib.Blocks(5, 21)
    samples = jnp.arange(2 * 21 * 21).reshape(2, 21, 21)
    tiles = blocks.tiled(samples, fill=-1)
    assert tiles.shape == (2, blocks.tiles, 128) and blocks.tiles >= (2 + 1) * (3 + 1)
    np.testing.assert_array_equal(blocks.untiled(tiles), samples)


def test_a_whole_rasterisation_is_the_same():
    camera = camera_lib.Camera(12)
    depth = jnp.asarray(1 + 0.02 * np.random.default_rng(3).normal(size=(2, 12, 12)), jnp.float32)
    view = jnp.asarray([[0.3, -0.6, 0.2, 0.01, 0, 0.02], [0.0, 1.2, 0, 0, 0, 0]], jnp.float32)

    def run(depth, view):
        vertices = camera_lib.transform(camera_lib.back_project(depth, camera), view, camera)
        return rasterizer.rasterize(vertices, camera, samples=rasterizer.SampleGrid.over(camera, supersample=2))

    expected = jax.jit(run)(depth, view)
    with emulated_tpu():
        found = jax.jit(lambda d, v: run(d, v))(depth, view)
    np.testing.assert_array_equal(found.triangle, expected.triangle)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-6)
    np.testing.assert_allclose(found.barycentric, expected.barycentric, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(("shape", "points"), [((2, 3, 16, 20), 700), ((1, 1, 5, 33), 9)])
def test_corners_are_the_pixels_around_points_to_the_last_bit(dtype, shape, points):
    """Float32 too, which passes as three numbers of bfloat16; points outside have zeros."""
    with jax.enable_x64(dtype == jnp.float64):
        rng = np.random.default_rng(0)
        image = jnp.asarray(rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape), dtype)
        low = jnp.asarray(rng.integers(-3, max(shape) + 2, (shape[0], 2, points)), dtype)

        def looked_up(image):
            padded = jnp.pad(image, ((0, 0), (0, 0), (4, 40), (4, 40)))
            x, y = low.astype(int)[:, 0] + 4, low.astype(int)[:, 1] + 4
            at = jax.vmap(lambda one, x, y: jnp.concatenate([one[:, y + j, x + i] for j in (0, 1) for i in (0, 1)]))
            return at(padded, x, y)

        with emulated_tpu():
            found, pull = jax.vjp(lambda one: operations.corners(one, low), image)
            expected, pull_expected = jax.vjp(looked_up, image)
            np.testing.assert_array_equal(found, expected)
            cotangent = jnp.asarray(rng.normal(size=found.shape), dtype)
            np.testing.assert_allclose(pull(cotangent)[0], pull_expected(cotangent)[0], rtol=1e-5, atol=1e-5)
