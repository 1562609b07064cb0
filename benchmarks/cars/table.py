"""One table: how far methods are from the true depth of rendered cars, by kind and by yaw.

    python benchmarks/cars/table.py                                         # the committed test split
    python benchmarks/cars/table.py --model results/car_lift/model.safetensors
    python benchmarks/cars/table.py --results results/refined results/scratch

Columns are those of `studio/depths.py`, rows those of `faces/table.py` and `box`, a cuboid of the training cars' mean
length, width and height that is seen as the picture's car truly is. Yaws are relative to the canonical view.
"""

import argparse
import functools
import pathlib
import sys

import cars
import drawing
import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.geometry.mesh_rasterizer import rasterize
from gan2shape_jax.io.bundled import MODEL, names_of

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import chance
import depths
import folders

_DATA = pathlib.Path(__file__).parent / "data"
_YAWS = (0, 15, 30, 45)  # degrees
_CARS = 256  # whose measures are averaged
# Corners of the cube, and its sides as triangles.
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
_SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
_FACES = np.array([[side[0], *side[k : k + 2]] for side in _SIDES for k in (1, 2)])


def groups(truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the groups of pictures: kinds and yaws."""
    kinds = {kind: truth["kind"] == number for number, kind in enumerate(cars.KINDS)}
    return kinds | depths.by_yaw(truth, _YAWS)


@functools.partial(jax.jit, static_argnames="size")
def _box(sides: jax.Array, view: jax.Array, size: int) -> jax.Array:
    """Returns the depth of a cuboid with these sides (x, y, z, scene units) in a view, farthest where there is none."""
    points = (_CORNERS * sides / 2) @ drawing.turn_of(view).T + view[3:] + jnp.array([0, 0, 1.0])
    fragments = rasterize(points, Camera(image_size=size), faces=jnp.asarray(_FACES))
    return jnp.where(fragments.triangle >= 0, fragments.depth, folders.FARTHEST)


def main() -> None:
    bundled = [file for name, file in names_of(MODEL).items() if name == "car"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = depths.arguments(parser, _DATA / "test", bundled)
    known = chance.stacked([cars.car(chance.generator(0, chance.SPLITS.index("train"), k, 0)) for k in range(_CARS)])
    mean = {name: known[name].mean() for name in ("long", "wide", "high")}
    sides = np.array([mean["wide"], mean["high"], mean["long"]]) * drawing.unit_of(mean)

    def box(truth: dict[str, np.ndarray], number: int) -> tuple[np.ndarray, None]:
        return np.asarray(_box(sides, truth["view"][number], truth["depth"].shape[-1])), None

    depths.show(options, np.load(_DATA / "train_mean.npy"), "car", groups, {"box": box})


if __name__ == "__main__":
    main()
