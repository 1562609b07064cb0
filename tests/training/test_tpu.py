"""Programs for a TPU that is only described, compiled by libtpu; nothing is run."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[2]

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu: pip install libtpu"),
]


def _compiled(*arguments):
    """What libtpu says of programs of the bundled faces, by name."""
    command = [sys.executable, str(_ROOT / "tests/helpers/tpu_programs.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    environment.pop("XLA_FLAGS", None)  # libtpu knows none of a CPU's, and ends the process
    printed = subprocess.run(command, env=environment, check=True, timeout=600, stdout=subprocess.PIPE).stdout
    return {program["name"]: program for program in json.loads(printed)}


@pytest.fixture(scope="module")
def compiled():
    """The rasteriser with its gradient, the prior's step, and prediction."""
    return _compiled("ictface:scratch", "2", "rendering", "prior", "predict")


def test_a_step_fits_and_is_one_chips_own(compiled):
    for program in compiled.values():
        assert program["gb"] < 1 and program["cycles"] > 0  # of 16
        assert not {kind for kind in program["operations"] if kind.startswith(("all-", "reduce-", "collective-"))}


def test_the_rasteriser_has_kernels_and_no_scatter(compiled):
    program = compiled["rendering"]
    names = ("visible_triangles", "values_at_samples", "sums_over_samples")
    assert program["kernels"] == dict.fromkeys(names, 1)
    assert not {"scatter", "gather", "sort"} & set(program["operations"])  # two loops, over chunks of the batch


def test_joint_training_reduces_gradients_once():
    assert _compiled("ictface:joint", "4", "joint:prior")["joint:prior"]["operations"]["all-reduce"] == 1
