"""The rendered cars that come with the repository: written compactly, and unpacked again.

    python benchmarks/cars/committed.py unpack test cars_test        # or validation; a folder as render.py makes it
    python benchmarks/cars/committed.py pack RENDERED benchmarks/cars/data/test

`data/validation` and `data/test` hold 64 pictures each at 64 pixels, seed 0, by `studio/packed.py`.
"""

import argparse
import pathlib
import sys

import render

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import packed

DATA = pathlib.Path(__file__).parent / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("unpack", "pack"))
    parser.add_argument("folders", nargs=2, type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    source, target = options.folders
    try:
        if options.what == "unpack":
            packed.unpack(DATA / source, target, render.TRUTH)
        else:
            packed.pack(source, target)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
