"""Independent images over eight simulated devices: the same results, and no word between the devices."""

import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest

from gan2shape_jax import image_axis


def _records(folder, *steps) -> list[dict]:
    here = pathlib.Path(__file__).resolve().parent
    paths = os.pathsep.join((str(here.parent), str(here), os.environ.get("PYTHONPATH", "")))
    # Compiled without optimisation, which is most of the time otherwise.
    environ = os.environ | {"PYTHONPATH": paths, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run([sys.executable, str(here / "group_program.py"), str(folder), *steps], env=environ,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("record ")) for line in done.stdout.splitlines() if line.startswith("record")]


def _assert_independent(record):
    assert record["devices"] == 8 and record["moved"] > 1e-5
    assert record["worst"] == 0.0, record["step"]
    assert (record["lowered"], record["compiled"]) == (0, 0), record["step"]


def test_eight_images_on_eight_devices_are_independent(tmp_path):
    (record,) = _records(tmp_path, "step1")
    _assert_independent(record)


@pytest.mark.slow
def test_eight_images_on_eight_devices_are_independent_in_every_step(tmp_path):
    records = _records(tmp_path, "prior", "step1", "step2", "step3")
    assert [record["step"] for record in records] == ["prior", "step1", "step2", "step3"]
    for record in records:
        _assert_independent(record)


def test_a_collective_would_be_seen():
    """The pattern that looks for collectives finds one where there is one."""
    collective = re.compile("all_reduce")  # one of the names that group_program.py looks for

    layout = image_axis.layout_of(1)
    summed = jax.jit(image_axis.lift(lambda x: jax.lax.psum(x, image_axis.AXIS), layout))
    assert collective.search(summed.lower((jax.numpy.ones(1),), ()).as_text())


@pytest.mark.parametrize(("images", "devices", "padded"), [(8, 8, 8), (9, 8, 16), (3, 3, 3), (1, 1, 1), (5, 2, 6)])
def test_groups_are_filled_up_to_whole_devices(images, devices, padded):
    assert image_axis.padded(images, devices) == padded
