"""Sampling and resizing: goldens, torch where it is installed, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from helpers.parity_record import LARGEST, largest, relative
from helpers.tiny_stylegan2 import nhwc
from jax.test_util import check_grads

from gan2shape_jax.geometry import resample


def test_sizes_equal_golden(golden, parity):
    archive = golden("losses.npz")
    image = nhwc(archive["a"])
    for size in (32, 48, 96, 128):
        off = relative(resample.resize(image, size), nhwc(archive[f"resize{size}"]))
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
        found, pull = jax.vjp(sample, jnp.asarray(image), jnp.asarray(grid))
        name = f"sampling, {mode}, float64"
        parity(name, largest(found, expected.detach().numpy()), 1e-12, measure=LARGEST)
        for to, ours, theirs in zip(("image", "grid"), pull(jnp.asarray(cotangent)), inputs, strict=True):
            parity(f"{name}, gradient to the {to}", largest(ours, theirs.grad.numpy()), 1e-11, measure=LARGEST)


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="mode is 'bicubic'"):
        resample.grid_sample(jnp.ones((2, 2, 1)), jnp.zeros((2, 2, 2)), mode="bicubic")


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
