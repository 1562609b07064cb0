"""Times rasterisers of triangle meshes side by side on one mesh, and checks that they see the same.

    python benchmarks/speed/mesh_rasterizer.py [--size 256] [--rings 71] [--repeat 30] [--diffren PATH] [--json FILE]

The mesh is a bumpy ball of 2 x rings x rings triangles (10,082 by default) that fills much of the picture.
"forward" is a picture of three attributes of its vertices, "both" adds the gradient of a weighted sum of it with
respect to vertices and attributes. Milliseconds per picture, median and minimum, and triangles a second at the minimum.

    ours            mesh_rasterizer.rasterize and interpolate, one sample per pixel, like the others
    ours, 2 x 2     four samples per pixel, averaged
    diffren         google-research/diffren, its CPU kernel in C++ and its interpolation, without splatting
    ours, blended   with `antialias`, so that outlines have a gradient
    ours, depth     the depth alone, as jaxrenderer's
    jaxrenderer     its depth shader: every pixel tests every triangle, and a gradient stores something for each such
                    pair, so it is left out where there are more than 10 million

The others (`pip install --no-deps jaxrenderer`, a clone of google-research/diffren) are left out if missing. "differs"
is the share of pixels whose values
differ from ours by more than 1e-3 (jaxrenderer: whose depth does), "gradient" the relative error (L2) of the gradient.
"""

import argparse
import json
import os
import pathlib
import platform
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from timing import clock
from timing.renderers import diffren_attributes, jaxrenderer_depth

from gan2shape_jax.geometry import mesh_rasterizer
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import grid_faces

_TOLERANCE = 1e-3
_PAIRS = 10_000_000


def ball(rings: int) -> tuple[jax.Array, np.ndarray]:
    """Returns vertices and faces of a bumpy ball around (0, 0, 1): a grid of latitudes and longitudes.

    It is open at the poles, where triangles would have no area: diffren's gradient is NaN for those.
    """
    theta, phi = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, rings + 1), np.linspace(0, 2 * np.pi, rings + 1), indexing="ij"
    )
    radius = 0.075 * (1 + 0.05 * np.sin(5 * theta) * np.cos(4 * phi))
    unit = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1)
    points = radius[..., None] * unit + [1.3e-4, -2.1e-4, 1]  # off the axis, so that no sample lies on a seam
    return jnp.asarray(points.reshape(-1, 3), jnp.float32), grid_faces(rings + 1, rings + 1)


def ours(camera: Camera, faces: np.ndarray, supersample: int, *, blended: bool = False) -> Callable:
    """Returns our picture of attributes of vertices."""

    def picture(vertices, attributes):
        fragments = mesh_rasterizer.rasterize(vertices, camera, faces=faces, supersample=supersample)
        shown = mesh_rasterizer.interpolate(fragments, attributes, faces=faces)
        return mesh_rasterizer.antialias(shown, fragments, vertices, camera, faces=faces) if blended else shown

    return picture


def functions(picture: Callable, weights: jax.Array) -> dict[str, Callable]:
    """Returns a renderer's functions to time, compiled, by name."""

    def both(vertices, attributes):
        shown, pull = jax.vjp(picture, vertices, attributes)
        return shown, pull(weights)

    return {"forward": jax.jit(picture), "both": jax.jit(both)}


def compare(flags: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns a row for each renderer, and lines on what is left out."""
    camera = Camera(flags.size, near=0.1)
    vertices, faces = ball(flags.rings)
    rng = np.random.default_rng(0)
    attributes = jnp.asarray(rng.uniform(0.5, 1, (len(vertices), 3)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(flags.size, flags.size, 3)), jnp.float32)
    pictures = {"ours": ours(camera, faces, 1), "ours, 2 x 2": ours(camera, faces, 2)}
    pictures["ours, blended"] = ours(camera, faces, 1, blended=True)
    left_out = []
    if flags.diffren:
        pictures["diffren"] = diffren_attributes(camera, faces, flags.diffren)
    else:
        left_out.append("diffren: left out, no --diffren")
    compiled = {name: functions(picture, weights) for name, picture in pictures.items()}
    depths = {"ours, depth": lambda vertices: mesh_rasterizer.rasterize(vertices, camera, faces=faces).depth}
    if (depth := jaxrenderer_depth(camera, faces)) is None:
        left_out.append("jaxrenderer: left out, it is not installed")
    elif len(faces) * flags.size**2 > _PAIRS:
        left_out.append(f"jaxrenderer: left out, more than {_PAIRS:,} pairs of a pixel and a triangle")
    else:
        depths["jaxrenderer"] = depth
    for name, depth in depths.items():
        compiled[name] = functions(lambda vertices, _, depth=depth: depth(vertices), weights[..., 0])
    results = {name: jax.block_until_ready(run["both"](vertices, attributes)) for name, run in compiled.items()}
    rows = {name: {"name": name, "triangles": len(faces), "size": flags.size} for name in compiled}
    for other, own in (("diffren", "ours"), ("jaxrenderer", "ours, depth")):
        if other in rows:
            rows[other] |= difference(results[other], results[own])
    for what in ("forward", "both"):
        calls = [clock.Call(lambda run=run[what]: jax.block_until_ready(run(vertices, attributes)))
                 for run in compiled.values()]  # fmt: skip
        for row, timing in zip(rows.values(), clock.side_by_side(calls, flags.repeat), strict=True):
            row |= {f"{what}_ms": 1e3 * timing.median_s, f"{what}_least_ms": 1e3 * timing.least_s}
            row[f"{what}_triangles"] = len(faces) / timing.least_s
    return list(rows.values()), left_out


def difference(result, reference) -> dict[str, float]:
    """Returns by how much picture and gradients differ from the reference's; NaN counts as different."""
    shown, expected = (np.asarray(each[0]) for each in (result, reference))
    gradient, rightly = (np.concatenate([np.ravel(g) for g in each[1]]) for each in (result, reference))
    differs = float(
        np.mean(
            ~(np.abs(shown - expected) <= _TOLERANCE * np.maximum(expected, 1)).reshape(*expected.shape[:2], -1).all(-1)
        )
    )
    return {"differs": differs, "gradient": float(np.linalg.norm(gradient - rightly) / np.linalg.norm(rightly))}


def tabulate(rows: list[dict[str, Any]]) -> Table:
    """Returns the table of what was measured."""
    keys = {"forward_ms": 1, "forward_least_ms": 1, "forward_triangles": 0, "both_ms": 1, "both_least_ms": 1}
    keys |= {"both_triangles": 0, "differs": 4, "gradient": 4}
    title = f"milliseconds, {rows[0]['triangles']:,} triangles, {rows[0]['size']} pixels"
    heads = "forward", "least", "triangles/s", "both", "least", "triangles/s", "differs", "gradient"
    table = Table("name", *heads, title=title)
    for row in rows:
        table.add_row(row["name"], *(f"{row[key]:,.{digits}f}" if key in row else "-" for key, digits in keys.items()))
    return table


def main() -> None:
    """Runs the comparison and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rings", type=int, default=71)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--diffren", type=pathlib.Path, metavar="PATH", help="a checkout of diffren")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    flags = parser.parse_args()
    if flags.diffren and not (flags.diffren / "diffren/jax/render.py").exists():
        parser.error(f"--diffren {flags.diffren}: no checkout of diffren")
    rows, left_out = compare(flags)
    Console(width=120).print(tabulate(rows))
    for line in left_out:
        print(line)
    if flags.json:
        machine = {"jax": jax.__version__, "device": str(jax.devices()[0]), "machine": platform.processor(),
                   "cores": len(os.sched_getaffinity(0))}  # fmt: skip
        flags.json.write_text(json.dumps({"machine": machine, "rows": rows, "left_out": left_out}, indent=1) + "\n")


if __name__ == "__main__":
    main()
