"""diffren and jaxrenderer as functions from vertices to visible attributes or depth."""

import ctypes
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.geometry import camera as camera_lib


def projection(camera: camera_lib.Camera) -> np.ndarray:
    """Returns the matrix to OpenGL's clip space, y down and no far plane: z / w is 1 - 2 near / depth."""
    scale = 2 * camera.focal_length / camera.image_size
    rows = [[scale, 0, 0, 0], [0, scale, 0, 0], [0, 0, 1, -2 * camera.near], [0, 0, 1, 0]]
    return np.array(rows, np.float32)


def load_jaxrenderer() -> tuple[types.ModuleType, types.ModuleType] | None:
    """Returns the package and its depth shader, or None where it is not installed."""
    update = jax.config.update

    def tolerant(name: str, value: Any) -> None:
        # On import it sets an option that JAX no longer has, since it is now always on.
        if name != "jax_array":
            update(name, value)

    warnings.filterwarnings("ignore", message="As of jaxtyping")  # once for every function of it
    try:
        with mock.patch.object(jax.config, "update", tolerant):
            return importlib.import_module("renderer"), importlib.import_module("renderer.shaders.depth")
    except ModuleNotFoundError:
        return None


def jaxrenderer_depth(camera: camera_lib.Camera, triangles: np.ndarray) -> Callable[[jax.Array], jax.Array] | None:
    """Returns a function from vertices (v, 3) to jaxrenderer's visible depth, or None if it is not installed."""
    if (modules := load_jaxrenderer()) is None:
        return None
    package, shaders = modules
    size = camera.image_size
    half, first = size / 2, (size - 1) / 2  # pixel centres at integers, like ours
    viewport = jnp.array([[half, 0, 0, first], [0, half, 0, first], [0, 0, 1, 0], [0, 0, 0, 1]], jnp.float32)
    view = jnp.eye(4, dtype=jnp.float32)

    def render_one(vertices):
        eye = package.Camera.create(view, jnp.asarray(projection(camera)), viewport)
        empty = jnp.full((size, size), 1 - 2 * camera.near / camera.far, jnp.float32)
        extra = shaders.DepthExtraInput(vertices)
        picture = package.render(
            eye, shaders.DepthShader, package.Buffers(empty, ()), jnp.asarray(triangles), extra
        ).zbuffer
        return 2 * camera.near / (1 - picture.T)  # its buffers are (x, y)

    return render_one


def build_diffren(checkout: pathlib.Path, folder: pathlib.Path) -> ctypes.CDLL:
    """Compiles diffren's CPU kernel with a handler for XLA and loads it."""
    library = folder / "rasterize_triangles.so"
    sources = (
        pathlib.Path(__file__).with_name("diffren.cc"),
        checkout / "diffren/common/kernels/rasterize_triangles_impl.cc",
    )
    headers = f"-I{checkout}", "-isystem", jax.ffi.include_dir()  # without warnings about code that is not ours
    flags = "-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", *headers
    subprocess.run([os.environ.get("CXX", "g++"), *flags, *map(str, sources), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def load_diffren(checkout: pathlib.Path) -> tuple[types.ModuleType, types.ModuleType]:
    """Compiles diffren's CPU kernel and returns its modules `render` and `constants`."""
    with tempfile.TemporaryDirectory() as folder:
        handler = jax.ffi.pycapsule(build_diffren(checkout, pathlib.Path(folder)).RasterizeTriangles)
    # Its extension modules are normally built by bazel; they only name their handlers.
    for device, handlers in {"cpu": {"rasterize_triangles": handler}, "gpu": {}}.items():
        name = f"diffren.jax.internal.kernels.rasterize_triangles_{device}"
        module = types.ModuleType(name)
        vars(module)["registrations"] = lambda handlers=handlers: handlers
        sys.modules[name] = module
    sys.path.append(str(checkout))
    return importlib.import_module("diffren.jax.render"), importlib.import_module("diffren.jax.constants")


def diffren_attributes(
    camera: camera_lib.Camera, triangles: np.ndarray, checkout: pathlib.Path
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns diffren's interpolation of attributes (v, c) of vertices (v, 3), without splatting, 0 where empty.

    Its weights are differentiable in the vertices.
    """
    renderer, constants = load_diffren(checkout)
    size = camera.image_size

    def render_one(vertices, attributes):
        return renderer.render_triangles(
            vertices,
            {"values": attributes},
            jnp.asarray(triangles),
            jnp.asarray(projection(camera)),
            size,
            size,
            lambda interpolated: interpolated["values"],
            face_culling_mode=constants.FaceCullingMode.NONE,
            compositing_mode=constants.CompositingMode.NONE,
            compute_diff_barys=True,
        )[0]

    return render_one
