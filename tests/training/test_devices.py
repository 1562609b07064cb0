"""Independent images over eight simulated devices: the same results, and no word between the devices."""

import re

import jax
import pytest
from helpers.simulated import records_of
from jax.sharding import PartitionSpec

from gan2shape_jax.training import devices as devices_lib


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(["step1"], marks=pytest.mark.heavy),
        pytest.param(["prior", "step1", "step2", "step3"], marks=pytest.mark.slow),
    ],
)
def test_eight_images_on_eight_devices_are_independent(tmp_path, steps):
    records = records_of("group_program.py", tmp_path, *steps)
    assert [record["step"] for record in records] == steps
    for record in records:
        assert record["devices"] == 8 and record["moved"] > 1e-5
        assert record["worst"] == 0.0, record["step"]
        assert (record["lowered"], record["compiled"]) == (0, 0), record["step"]


def test_a_collective_would_be_seen():
    """The pattern that looks for collectives finds one where there is one."""
    collective = re.compile("all_reduce")  # one of the names that group_program.py looks for

    mesh, axis = devices_lib.layout_of(1).mesh, PartitionSpec(devices_lib.AXIS)
    summed = jax.shard_map(lambda x: jax.lax.psum(x, devices_lib.AXIS), mesh=mesh, in_specs=axis, out_specs=axis)
    assert collective.search(jax.jit(summed).lower(jax.numpy.ones(1)).as_text())
