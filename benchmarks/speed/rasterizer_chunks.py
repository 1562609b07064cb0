"""Times the rasteriser on whole batches and on chunks of them (see `chunks`), and checks that they agree.

    python benchmarks/speed/rasterizer_chunks.py

The meshes are the rotated ones of `rasterizer.py`, at 2 x 2 samples per pixel; the two take turns. Median milliseconds.
"""

import argparse
import time

import jax
import jax.numpy as jnp
from rasterizer import depth_gradient, scene

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import rasterizer, visibility
from gan2shape_jax.geometry.map_in_chunks import chunk_of, map_in_chunks


def _runs(size: int, batch: int):
    """The screen, and compiled functions by what they do and whether in chunks."""
    depth, view = scene(size, batch, True)
    camera = camera_lib.Camera(size)
    samples = rasterizer.SampleGrid.over(camera, supersample=2)
    vertices = camera_lib.transform(camera_lib.back_project(depth, camera), view, camera)
    screen = rasterizer.to_screen(vertices, camera, samples)

    def forward(screen, in_chunks):
        def visible(chunk):
            return visibility.visible_triangles(chunk, count=samples.count, far=camera.far)

        return map_in_chunks(visible, screen, size=size**2, in_chunks=in_chunks)

    def both(screen, in_chunks):
        depth_map, triangle = forward(screen, in_chunks)
        arguments = screen, depth_map, triangle, jnp.ones_like(depth_map)
        pulled = map_in_chunks(lambda a: depth_gradient(*a), arguments, size=size**2, in_chunks=in_chunks)
        return depth_map, triangle, pulled

    compiled = jax.jit(forward, static_argnums=1), jax.jit(both, static_argnums=1)
    return screen, [(run, in_chunks) for run in compiled for in_chunks in (False, True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 17, 34])
    parser.add_argument("--repeat", type=int, default=9)
    options = parser.parse_args()
    for size, batch in [(size, batch) for size in options.sizes for batch in options.batches]:
        screen, runs = _runs(size, batch)
        whole, chunked = (jax.tree.leaves(run(screen, in_chunks)) for run, in_chunks in runs[2:])
        same = all(bool((a == b).all()) for a, b in zip(whole, chunked, strict=True))
        seconds: list[list[float]] = [[] for _ in runs]
        for k in range(options.repeat + 1):
            for (run, in_chunks), taken in zip(runs, seconds, strict=True):
                begin = time.perf_counter()
                jax.block_until_ready(run(screen, in_chunks))
                if k:
                    taken.append(1e3 * (time.perf_counter() - begin))
        middle = [sorted(taken)[options.repeat // 2] for taken in seconds]
        print(
            f"{size} pixels, batch {batch}, chunks of {chunk_of(batch, size**2)}: forward {middle[0]:.1f} and "
            f"{middle[1]:.1f} in chunks, with gradient {middle[2]:.1f} and {middle[3]:.1f}; same bits: {same}"
        )


if __name__ == "__main__":
    main()
