"""The rendered cars that come with the repository: written compactly, and unpacked again.

    python benchmarks/cars/committed.py unpack test cars_test        # or validation; a folder as render.py makes it
    python benchmarks/cars/committed.py pack RENDERED benchmarks/cars/data/test
    python benchmarks/cars/committed.py mean TRAIN                 # the training split's mean depth, mask and views

`data/validation` and `data/test` hold 64 pictures each at 64 pixels, seed 0, by `studio/packed.py`. Mask and views are
the bundled configuration's.
"""

import argparse
import pathlib
import shutil
import sys

import numpy as np
import render
from PIL import Image

from gan2shape_jax.io.bundled import asset

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import packed

DATA = pathlib.Path(__file__).parent / "data"
MEAN, BUNDLED = DATA / "train_mean.npy", pathlib.Path(asset("car"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("unpack", "pack", "mean"))
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    try:
        if options.what == "mean":
            (source,) = options.folders
            np.save(MEAN, packed.mean_depth(source))
            masks = [np.asarray(Image.open(source / "mask" / name)) for name in packed.names(source)]
            Image.fromarray(np.round(np.mean(masks, axis=0)).astype(np.uint8)).save(BUNDLED / "usual_mask.png")
            shutil.copy(source / "view_mvn.npz", BUNDLED)
            return
        source, target = options.folders
        if options.what == "unpack":
            packed.unpack(DATA / source, target, render.TRUTH)
        else:
            packed.pack(source, target)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
