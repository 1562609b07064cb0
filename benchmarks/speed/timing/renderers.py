"""Our rasteriser, diffren and jaxrenderer as functions from depth maps and views to visible depth."""

from __future__ import annotations

import ctypes
import dataclasses
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
from gan2shape_jax.geometry import rasterizer, render

__all__ = ["Renderer", "available", "diffren_attributes", "jaxrenderer_depth"]

# Depth maps (b, s, s) and views (b, 6) to visible depth, (b, s, s).
Render = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Renderer:
    """A renderer and how it is timed.

    Attributes:
      name: its name in the table.
      render: the renderer.
      images: how many images of the batch it renders.
      like_for_like: whether it samples where ours does with one sample, so that the two must agree.
      gradient: whether its gradient is computed.
      slow: whether it takes seconds; slow ones are timed separately and only a few times.
    """

    name: str
    render: Render
    images: int
    like_for_like: bool = True
    gradient: bool = True
    slow: bool = False


def mesh(depth: jax.Array, views: jax.Array, camera: camera_lib.Camera) -> jax.Array:
    """Returns the vertices in the view's frame, (b, s, s, 3)."""
    return camera_lib.transform(camera_lib.back_project(depth, camera), views, camera)


def faces(side: int) -> np.ndarray:
    """Returns the package's triangles as vertex numbers (2 (s-1)^2, 3), wound so that jaxrenderer draws them."""
    numbers = np.arange(side * side, dtype=np.int32).reshape(side, side)
    upper_left, upper_right, lower_left, lower_right = (
        numbers[i : i - 1 or None, j : j - 1 or None].ravel() for i in (0, 1) for j in (0, 1)
    )
    first = np.stack([upper_left, upper_right, lower_left], -1)
    return np.concatenate([first, np.stack([upper_right, lower_right, lower_left], -1)])


def projection(camera: camera_lib.Camera) -> np.ndarray:
    """Returns the matrix to OpenGL's clip space, y down and no far plane: z / w is 1 - 2 near / depth."""
    scale = 2 * camera.focal_length / camera.image_size
    rows = [[scale, 0, 0, 0], [0, scale, 0, 0], [0, 0, 1, -2 * camera.near], [0, 0, 1, 0]]
    return np.array(rows, np.float32)


def one_sample(camera: camera_lib.Camera) -> Render:
    return lambda depth, views: rasterizer.rasterize(mesh(depth, views, camera), camera).depth


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

    def one(vertices):
        eye = package.Camera.create(view, jnp.asarray(projection(camera)), viewport)
        empty = jnp.full((size, size), 1 - 2 * camera.near / camera.far, jnp.float32)
        extra = shaders.DepthExtraInput(vertices)
        seen = package.render(
            eye, shaders.DepthShader, package.Buffers(empty, ()), jnp.asarray(triangles), extra
        ).zbuffer
        return 2 * camera.near / (1 - seen.T)  # its buffers are (x, y)

    return one


def jaxrenderer(camera: camera_lib.Camera) -> Render | None:
    """Returns jaxrenderer's depth shader, image by image, or None if it is not installed."""
    one = jaxrenderer_depth(camera, faces(camera.image_size))
    if one is None:
        return None
    return lambda depth, views: jax.lax.map(lambda v: one(v.reshape(-1, 3)), mesh(depth, views, camera))


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

    def one(vertices, attributes):
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

    return one


def diffren(camera: camera_lib.Camera, checkout: pathlib.Path) -> Render:
    """Returns diffren's depth without splatting, with weights differentiable in the vertices."""
    attributes = diffren_attributes(camera, faces(camera.image_size), checkout)

    def one(vertices):
        vertices = vertices.reshape(-1, 3)
        seen = attributes(vertices, vertices[:, 2:])[..., 0]
        return jnp.where(seen > 0, seen, camera.far)

    return lambda depth, views: jax.vmap(one)(mesh(depth, views, camera))


def available(
    camera: camera_lib.Camera, batch: int, checkout: pathlib.Path | None, largest: int
) -> tuple[list[Renderer], list[str]]:
    """Returns the renderers that can be timed, ours at one sample first, and lines on what is left out."""
    renderers = [
        Renderer("ours", one_sample(camera), batch),
        Renderer("ours, 2 x 2", lambda d, v: render.warp_depth(d, v, camera), batch, like_for_like=False),
    ]
    left_out = []
    if checkout is None:
        left_out.append("diffren: left out, no --diffren")
    elif jax.default_backend() != "cpu":
        left_out.append("diffren: left out, only its CPU kernel is built here")
    else:
        renderers.append(Renderer("diffren", diffren(camera, checkout), batch))
    if (theirs := jaxrenderer(camera)) is None:
        left_out.append("jaxrenderer: left out, it is not installed")
    else:
        gradient = camera.image_size <= largest
        renderers.append(Renderer("jaxrenderer", theirs, 1, gradient=gradient, slow=True))
        if not gradient:
            left_out.append(f"jaxrenderer: no gradient above --largest {largest}")
    return renderers, left_out
