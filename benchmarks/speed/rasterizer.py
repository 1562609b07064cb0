"""Times formulations of the rasteriser side by side, and checks that they agree.

    python benchmarks/speed/rasterizer.py [--sizes 64 128] [--batch 16] [--repeat 10] [--json FILE]

Each takes the same meshes and returns depth and visible triangle at 2 x 2 samples per pixel.
"forward" is visibility alone; "both" adds the gradient of the depth, which is the same function for
all of them. Those without a queue get the footprint that the largest triangle of the scene needs.

    scatter     the package's: 3 x 3 footprints, two scatters, a queue for larger triangles
    packed      one 64-bit scatter of depth and number together (needs 64-bit integers)
    sort        the same footprints, sorted by sample, depth and number; no scatter of minima
    dense       every triangle against every sample, in chunks; for one image
"""

import argparse
import functools
import json
import platform
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, visibility
from gan2shape_jax.geometry.depth_tangent import depth_tangent

# Above this side the dense formulation takes most of a minute per image.
_LARGEST_DENSE = 64


def scene(size: int, batch: int, turned: bool):
    """Returns smooth depth maps with a bump and a nose, and views, frontal or as in training."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    depth = 1.02 - 0.06 * np.exp(-(x**2 + y**2) / 0.4) - 0.02 * np.exp(-(x**2 + (y - 0.1) ** 2) / 0.02)
    depth = depth + rng.normal(size=(batch, 1, 1)) * 0.005
    views = rng.normal(size=(batch, 6)) * [0.15, 0.35, 0.05, 0.01, 0.01, 0] * turned
    return jnp.asarray(depth, jnp.float32), jnp.asarray(views, jnp.float32)


def largest_box(screen, count):
    """Returns the largest width or height of a triangle's box, in samples."""
    low, high = visibility.boxes(visibility.cell_triangles(screen, np.arange(2)[:, None]), count)
    return max(int(jnp.max(b - a)) + 1 for a, b in zip(low, high, strict=True))


def packed(screen, *, count, far, footprint):
    """Depth's bits above the triangle's number: one minimum decides both."""
    positions, depths, numbers, batch = _candidates(screen, count, far, footprint)
    bits = jax.lax.bitcast_convert_type(depths, jnp.int32).astype(jnp.int64)
    worst = jnp.iinfo(jnp.int64).max
    keys = jnp.full((batch * count * count,), worst, jnp.int64)
    keys = keys.at[positions].min((bits << 32) | numbers, mode="drop")
    depth = jax.lax.bitcast_convert_type((keys >> 32).astype(jnp.int32), jnp.float32)
    hit = keys != worst
    shape = batch, count, count
    numbers = jnp.where(hit, (keys & 0xFFFFFFFF).astype(jnp.int32), -1)
    return jnp.where(hit, depth, far).reshape(shape), numbers.reshape(shape)


def by_sorting(screen, *, count, far, footprint):
    """Sorts all candidates; the first one of each sample is visible there."""
    positions, depths, numbers, batch = _candidates(screen, count, far, footprint)
    numbers = jnp.broadcast_to(numbers, positions.shape)
    keys = [v.reshape(-1) for v in (positions, depths, numbers)]
    positions, depths, numbers = jax.lax.sort(keys, num_keys=3)
    first = jnp.concatenate([jnp.array([True]), positions[1:] != positions[:-1]])
    target = jnp.where(first, positions, jnp.iinfo(jnp.int32).max)
    size = batch * count * count
    depth = jnp.full((size,), far, depths.dtype).at[target].set(depths, mode="drop")
    number = jnp.full((size,), -1, jnp.int32).at[target].set(numbers, mode="drop")
    return depth.reshape(batch, count, count), number.reshape(batch, count, count)


def _candidates(screen, count, far, footprint):
    """Tests a fixed footprint for every triangle."""
    batch, side, _ = screen[0].shape
    cells = side - 1
    kind = np.repeat(np.arange(2, dtype=np.int32), footprint**2)[:, None]
    step = np.tile(np.arange(footprint**2, dtype=np.int32), 2)[:, None]
    triangles = visibility.cell_triangles(screen, kind)
    low, high = visibility.boxes(triangles, count)
    at = low[0] + step % footprint, low[1] + step // footprint
    image = np.arange(batch, dtype=np.int32)[:, None, None, None]
    positions, depths = visibility.cover(triangles, at, high, True, image, count, far)
    row = np.arange(cells, dtype=np.int32)[:, None, None]
    return positions, depths, (kind * cells + row) * cells + np.arange(cells, dtype=np.int32), batch


def depth_gradient(screen, depth, triangle, cotangent):
    """Pulls a cotangent of visible depth back to the vertices on screen: the package's backward pass alone."""
    return jax.linear_transpose(lambda change: depth_tangent(screen, depth, triangle, change), screen)(cotangent)[0]


def dense(screen, *, count, far, chunk=32):
    """Tests all samples against all triangles, a chunk of triangles at a time; for one image."""
    side = screen[0].shape[1]
    planes = [plane[0].reshape(-1) for plane in screen]
    lattice = np.arange(count, dtype=np.int32)
    at = np.broadcast_to(lattice, (count, count)), np.broadcast_to(lattice[:, None], (count, count))
    image = np.zeros((), np.int32)
    total = 2 * (side - 1) ** 2

    def body(first, buffers):
        number = first * chunk + jnp.arange(chunk, dtype=jnp.int32)[:, None, None]
        index = visibility.corner_indices(jnp.minimum(number, total - 1), image, side)
        triangles = [[plane[i] for plane in planes] for i in index]
        whole = visibility.boxes(triangles, count)[1]
        _, depths = visibility.cover(triangles, at, whole, number < total, image, count, far)
        nearest = jnp.min(depths, 0)
        better = nearest < buffers[0]
        return (
            jnp.where(better, nearest, buffers[0]),
            jnp.where(better, first * chunk + jnp.argmin(depths, 0).astype(jnp.int32), buffers[1]),
        )

    start = jnp.full((count, count), far, screen[0].dtype), jnp.full((count, count), -1, jnp.int32)
    depth, number = jax.lax.fori_loop(0, -(total // -chunk), body, start)
    return depth[None], number[None]


def measure(function: Callable, *inputs, repeat: int) -> float:
    """Returns the median time of a call in milliseconds, after a first call that compiles."""
    jax.block_until_ready(function(*inputs))
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(function(*inputs))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def compare(size: int, batch: int, repeat: int, turned: bool) -> list[dict]:
    """Times all formulations at one size; raises if they disagree."""
    camera = camera_lib.Camera(size)
    depth, views = scene(size, batch, turned)
    samples = rasterizer.SampleGrid.over(camera, supersample=2).shifted(1e-3)
    vertices = camera_lib.transform(camera_lib.back_project(depth, camera), views, camera)
    screen = jax.jit(lambda v: rasterizer.to_screen(v, camera, samples))(vertices)
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(batch, 2 * size, 2 * size)), jnp.float32)
    options = {"count": samples.count, "far": camera.far}
    largest = largest_box(screen, samples.count)
    formulations = {
        "scatter": visibility.visible_triangles,
        "packed": functools.partial(packed, footprint=largest),
        "sort": functools.partial(by_sorting, footprint=largest),
        "dense": dense,
    }
    if size > _LARGEST_DENSE:
        del formulations["dense"]
    label = "turned" if turned else "frontal"
    reference, rows = None, []
    for name, formulation in formulations.items():
        images = 1 if name == "dense" else batch
        inputs = tuple(plane[:images] for plane in screen)
        few = min(repeat, {"dense": 1, "sort": 3}.get(name, repeat))

        def forward(inputs, formulation=formulation):
            return formulation(inputs, **options)

        def both(inputs, formulation=formulation, images=images):
            fragments = formulation(inputs, **options)
            return fragments, depth_gradient(inputs, *fragments, cotangent[:images])

        with jax.enable_x64(name == "packed"):
            run = jax.jit(forward)
            row = {"size": size, "views": label, "largest": largest, "batch": images, "name": name}
            row["forward_ms"] = measure(run, inputs, repeat=few)
            row["both_ms"] = measure(jax.jit(both), inputs, repeat=few)
            fragments = [np.asarray(v) for v in run(inputs)]
        reference = reference or fragments
        row["same_triangle"] = float(np.mean(fragments[1] == reference[1][:images]))
        row["depth_error"] = float(np.abs(fragments[0] - reference[0][:images]).max())
        if row["same_triangle"] < 0.9999:
            raise SystemExit(f"{name} sees other triangles than scatter: {row}")
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--json", help="where to write the figures")
    flags = parser.parse_args()
    rows = [
        row
        for size in flags.sizes
        for turned in (False, True)
        for row in compare(size, flags.batch, flags.repeat, turned)
    ]
    table = Table("side", "views", "box", "batch", "name", "forward", "both", "same", title="milliseconds")
    for row in rows:
        table.add_row(
            str(row["size"]),
            row["views"],
            str(row["largest"]),
            str(row["batch"]),
            row["name"],
            f"{row['forward_ms']:.1f}",
            f"{row['both_ms']:.1f}",
            f"{row['same_triangle']:.6f}",
        )
    Console().print(table)
    if flags.json:
        machine = {
            "jax": jax.__version__,
            "device": str(jax.devices()[0]),
            "machine": platform.processor(),
        }
        with open(flags.json, "w") as file:
            json.dump({"machine": machine, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
