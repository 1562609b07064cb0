"""Sampling and resizing: goldens, torch where it is installed, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from helpers.parity_record import LARGEST, largest
from jax.test_util import check_grads

from gan2shape_jax.geometry import resample


def _relative(found, expected):
    axes = tuple(range(1, expected.ndim))
    return np.sqrt(((found - expected) ** 2).sum(axes) / (expected**2).sum(axes)).max()


def _channels_last(image):
    return np.moveaxis(image, 1, -1)


@pytest.mark.parametrize("mode, key", [("bilinear", "resampled"), ("nearest", "resampled_nearest")])
def test_samples_equal_golden(golden, parity, mode, key):
    archive = golden("renderer.npz")
    groups = sorted({name.split("/")[0] for name in archive})
    assert groups
    for group in groups:
        texture = jnp.asarray(_channels_last(archive[f"{group}/texture"]))
        grid = jnp.asarray(archive[f"{group}/inv_grid2d"])
        found = compiled.grid_sample(texture, grid, mode=mode)
        expected = _channels_last(archive[f"{group}/{key}"])
        parity(f"sampling, {mode}, S={texture.shape[-2]}", _relative(found, expected), 1e-5, "renderer.npz")


def test_sizes_equal_golden(golden, parity):
    archive = golden("losses.npz")
    image = jnp.asarray(_channels_last(archive["a"]))
    sizes = [key for key in archive if key.startswith("resize")]
    crops = [key for key in archive if key.startswith("crop")]
    assert sizes and crops
    for key in sizes:
        found = resample.resize(image, int(key.removeprefix("resize")))
        name = f"resizing, {image.shape[-2]} to {found.shape[-2]} pixels"
        parity(name, _relative(found, _channels_last(archive[key])), 1e-5, "losses.npz")
    for key in crops:
        found = resample.center_crop(image, int(key.removeprefix("crop")))
        parity("cropping", largest(found, _channels_last(archive[key])), 0, "losses.npz", LARGEST)


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
        found, pull = jax.vjp(sample, jnp.asarray(image), jnp.asarray(grid))
        name = f"sampling, {mode}, float64"
        parity(name, largest(found, expected.detach().numpy()), 1e-12, measure=LARGEST)
        for to, ours, theirs in zip(("image", "grid"), pull(jnp.asarray(cotangent)), inputs, strict=True):
            parity(f"{name}, gradient to the {to}", largest(ours, theirs.grad.numpy()), 1e-11, measure=LARGEST)


def test_far_outside_is_zero_with_finite_gradients():
    image = jnp.ones((4, 4, 1))
    grid = jnp.array([[[1e30, 0.0], [0.0, -1e30], [3.0, 3.0], [-1.0, 1.0]]])
    found = compiled.grid_sample(image, grid)
    np.testing.assert_allclose(found[0, :, 0], [0, 0, 0, 1], atol=1e-6)
    gradients = jax.grad(lambda i, g: jnp.sum(compiled.grid_sample(i, g)), argnums=(0, 1))(image, grid)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("size", [3, 5, 11])
def test_resizing_equals_torch(size, parity):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(3).normal(size=(2, 7, 7, 3))
    tensor = torch.tensor(image).permute(0, 3, 1, 2)
    if size > 7:
        expected = torch.nn.functional.interpolate(tensor, (size, size), mode="bilinear", align_corners=False)
    else:
        expected = torch.nn.functional.adaptive_avg_pool2d(tensor, size)
    with jax.enable_x64(True):
        found = resample.resize(jnp.asarray(image), size)
        parity("resizing, float64", largest(found, expected.permute(0, 2, 3, 1)), 1e-12, measure=LARGEST)


@pytest.mark.parametrize("size", [3, 9])
def test_resize_gradients(size):
    with jax.enable_x64(True):
        image = jnp.asarray(np.random.default_rng(4).normal(size=(6, 6, 2)))
        check_grads(jax.jit(lambda i: resample.resize(i, size)), (image,), order=1, modes=["rev"])
