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


def _compile(folder, *options):
    """What `tpu_compile.py` says of programs of the bundled faces, by name."""
    out = folder / "tpu.json"
    command = [sys.executable, _ROOT / "benchmarks" / "speed" / "tpu_compile.py", *options, "--out", out]
    # It asks for a process of its own: what is lowered for is told to JAX before it starts.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    subprocess.run(command, env=environment, check=True, timeout=600)
    return {first["name"]: first for first in json.loads(out.read_text())}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The rasteriser with its gradient, the prior's step of two chips' images, and prediction."""
    steps = ("rendering", "prior", "predict")
    return _compile(tmp_path_factory.mktemp("tpu"), "--config", "ictface:scratch", "--chips", "2", "--steps", *steps)


def test_a_step_fits_and_is_one_chips_own(compiled):
    for first in compiled.values():
        assert first["argument_gb"] + first["temporary_gb"] < 1 and first["cycles"] > 0  # of 16
        assert not {kind for kind in first["operations"] if kind.startswith(("all-", "reduce-", "collective-"))}


def test_the_rasteriser_has_kernels_and_no_scatter(compiled):
    first = compiled["rendering"]
    names = ("visible_triangles", "values_at_samples", "sums_over_samples", "corners", "sums_over_corners")
    assert first["kernels"] == dict.fromkeys(names, 1)
    assert not {"scatter", "gather", "while", "sort"} & set(first["operations"])


def test_joint_training_reduces_gradients_once(tmp_path):
    options = ("--config", "ictface:joint", "--joint", "--chips", "4", "--steps", "prior")
    assert _compile(tmp_path, *options)["prior"]["operations"]["all-reduce"] == 1
