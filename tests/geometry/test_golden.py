"""Camera, normals, shading, sampling: the tensors of the published code at two sizes, planes, gradients."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from helpers.parity_record import LARGEST, PER_VALUE, largest, per_value, relative, share_off
from helpers.tiny_stylegan2 import nhwc
from jax.test_util import check_grads

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import lighting, resample

_FILE = "renderer.npz"


@pytest.fixture(scope="module", params=[pytest.param(32, marks=pytest.mark.heavy), 64])
def case(request, golden):
    """The camera, and the tensors by name."""
    start = f"s{request.param}/"
    tensors = {key.removeprefix(start): v for key, v in golden(_FILE).items() if key.startswith(start)}
    return camera_lib.Camera(request.param), tensors


@jax.jit
def _transformed(depth, warped, view, camera):
    return (
        camera_lib.rotation_matrix(view[:, :3]),
        camera_lib.back_project(depth, camera),
        camera_lib.warped_grid(depth, view, camera),
        camera_lib.inverse_warped_grid(warped, view, camera),
    )


_normals = jax.jit(lighting.normals, static_argnames="unit")
_resized = jax.jit(resample.resize, static_argnames="size")


def test_transforms(case, parity):
    camera, tensors = case
    parity("camera, intrinsics", per_value(camera_lib.intrinsics(camera), tensors["K"]), 1e-6, _FILE, PER_VALUE)
    depth, view, warped = (jnp.asarray(tensors[key]) for key in ("depth", "view", "half/warped_depth"))
    names = (
        ("rotation matrices", "rotation"),
        ("back-projected points", "grid3d"),
        ("warped grid", "warped_grid2d"),
        ("inverse warped grid", "inv_grid2d"),
    )
    for (name, key), actual in zip(names, _transformed(depth, warped, view, camera), strict=True):
        parity(f"camera, {name}, S={camera.image_size}", relative(actual, tensors[key]), 1e-5, _FILE)


def test_normals(case, parity):
    camera, tensors = case
    depth, expected = jnp.asarray(tensors["depth"]), tensors["normal"]
    off = relative(_normals(depth, camera, unit=False), expected)
    parity(f"normals as published (short), S={camera.image_size}", off, 1e-5, _FILE)
    # The same directions at full length; at this field of view the published ones are visibly short.
    length = np.linalg.norm(expected, axis=-1)
    off = largest(_normals(depth, camera), expected / length[..., None])
    parity(f"normals, directions, S={camera.image_size}", off, 1e-4, _FILE, LARGEST)
    assert length[:, 1:-1, 1:-1].min() < 1 - 5e-4


def test_samples(case, parity):
    camera, tensors = case
    texture, grid = nhwc(tensors["texture"]), jnp.asarray(tensors["inv_grid2d"])
    for mode, key in (("bilinear", "resampled"), ("nearest", "resampled_nearest")):
        off = relative(compiled.grid_sample(texture, grid, mode=mode), nhwc(tensors[key]))
        parity(f"sampling, {mode}, S={camera.image_size}", off, 1e-5, _FILE)


@pytest.mark.parametrize("sampling", ["half", "centred"])
def test_warped_depth_and_gradients(case, parity, sampling):
    camera, tensors = case
    what = f"{sampling} sampling, S={camera.image_size}"
    depth, view, cotangent = (jnp.asarray(tensors[key]) for key in ("depth", "view", "cotangent"))
    warp = jax.jit(lambda d, v: compiled.warp_depth(d, v, camera, sampling=sampling))
    actual, pull = jax.vjp(warp, depth, view)
    expected = tensors[f"{sampling}/warped_depth"]
    off = share_off(np.abs(actual - expected) <= 1e-5 * expected)
    parity(f"warped depth, {what}", off, 1e-3, _FILE, "share of pixels off by > 1e-5")
    for name, gradient in zip(("depth", "view"), pull(cotangent), strict=True):
        off = relative(gradient, tensors[f"{sampling}/grad_{name}"])
        parity(f"warped depth, gradient to {name}, {what}", off, 1e-3, _FILE)


def test_reconstruction(case, parity):
    camera, tensors = case
    depth, view = jnp.asarray(tensors["half/warped_depth"]), jnp.asarray(tensors["view"])
    actual = compiled.draw_texture(nhwc(tensors["texture"]), depth, view, camera)
    # Rounding of the grid moves samples by 1e-5 pixels of a texture that is white noise.
    off = relative(actual, np.clip(nhwc(tensors["resampled"]), -1, 1))
    parity(f"reconstruction from the warped depth, S={camera.image_size}", off, 1e-4, _FILE)


def test_sizes_equal_golden(golden, parity):
    archive = golden("losses.npz")
    image = nhwc(archive["a"])
    for size in (32, 48, 96, 128):
        off = relative(_resized(image, size=size), nhwc(archive[f"resize{size}"]))
        parity(f"resizing, {image.shape[-2]} to {size} pixels", off, 1e-5, "losses.npz")
    off = largest(resample.center_crop(image, 42), nhwc(archive["crop42"]))
    parity("cropping", off, 0, "losses.npz", LARGEST)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_samples_and_gradients_equal_torch(mode, parity):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    image, grid = rng.normal(size=(2, 5, 7, 3)), rng.uniform(-1.4, 1.4, (2, 4, 6, 2))
    cotangent = rng.normal(size=(2, 4, 6, 3))
    inputs = [torch.tensor(image, requires_grad=True), torch.tensor(grid, requires_grad=True)]
    expected = torch.nn.functional.grid_sample(
        inputs[0].permute(0, 3, 1, 2), inputs[1], mode=mode, align_corners=True
    ).permute(0, 2, 3, 1)
    expected.backward(torch.tensor(cotangent))
    with jax.enable_x64(True):
        sample = functools.partial(compiled.grid_sample, mode=mode)
        actual, pull = jax.vjp(sample, jnp.asarray(image), jnp.asarray(grid))
        name = f"sampling, {mode}, float64"
        parity(name, largest(actual, expected.detach().numpy()), 1e-12, measure=LARGEST)
        for to, ours, theirs in zip(("image", "grid"), pull(jnp.asarray(cotangent)), inputs, strict=True):
            parity(f"{name}, gradient to the {to}", largest(ours, theirs.grad.numpy()), 1e-11, measure=LARGEST)


def test_far_outside_is_zero_with_finite_gradients_and_another_mode_is_refused():
    with pytest.raises(ValueError, match="mode is 'bicubic'"):
        resample.grid_sample(jnp.ones((2, 2, 1)), jnp.zeros((2, 2, 2)), mode="bicubic")
    with pytest.raises(ValueError, match="image is of uint8; sampled bilinearly, it must be floating point"):
        inspect.unwrap(resample.grid_sample)(jnp.ones((2, 2, 1), jnp.uint8), jnp.zeros((2, 2, 2)))
    image = jnp.ones((4, 4, 1))
    grid = jnp.array([[[1e30, 0.0], [0.0, -1e30], [3.0, 3.0], [-1.0, 1.0]]])
    actual = compiled.grid_sample(image, grid)
    np.testing.assert_allclose(actual[0, :, 0], [0, 0, 0, 1], atol=1e-6)
    gradients = jax.grad(lambda i, g: jnp.sum(compiled.grid_sample(i, g)), argnums=(0, 1))(image, grid)
    assert all(np.isfinite(g).all() for g in gradients)


def _depth(side, seed=0):
    y, x = np.mgrid[:side, :side] / side
    return 1 + 0.05 * np.sin(5 * x + seed) * np.cos(4 * y)


def test_planes_have_their_normal():
    camera = camera_lib.Camera(12)
    with jax.enable_x64(True):
        frontal = _normals(np.full((12, 12), 1.05), camera)
        np.testing.assert_allclose(frontal, np.broadcast_to([0, 0, 1], (12, 12, 3)), atol=1e-12)
        # Points with n . p = 1, for a tilted n.
        normal = np.array([0.3, -0.2, 1.0])
        rays = np.asarray(camera_lib.back_project(jnp.ones((12, 12)), camera))
        tilted = _normals(1 / (rays @ normal), camera)
        expected = np.broadcast_to(normal / np.linalg.norm(normal), (10, 10, 3))
        np.testing.assert_allclose(tilted[1:-1, 1:-1], expected, atol=1e-12)
        np.testing.assert_array_equal(tilted[0], np.broadcast_to([0, 0, 1], (12, 3)))


def test_unit_normal_gradients_are_finite():
    camera = camera_lib.Camera(6)
    depth = jnp.asarray([np.ones((6, 6)), np.zeros((6, 6)), _depth(6)], jnp.float32)
    gradient = jax.jit(jax.grad(lambda d: jnp.sum(lighting.normals(d, camera)[..., 0])))(depth)
    assert np.isfinite(gradient).all()


def test_shading_acts_on_zero_to_one():
    albedo = jnp.array([[[-1.0, 0.0, 1.0]]])
    np.testing.assert_allclose(lighting.apply_shading(albedo, jnp.array([[0.5]])), [[[-1, -0.5, 0]]], atol=1e-7)
    np.testing.assert_allclose(lighting.apply_shading(albedo, jnp.ones((1, 1))), albedo)


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


def test_gradients_equal_finite_differences():
    camera, rng = camera_lib.Camera(5), np.random.default_rng(3)
    with jax.enable_x64(True):
        normal, light, albedo, image = (jnp.asarray(rng.normal(size=s)) for s in ((3, 3, 3), 4, (3, 3, 3), (6, 6, 2)))
        depth, rough = jnp.asarray(_depth(5)), jnp.asarray(rng.uniform(0.9, 1.1, (5, 5)))
        view = jnp.asarray(rng.normal(size=6) * 0.3)
        cases = [(functools.partial(resample.resize, size=size), image) for size in (3, 9)]
        cases += [(functools.partial(lighting.normals, camera=camera, unit=unit), depth) for unit in (True, False)]
        cases += [(lambda n, lit, a: lighting.apply_shading(a, lighting.shade(n, lit)[0]), normal, light, albedo)]
        for warp in (camera_lib.warped_grid, camera_lib.inverse_warped_grid):
            cases += [(functools.partial(warp, camera=camera), rough, view)]
        for function, *arguments in cases:
            check_grads(jax.jit(function), arguments, order=1, eps=1e-6)
