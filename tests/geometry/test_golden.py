"""Camera, normals, sampling and rendering against the tensors of the published code's renderer, at two sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled
from helpers.parity_record import LARGEST, PER_VALUE, largest, per_value, relative, share_off
from helpers.tiny_stylegan2 import nhwc

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import lighting

_FILE = "renderer.npz"


@pytest.fixture(scope="module", params=[pytest.param(32, marks=pytest.mark.heavy), 64])
def case(request, golden):
    """The camera, and the tensors by name."""
    start = f"s{request.param}/"
    tensors = {key.removeprefix(start): v for key, v in golden(_FILE).items() if key.startswith(start)}
    return cameras.Camera(request.param), tensors


def test_transforms(case, parity):
    camera, tensors = case
    parity("camera, intrinsics", per_value(cameras.intrinsics(camera), tensors["K"]), 1e-6, _FILE, PER_VALUE)
    depth, view, warped = (jnp.asarray(tensors[key]) for key in ("depth", "view", "half/warped_depth"))
    for name, key, found in (
        ("rotation matrices", "rotation", cameras.rotation_matrix(view[:, :3])),
        ("back-projected points", "grid3d", cameras.back_project(depth, camera)),
        ("warped grid", "warped_grid2d", cameras.warped_grid(depth, view, camera)),
        ("inverse warped grid", "inv_grid2d", cameras.inverse_warped_grid(warped, view, camera)),
    ):
        parity(f"camera, {name}, S={camera.image_size}", relative(found, tensors[key]), 1e-5, _FILE)


def test_normals(case, parity):
    camera, tensors = case
    depth, expected = jnp.asarray(tensors["depth"]), tensors["normal"]
    off = relative(lighting.normals(depth, camera, unit=False), expected)
    parity(f"normals as published (short), S={camera.image_size}", off, 1e-5, _FILE)
    # The same directions at full length; at this field of view the published ones are visibly short.
    length = np.linalg.norm(expected, axis=-1)
    off = largest(lighting.normals(depth, camera), expected / length[..., None])
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
    found, pull = jax.vjp(warp, depth, view)
    expected = tensors[f"{sampling}/warped_depth"]
    off = share_off(np.abs(found - expected) <= 1e-5 * expected)
    parity(f"warped depth, {what}", off, 1e-3, _FILE, "share of pixels off by > 1e-5")
    for name, gradient in zip(("depth", "view"), pull(cotangent), strict=True):
        off = relative(gradient, tensors[f"{sampling}/grad_{name}"])
        parity(f"warped depth, gradient to {name}, {what}", off, 1e-3, _FILE)


def test_reconstruction(case, parity):
    camera, tensors = case
    depth, view = jnp.asarray(tensors["half/warped_depth"]), jnp.asarray(tensors["view"])
    found = compiled.draw_texture(nhwc(tensors["texture"]), depth, view, camera)
    # Rounding of the grid moves samples by 1e-5 pixels of a texture that is white noise.
    off = relative(found, np.clip(nhwc(tensors["resampled"]), -1, 1))
    parity(f"reconstruction from the warped depth, S={camera.image_size}", off, 1e-4, _FILE)
