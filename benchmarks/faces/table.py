"""One table: how far methods are from the true depth of rendered faces, by family and by yaw.

    python benchmarks/faces/table.py                                        # the committed test split
    python benchmarks/faces/table.py --data benchmarks/faces/data/validation --model lifted/model.safetensors
    python benchmarks/faces/table.py --results results/refined results/scratch

Columns are those of `studio/depths.py`. `flat` is a plane, `mean` the mean depth of 256 pictures of the training split,
`ellipsoid` the prior fitted to the true mask; they know no view. `--model` takes lifted models, `--results` folders of
runs on these pictures (`studio/folders.py unpack`): all rows are then of the pictures that all of these folders have
results of, so that rows can be compared.
"""

import argparse
import pathlib
import sys

import numpy as np
import sources

from gan2shape_jax.io.bundled import MODEL, weights_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import depths

_DATA = pathlib.Path(__file__).parent / "data"
_YAWS = (0, 15, 30, 45, 60, 75)  # degrees


def groups(truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the groups of pictures: families and yaws."""
    families = {family: truth["family"] == number for number, family in enumerate(sources.FAMILIES)}
    return families | depths.by_yaw(truth, _YAWS)


def main() -> None:
    models = [
        weights_file("ictface", MODEL),
        _DATA / "head" / "model.safetensors",
        weights_file("people", MODEL),
    ]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = depths.arguments(parser, _DATA / "test", models)
    depths.show(options, np.load(_DATA / "train_mean.npy"), "ictface", groups)


if __name__ == "__main__":
    main()
