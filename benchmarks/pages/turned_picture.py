"""Draws a row for each image of finished runs: the photo, and its shape and mesh from several sides.

python benchmarks/pages/turned_picture.py results/cat --out docs/pictures/cats.jpg [--names 000 005]

Of several runs, all of which have these images, one is beside the other.
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

import gan2shape_jax as g2s
from gan2shape_jax.apps.evaluate.reports import find_runs

_CELL = 110  # pixels
_YAWS = (-50, -25, 0, 25, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=pathlib.Path, nargs="+", metavar="run")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--names", nargs="*", help="of the images (default: all of the first run)")
    parser.add_argument("--yaws", type=float, nargs="+", default=_YAWS, metavar="DEGREES")
    options = parser.parse_args()
    runs = find_runs(options.runs)
    names = options.names or list(runs[0].images)
    rows = [_row([run.images[name] for run in runs], options.yaws) for name in names]
    Image.fromarray(np.concatenate(rows)).save(options.out, quality=88)


def _row(folders: list[pathlib.Path], yaws: Sequence[float]) -> np.ndarray:
    with Image.open(folders[0] / "input.png") as picture:
        cells = [np.asarray(picture.convert("RGB").resize((_CELL, _CELL), Image.Resampling.BICUBIC))]
    for result in map(g2s.load, folders):
        for show in ("shape", "image"):
            cells += [np.asarray(result.render(yaw=yaw, size=_CELL, show=show))[..., :3] for yaw in yaws]
    return np.concatenate(cells, axis=1)


if __name__ == "__main__":
    main()
