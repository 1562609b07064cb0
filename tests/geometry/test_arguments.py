"""What all public functions of geometry take: NumPy's arrays, JAX's and lists, of any floating type, or a sentence."""

import functools
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compiled

from gan2shape_jax import platforms
from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry import camera, crop_box, lighting, mesh_rasterizer, rasterizer, render, resample, texture
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.crop_box import CropBox

_MODULES = camera, crop_box, lighting, mesh_rasterizer, rasterizer, render, resample, texture
# Functions of no array, and those that only the others call.
_OTHERS = {"intrinsics", "centred_box", "scaled_box", "grid_faces", "nothing_visible", "to_lattice"}
_OTHERS |= {"warn_if_out_of_range", "near_plane"}


@functools.cache  # for tests that run: what is drawn here takes a while to compile
def _cases():
    """Returns a function's name, then its arrays and its other arguments."""
    rng = np.random.default_rng(0)
    six = Camera(6, fov_deg=30.0)
    depth = (1 + 0.02 * rng.normal(size=(2, 6, 6))).astype(np.float32)
    view = (rng.normal(size=(2, 6)) * [0.1, 0.3, 0.1, 0.01, 0.01, 0.01]).astype(np.float32)
    points = rng.uniform([-0.2, -0.2, 0.9], [0.2, 0.2, 1.1], (2, 5, 3)).astype(np.float32)
    faces, count = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4]]), np.array(2)
    image, light = rng.uniform(size=(2, 6, 6, 3)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    grid = rng.uniform(-1, 1, (2, 4, 4, 2)).astype(np.float32)
    slopes = rng.uniform(-0.5, 0.5, (2, 4, 4, 2, 2)).astype(np.float32)
    normal, cells = jax.device_get(jax.jit(lambda d: (lighting.normals(d, six), camera.back_project(d, six)))(depth))
    fragments, mesh = (
        compiled.rasterize(points, six, faces=faces),
        {"vertices": points, "faces": faces, "count": count},
    )
    by_camera, box = {"camera": six}, {"box": CropBox(3, 3, 4, 20)}
    drawn = by_camera | {"fragments": fragments}
    return {
        "rotation_matrix": ({"angles": view[:, :3]}, {}),
        "back_project": ({"depth": depth}, by_camera),
        "to_camera": ({"points": points}, {"camera": Camera(6, extrinsics=np.eye(3, 4).tolist())}),
        "project": ({"points": points}, by_camera),
        "transform": ({"points": points, "view": view}, by_camera),
        "inverse_transform": ({"points": points, "view": view}, by_camera),
        "to_grid": ({"pixels": grid}, by_camera),
        "warped_grid": ({"depth": depth, "view": view}, by_camera),
        "inverse_warped_grid": ({"warped_depth": depth, "view": view}, by_camera),
        "moved_points": ({"depth": depth, "view": view}, by_camera),
        "crop_to_photo": ({"points": grid}, box | {"size": 4}),
        "sample_crop": ({"photo": image[0]}, box | {"size": 4}),
        "require_crop": ({"photo": image[0]}, box),
        "normals": ({"depth": depth}, by_camera),
        "light_direction": ({"light": light}, {}),
        "diffuse_shading": ({"normal": normal, "direction": light[:, :3]}, {}),
        "shade": ({"normal": normal, "light": light}, {}),
        "apply_shading": ({"albedo": image, "shading": depth}, {}),
        "harmonics": ({"normal": normal}, {}),
        "mesh_rasterizer.rasterize": (mesh, by_camera),
        "interpolate": ({"attributes": points, "faces": faces, "count": count}, {"fragments": fragments}),
        "antialias": (mesh | {"values": image}, drawn),
        "rasterizer.rasterize": ({"vertices": cells, "mask": depth > 0.97}, by_camera),
        "warp_depth": ({"depth": depth, "view": view}, by_camera),
        "valid_pixels": ({"warped_depth": depth}, by_camera),
        "draw_texture": ({"texture": image, "warped_depth": depth, "view": view}, by_camera),
        "pseudo_image": (
            {"texture": image, "depth": depth[0], "mask": (depth[0] > 0.97).astype(np.float32), "view": view},
            by_camera,
        ),
        "grid_sample": ({"image": image, "grid": grid}, {}),
        "resize": ({"image": image}, {"size": 4}),
        "average_cells": ({"image": image}, {"cell": 2}),
        "center_crop": ({"image": image}, {"size": 4}),
        "mipmaps": ({"image": image}, {}),
        "texture": ({"image": image, "coordinates": grid, "slopes": slopes, "level": grid[..., 0]}, {}),
    }


def _functions():
    """Returns the public functions by name, with their module's where two have the same."""
    of_each = [(module, name, value) for module in _MODULES for name, value in vars(module).items()
               if callable(value) and not inspect.isclass(value) and value.__module__ == module.__name__
               and name[0] != "_"]  # fmt: skip
    names = [name for _, name, _ in of_each]
    short = [module.__name__.rpartition(".")[2] + "." for module, _, _ in of_each]
    return {prefix * (names.count(name) > 1) + name: value for prefix, (_, name, value) in zip(short, of_each)}


_NAMES = sorted(_functions().keys() - _OTHERS)


def _compiled(name):
    """The function with what `platforms.arrays` makes of its arguments, and the rest of it one program."""
    function = _functions()[name]
    if function.__module__ == crop_box.__name__:  # on the host
        return function
    arrays, others = _cases()[name]
    static = [key for key in others if key in ("size", "cell")]
    return platforms.arrays(jax.jit(function.__wrapped__, static_argnames=static))


_WAYS = {"compiled": functools.cache(_compiled), "as called": lambda name: _functions()[name]}
ways = pytest.mark.parametrize("way", ["compiled", pytest.param("as called", marks=pytest.mark.heavy)])


def test_every_public_function_is_listed():
    assert set(_functions()) == set(_cases()) | _OTHERS
    package = importlib.import_module("gan2shape_jax.geometry")
    inner = {"visibility", "landmark_pose"}  # what rasterisers and predictions are made of
    assert {info.stem for info in importlib.resources.files(package).iterdir() if info.suffix == ".py"} == {
        "__init__", *inner, *(module.__name__.rpartition(".")[2] for module in _MODULES)
    }  # fmt: skip


def _leaves(result):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(result)]


@ways
@pytest.mark.parametrize("name", _NAMES)
def test_numpy_jax_and_lists_give_the_same_values(name, way):
    arrays, others = _cases()[name]
    function = _WAYS[way](name)
    expected = _leaves(function(**jax.tree.map(jnp.asarray, arrays), **others))

    def doubled(x):
        return x.astype(np.float64) if x.dtype == np.float32 else x

    for kind in (np.asarray, np.ndarray.tolist, doubled):
        for first, other in zip(_leaves(function(**jax.tree.map(kind, arrays), **others)), expected, strict=True):
            np.testing.assert_allclose(first, other, rtol=1e-5, atol=1e-6)


@ways
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", _NAMES)
def test_sixteen_bits_are_computed_with_as_thirty_two_and_rounded(name, dtype, way):
    arrays, others = _cases()[name]
    function = _WAYS[way](name)
    short = {key: jnp.asarray(x, dtype) if x.dtype == np.float32 else x for key, x in arrays.items()}
    exact = {key: x.astype(np.float32) if x.dtype == dtype else x for key, x in short.items()}
    result, expected = function(**short, **others), function(**exact, **others)
    for first, other in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        # What samples see stays exact, for what goes on from there.
        rounded = other.astype(dtype) if other.dtype == np.float32 and not name.endswith("rasterize") else other
        assert first.dtype == rounded.dtype
        np.testing.assert_array_equal(np.asarray(first), np.asarray(rounded))


@pytest.mark.parametrize("name", _NAMES)
def test_what_is_no_such_array_gets_a_sentence(name):
    arrays, others = _cases()[name]
    function = _functions()[name]
    for key, array in arrays.items():
        wrong = {"one number": np.ones((), array.dtype)} if key != "count" else {}
        wrong |= {"ragged": [[0.0], [0.0, 1.0]], "text": "abc"}
        if not (name == "grid_sample" and key == "image") and key not in ("photo", "faces", "count", "mask"):
            wrong["whole numbers"] = array.astype(np.int32)
        for value in wrong.values():
            with pytest.raises(ArgumentError, match=f"^{key} (is|has) "):
                function(**(arrays | {key: value}), **others)
