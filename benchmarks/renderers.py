"""Times renderers in JAX side by side on the same depth maps, and checks that they see the same.

    python benchmarks/renderers.py [--size 128] [--batch 16] [--repeat 10] [--diffren PATH] [--json FILE]

Each takes canonical depth maps and views (the turned ones of `rasterizer.py`), moves the grid of vertices into the
view, and returns the depth that it sees there. "forward" is that, "both" adds the gradient of the sum of the seen depth
with respect to the depth maps. Milliseconds a call, median and least, and images a second.

    ours, 2 x 2     render.warp_depth: four samples a pixel, as the package trains
    ours            rasterizer.rasterize, one sample a pixel, where the other two have theirs
    diffren         google-research/diffren, its CPU kernel in C++ and its interpolation with differentiable weights
    jaxrenderer     the JAX package of that name, its depth shader; every pixel tests every triangle

What is not there is left out:

    pip install --no-deps jaxrenderer==0.3.2                (it asks for jax < 0.5, but runs on newer ones)
    git clone https://github.com/google-research/diffren    (for --diffren; its kernel is compiled here, CXX or g++)

jaxrenderer renders one image of the batch, since it takes so long. For its gradient it keeps something of every pixel
and triangle, at side 64 0.6 GiB and at 128 10 GiB: above `--largest` only forward is timed. diffren has one thread.

"differs" is the share of pixels whose depth is off that of ours by more than 1e-3 of it, "gradient" the relative error
(L2) of the gradient, both at one sample a pixel. A row that is further off than roundings at silhouettes explain is
marked.
"""

import argparse
import ctypes
import dataclasses
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from rasterizer import scene
from rich.console import Console
from rich.table import Table
from timing import clock

from gan2shape_jax import camera as camera_lib
from gan2shape_jax import rasterizer, render

# Depth maps (b, s, s) and views (b, 6) to what is seen, (b, s, s).
Render = Callable[[jax.Array, jax.Array], jax.Array]

_DEPTH_TOLERANCE = 1e-3
# What a few pixels on silhouettes may cost, where another rounding decides whether a triangle covers them.
_MAY_DIFFER = {"differs": 0.002, "gradient": 0.02}
_SLOW_REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Renderer:
    """A renderer and how it is timed.

    Attributes:
      name: in the table.
      render: the renderer.
      images: how many of the batch it renders.
      like_for_like: whether it samples where ours at one sample does, so that the two must agree.
      gradient: whether its gradient is asked for.
      slow: whether it takes seconds; such a one is timed apart and a few times.
    """

    name: str
    render: Render
    images: int
    like_for_like: bool = True
    gradient: bool = True
    slow: bool = False


def mesh(depth: jax.Array, views: jax.Array, camera: camera_lib.Camera) -> jax.Array:
    """Returns the vertices in the view, (b, s, s, 3)."""
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


def jaxrenderer(camera: camera_lib.Camera) -> Render | None:
    """Returns jaxrenderer's depth shader, image by image, or None where it is not installed."""
    update = jax.config.update

    def tolerant(name: str, value: Any) -> None:
        # It sets an option on import that JAX no longer has, since it is always on.
        if name != "jax_array":
            update(name, value)

    warnings.filterwarnings("ignore", message="As of jaxtyping")  # once for every function of it
    try:
        with mock.patch.object(jax.config, "update", tolerant):
            package = importlib.import_module("renderer")
            shaders = importlib.import_module("renderer.shaders.depth")
    except ModuleNotFoundError:
        return None
    size = camera.image_size
    half, first = size / 2, (size - 1) / 2  # pixel centres at integers, as ours
    viewport = jnp.array([[half, 0, 0, first], [0, half, 0, first], [0, 0, 1, 0], [0, 0, 0, 1]], jnp.float32)
    view = jnp.eye(4, dtype=jnp.float32)
    triangles = jnp.asarray(faces(size))

    def one(vertices):
        eye = package.Camera.create(view, jnp.asarray(projection(camera)), viewport)
        empty = jnp.full((size, size), 1 - 2 * camera.near / camera.far, jnp.float32)
        extra = shaders.DepthExtraInput(vertices.reshape(-1, 3))
        seen = package.render(eye, shaders.DepthShader, package.Buffers(empty, ()), triangles, extra).zbuffer
        return 2 * camera.near / (1 - seen.T)  # its buffers are (x, y)

    return lambda depth, views: jax.lax.map(one, mesh(depth, views, camera))


def build_diffren(checkout: pathlib.Path, folder: pathlib.Path) -> ctypes.CDLL:
    """Compiles diffren's CPU kernel with a handler for XLA and loads it."""
    library = folder / "rasterize_triangles.so"
    sources = (
        pathlib.Path(__file__).with_name("renderers_diffren.cc"),
        checkout / "diffren/common/kernels/rasterize_triangles_impl.cc",
    )
    headers = f"-I{checkout}", "-isystem", jax.ffi.include_dir()  # without warnings of what is not ours
    flags = "-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", *headers
    subprocess.run([os.environ.get("CXX", "g++"), *flags, *map(str, sources), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def diffren(camera: camera_lib.Camera, checkout: pathlib.Path) -> Render:
    """Returns diffren's depth without splatting, with weights that are differentiable in the vertices."""
    with tempfile.TemporaryDirectory() as folder:
        handler = jax.ffi.pycapsule(build_diffren(checkout, pathlib.Path(folder)).RasterizeTriangles)
    # Its extension modules are what bazel would build; they only name their handlers.
    for device, handlers in {"cpu": {"rasterize_triangles": handler}, "gpu": {}}.items():
        name = f"diffren.jax.internal.kernels.rasterize_triangles_{device}"
        module = types.ModuleType(name)
        vars(module)["registrations"] = lambda handlers=handlers: handlers
        sys.modules[name] = module
    sys.path.append(str(checkout))
    constants = importlib.import_module("diffren.jax.constants")
    renderer = importlib.import_module("diffren.jax.render")
    size = camera.image_size
    triangles = jnp.asarray(faces(size))

    def one(vertices):
        vertices = vertices.reshape(-1, 3)
        seen = renderer.render_triangles(
            vertices,
            {"depth": vertices[:, 2:]},
            triangles,
            jnp.asarray(projection(camera)),
            size,
            size,
            lambda attributes: attributes["depth"],
            face_culling_mode=constants.FaceCullingMode.NONE,
            compositing_mode=constants.CompositingMode.NONE,
            compute_diff_barys=True,
        )[0, ..., 0]
        return jnp.where(seen > 0, seen, camera.far)

    return lambda depth, views: jax.vmap(one)(mesh(depth, views, camera))


def available(
    camera: camera_lib.Camera, batch: int, checkout: pathlib.Path | None, largest: int
) -> tuple[list[Renderer], list[str]]:
    """Returns the renderers that can be timed, ours at one sample first, and lines on what is left out."""
    found = [
        Renderer("ours", one_sample(camera), batch),
        Renderer("ours, 2 x 2", lambda d, v: render.warp_depth(d, v, camera), batch, like_for_like=False),
    ]
    left_out = []
    if checkout is None:
        left_out.append("diffren: left out, no --diffren")
    elif jax.default_backend() != "cpu":
        left_out.append("diffren: left out, only its CPU kernel is built here")
    else:
        found.append(Renderer("diffren", diffren(camera, checkout), batch))
    if (theirs := jaxrenderer(camera)) is None:
        left_out.append("jaxrenderer: left out, it is not installed")
    else:
        gradient = camera.image_size <= largest
        found.append(Renderer("jaxrenderer", theirs, 1, gradient=gradient, slow=True))
        if not gradient:
            left_out.append(f"jaxrenderer: no gradient above --largest {largest}")
    return found, left_out


def functions(renderer: Renderer) -> Mapping[str, Callable]:
    """Returns what is timed of a renderer, compiled, by name."""

    def both(depth, views):
        seen, pull = jax.vjp(lambda d: renderer.render(d, views), depth)
        return seen, pull(jnp.ones_like(seen))[0]

    forward = jax.jit(renderer.render)
    return {"forward": forward, "both": jax.jit(both)} if renderer.gradient else {"forward": forward}


def errors(found: tuple[np.ndarray, ...], reference: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Returns by how much depth and gradient, if there is one, are off those of the reference; not a number is off."""
    depth, expected = found[0], reference[0][: len(found[0])]
    told = {"differs": float(np.mean(~(np.abs(depth - expected) <= _DEPTH_TOLERANCE * expected)))}
    if len(found) > 1:
        expected = reference[1][: len(depth)]
        told["gradient"] = float(np.linalg.norm(found[1] - expected) / np.linalg.norm(expected))
    return told


def check(
    renderers: Sequence[Renderer], calls: Sequence[Mapping[str, Callable]], inputs: Sequence[tuple[jax.Array, ...]]
) -> list[dict[str, Any]]:
    """Returns a row for each renderer: what it is, and how far it is off the first."""
    rows: list[dict[str, Any]] = []
    reference: tuple[np.ndarray, ...] = ()
    for renderer, by_name, given in zip(renderers, calls, inputs, strict=True):
        seen = by_name["both"](*given) if renderer.gradient else [by_name["forward"](*given)]
        found = tuple(np.asarray(value) for value in seen)
        reference = reference or found
        row = {"name": renderer.name, "images": renderer.images, "size": found[0].shape[-1]}
        row |= errors(found, reference) if renderer.like_for_like else {}
        row["agrees"] = all(row[key] <= limit for key, limit in _MAY_DIFFER.items() if key in row)
        rows.append(row)
    return rows


def compare(renderers: Sequence[Renderer], depth: jax.Array, views: jax.Array, repeat: int) -> list[dict[str, Any]]:
    """Checks the renderers against the first and times them; those that are slow after the others."""
    calls = [functions(renderer) for renderer in renderers]
    inputs = [(depth[: renderer.images], views[: renderer.images]) for renderer in renderers]
    rows = check(renderers, calls, inputs)
    for slow, rounds in ((False, repeat), (True, min(repeat, _SLOW_REPEATS))):
        for what in ("forward", "both"):
            timed = [k for k, renderer in enumerate(renderers) if renderer.slow == slow and what in calls[k]]
            if not timed:
                continue
            subjects = [clock.Call(lambda k=k, what=what: jax.block_until_ready(calls[k][what](*inputs[k])))
                        for k in timed]
            for k, timing in zip(timed, clock.side_by_side(subjects, rounds), strict=True):
                rows[k] |= {f"{what}_ms": 1e3 * timing.median_s, f"{what}_least_ms": 1e3 * timing.least_s,
                            f"{what}_renders_per_second": renderers[k].images / timing.median_s}
    return rows


def tabulate(rows: list[dict[str, Any]]) -> Table:
    """Returns the table of what was found."""

    def number(row, key, digits):
        return f"{row[key]:.{digits}f}" if key in row else "-"

    columns = "name", "images", "forward", "least", "renders/s", "both", "least", "renders/s", "differs", "gradient"
    table = Table(*columns, title=f"milliseconds a call, side {rows[0]['size']}")
    for row in rows:
        cells = [row["name"] if row["agrees"] else f"{row['name']} (DISAGREES)", str(row["images"])]
        for what in ("forward", "both"):
            cells += [number(row, f"{what}{key}", 1) for key in ("_ms", "_least_ms", "_renders_per_second")]
        table.add_row(*cells, number(row, "differs", 4), number(row, "gradient", 4))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--diffren", type=pathlib.Path, metavar="PATH", help="a checkout of diffren")
    parser.add_argument("--largest", type=int, default=64, help="up to this side jaxrenderer's gradient is timed")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    flags = parser.parse_args()
    if flags.diffren and not (flags.diffren / "diffren/jax/render.py").exists():
        parser.error(f"--diffren {flags.diffren}: no checkout of diffren")
    camera = camera_lib.Camera(flags.size)
    renderers, left_out = available(camera, flags.batch, flags.diffren, flags.largest)
    depth, views = scene(flags.size, flags.batch, turned=True)
    rows = compare(renderers, depth, views, flags.repeat)
    Console(width=140).print(tabulate(rows))
    for line in left_out:
        print(line)
    if flags.json:
        machine = {
            "jax": jax.__version__,
            "device": str(jax.devices()[0]),
            "machine": platform.processor(),
            "cores": len(os.sched_getaffinity(0)),
        }
        content = {"machine": machine, "rows": rows, "left_out": left_out}
        flags.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
