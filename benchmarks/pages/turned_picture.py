"""Draws a row for each image of finished runs: the photo, and its shape and mesh from several sides.

python benchmarks/pages/turned_picture.py results/catface --out docs/pictures/cats.jpg [--names 000 005]
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

import gan2shape_jax as g2s
from gan2shape_jax.apps.evaluate.reports import find_runs

_CELL = 110  # pixels
_YAWS = (-50, -25, 0, 25, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--names", nargs="*", help="of the images (default: all)")
    options = parser.parse_args()
    (run,) = find_runs([options.run])
    rows = [_row(run.images[name]) for name in options.names or run.images]
    Image.fromarray(np.concatenate(rows)).save(options.out, quality=88)


def _row(folder: pathlib.Path) -> np.ndarray:
    result = g2s.load(folder)
    with Image.open(folder / "input.png") as picture:
        photo = np.asarray(picture.convert("RGB").resize((_CELL, _CELL), Image.Resampling.BICUBIC))
    cells = [photo]
    for show in ("shape", "image"):
        cells += [np.asarray(result.render(yaw=yaw, size=_CELL, show=show))[..., :3] for yaw in _YAWS]
    return np.concatenate(cells, axis=1)


if __name__ == "__main__":
    main()
