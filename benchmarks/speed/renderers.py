"""Times JAX renderers side by side on the same depth maps, and checks that they agree.

    python benchmarks/speed/renderers.py [--size 128] [--batch 16] [--repeat 10] [--diffren PATH] [--json FILE]

Each takes canonical depth maps and views (the rotated ones of `rasterizer.py`), moves the grid of vertices into the
view, and returns the visible depth. "forward" is that, "both" adds the gradient of the sum of the visible depth
with respect to the depth maps. Milliseconds per call, median and minimum, and images per second.

    ours, 2 x 2     render.warp_depth: four samples per pixel, as in training
    ours            rasterizer.rasterize, one sample per pixel, where the other two have theirs
    diffren         google-research/diffren, its CPU kernel in C++ and its interpolation with differentiable weights
    jaxrenderer     the JAX package of that name, its depth shader; every pixel tests every triangle

Missing ones are left out:

    pip install --no-deps jaxrenderer==0.3.2                (it asks for jax < 0.5, but runs on newer ones)
    git clone https://github.com/google-research/diffren    (for --diffren; its kernel is compiled here, CXX or g++)

jaxrenderer renders one image of the batch, since it takes so long. For its gradient it stores something for every pixel
and triangle, 0.6 GiB at side 64 and 10 GiB at 128: above `--largest` only forward is timed. diffren has one thread.

"differs" is the share of pixels whose depth differs from ours by more than 1e-3 of it, "gradient" the relative error
(L2) of the gradient, both at one sample per pixel. A row that differs by more than rounding at silhouettes explains is
marked.
"""

import argparse
import json
import os
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rasterizer import scene
from rich.console import Console
from rich.table import Table
from timing import clock
from timing.renderers import Renderer, available

from gan2shape_jax.geometry import camera as camera_lib

_DEPTH_TOLERANCE = 1e-3
# What a few pixels on silhouettes may cost, where rounding decides whether a triangle covers them.
_MAY_DIFFER = {"differs": 0.002, "gradient": 0.02}
_SLOW_REPEATS = 3


def functions(renderer: Renderer) -> Mapping[str, Callable]:
    """Returns a renderer's functions to time, compiled, by name."""

    def both(depth, views):
        seen, pull = jax.vjp(lambda d: renderer.render(d, views), depth)
        return seen, pull(jnp.ones_like(seen))[0]

    forward = jax.jit(renderer.render)
    return {"forward": forward, "both": jax.jit(both)} if renderer.gradient else {"forward": forward}


def errors(output: tuple[np.ndarray, ...], reference: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Returns by how much depth and gradient, if any, differ from the reference's; NaN counts as different."""
    depth, expected = output[0], reference[0][: len(output[0])]
    told = {"differs": float(np.mean(~(np.abs(depth - expected) <= _DEPTH_TOLERANCE * expected)))}
    if len(output) > 1:
        expected = reference[1][: len(depth)]
        told["gradient"] = float(np.linalg.norm(output[1] - expected) / np.linalg.norm(expected))
    return told


def check(
    renderers: Sequence[Renderer], calls: Sequence[Mapping[str, Callable]], inputs: Sequence[tuple[jax.Array, ...]]
) -> list[dict[str, Any]]:
    """Returns a row for each renderer: what it is, and how far it differs from the first."""
    rows: list[dict[str, Any]] = []
    reference: tuple[np.ndarray, ...] = ()
    for renderer, by_name, given in zip(renderers, calls, inputs, strict=True):
        seen = by_name["both"](*given) if renderer.gradient else [by_name["forward"](*given)]
        output = tuple(np.asarray(value) for value in seen)
        reference = reference or output
        row = {"name": renderer.name, "images": renderer.images, "size": output[0].shape[-1]}
        row |= errors(output, reference) if renderer.like_for_like else {}
        row["agrees"] = all(row[key] <= limit for key, limit in _MAY_DIFFER.items() if key in row)
        rows.append(row)
    return rows


def compare(renderers: Sequence[Renderer], depth: jax.Array, views: jax.Array, repeat: int) -> list[dict[str, Any]]:
    """Checks the renderers against the first and times them, the slow ones after the others."""
    calls = [functions(renderer) for renderer in renderers]
    inputs = [(depth[: renderer.images], views[: renderer.images]) for renderer in renderers]
    rows = check(renderers, calls, inputs)
    for slow, rounds in ((False, repeat), (True, min(repeat, _SLOW_REPEATS))):
        for what in ("forward", "both"):
            timed = [k for k, renderer in enumerate(renderers) if renderer.slow == slow and what in calls[k]]
            if not timed:
                continue
            subjects = [
                clock.Call(lambda k=k, what=what: jax.block_until_ready(calls[k][what](*inputs[k]))) for k in timed
            ]
            for k, timing in zip(timed, clock.side_by_side(subjects, rounds), strict=True):
                rows[k] |= {
                    f"{what}_ms": 1e3 * timing.median_s,
                    f"{what}_least_ms": 1e3 * timing.least_s,
                    f"{what}_renders_per_second": renderers[k].images / timing.median_s,
                }
    return rows


def tabulate(rows: list[dict[str, Any]]) -> Table:
    """Returns the table of results."""

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
