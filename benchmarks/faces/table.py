"""One table: how far methods are from the true depth of rendered faces, by family and by yaw.

    python benchmarks/faces/table.py                                        # the committed test split
    python benchmarks/faces/table.py --data benchmarks/faces/data/validation --model lifted/model.safetensors
    python benchmarks/faces/table.py --results results/refined results/scratch

Columns are those of `studio/depths.py`. `flat` is a plane, `mean` the mean depth of 256 pictures of the training split,
`ellipsoid` the prior fitted to the true mask; they know no view. `--model` takes lifted models,
`--results` folders of runs on these pictures (`committed.py unpack`): all rows are then of the pictures that all of
these folders have results of, so that rows can be compared.
"""

import argparse
import pathlib
import sys

import committed
import numpy as np
import sources

from gan2shape_jax.io.bundled import MODEL, weights_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studio"))

import depths

_YAWS = (0, 15, 30, 45, 60, 75)  # degrees


def groups(truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the groups of pictures: families and yaws."""
    families = {family: truth["family"] == number for number, family in enumerate(sources.FAMILIES)}
    return families | depths.by_yaw(truth, _YAWS)


def person(truth: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the number of the person in each picture."""
    return truth["person"] * 2 + truth["family"]


def main() -> None:
    models = [
        weights_file("ictface", MODEL),
        committed.DATA / "head" / "model.safetensors",
        weights_file("people", MODEL),
    ]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = depths.arguments(parser, committed.DATA / "test", models)
    depths.show(options, np.load(committed.MEAN), "ictface", groups, person)


if __name__ == "__main__":
    main()
