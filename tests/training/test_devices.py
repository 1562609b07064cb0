"""Independent images over eight simulated devices: the same results, and no word between the devices."""

import re

import jax
import pytest
from helpers.simulated import records_of
from jax.sharding import PartitionSpec

from gan2shape_jax.training import devices as devices_lib


def _assert_independent(record):
    assert record["devices"] == 8 and record["moved"] > 1e-5
    assert record["worst"] == 0.0, record["step"]
    assert (record["lowered"], record["compiled"]) == (0, 0), record["step"]


@pytest.mark.heavy
def test_eight_images_on_eight_devices_are_independent(tmp_path):
    (record,) = records_of("group_program.py", tmp_path, "step1")
    _assert_independent(record)


@pytest.mark.slow
def test_eight_images_on_eight_devices_are_independent_in_every_step(tmp_path):
    records = records_of("group_program.py", tmp_path, "prior", "step1", "step2", "step3")
    assert [record["step"] for record in records] == ["prior", "step1", "step2", "step3"]
    for record in records:
        _assert_independent(record)


def test_a_collective_would_be_seen():
    """The pattern that looks for collectives finds one where there is one."""
    collective = re.compile("all_reduce")  # one of the names that group_program.py looks for

    mesh, axis = devices_lib.layout_of(1).mesh, PartitionSpec(devices_lib.AXIS)
    summed = jax.shard_map(lambda x: jax.lax.psum(x, devices_lib.AXIS), mesh=mesh, in_specs=axis, out_specs=axis)
    assert collective.search(jax.jit(summed).lower(jax.numpy.ones(1)).as_text())


@pytest.mark.parametrize(("images", "devices", "padded"), [(8, 8, 8), (9, 8, 16), (3, 3, 3), (1, 1, 1), (5, 2, 6)])
def test_groups_are_filled_up_to_whole_devices(images, devices, padded):
    assert devices_lib.padded(images, devices) == padded
