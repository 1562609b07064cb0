"""Gradients averaged over devices: eight simulated ones against one device that makes the same eight places."""

import types

import jax
import pytest
from helpers.simulated import records_of
from helpers.tiny import tiny_config

from gan2shape_jax.config import validation
from gan2shape_jax.errors import UserError
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.run import joint
from gan2shape_jax.training import data_parallel, joint_parallel


def _assert_alike(record):
    assert record["devices"] == 8 and record["all_reduce"] > 0 and record["moved"] > 1e-6
    for key in set(record) & {"params", "moments", "one_program", "one_program_moments"}:
        assert record[key] < 2e-4, (record["step"], key)


@pytest.mark.heavy
def test_eight_devices_train_as_one_device_does(tmp_path):
    (record,) = records_of("places_program.py", tmp_path, "prior")
    _assert_alike(record)


@pytest.mark.slow
def test_eight_devices_train_as_one_device_does_in_every_step(tmp_path):
    records = records_of("places_program.py", tmp_path, "prior", "step1", "step2", "step3")
    assert [record["step"] for record in records] == ["prior", "step1", "step2", "step3"]
    for record in records:
        _assert_alike(record)


# --- places and devices -----------------------------------------------------------------------------------


def _devices(*hosts):
    return [types.SimpleNamespace(process_index=host) for host in hosts]


@pytest.mark.parametrize(
    ("replicas", "devices", "used"), [(8, 8, 8), (8, 3, 2), (6, 4, 3), (3, 8, 3), (1, 8, 1), (7, 4, 1)]
)
def test_places_are_shared_evenly_by_as_many_devices_as_can(replicas, devices, used):
    assert data_parallel.devices_used(replicas, _devices(*[0] * devices)) == used


def test_every_device_of_several_hosts_has_to_have_places():
    assert data_parallel.devices_used(4, _devices(0, 0, 1, 1)) == 4
    with pytest.raises(UserError, match=r"batches_per_iteration is 3, but the hosts have 4 devices .* multiple of 4"):
        data_parallel.devices_used(3, _devices(0, 0, 1, 1))


def test_a_resumed_run_keeps_its_number_of_batches(tmp_path, monkeypatch):
    config = tiny_config(tmp_path, mode="joint", schedule__joint=True)
    monkeypatch.setattr(jax, "devices", lambda: [None] * 4)
    with pytest.raises(UserError, match="4 batches an iteration need as many images, the list has 3"):
        joint.batches_per_iteration(config, tmp_path, 3)
    assert joint.batches_per_iteration(config, tmp_path, 6) == 4
    monkeypatch.setattr(jax, "devices", lambda: [None])
    assert joint.batches_per_iteration(config, tmp_path, 6) == 4


def test_one_place_is_the_plain_task():
    task = object.__new__(joint.joint.ManyImages)
    assert joint_parallel.spread_out(task, 1, independent=True) is task


def test_several_batches_need_shared_weights(tmp_path):
    alone = tiny_config(tmp_path, schedule__batches_per_iteration=2)
    assert any("batches_per_iteration is 2" in text for text in validation.problems(alone))
    joint = {"mode": "joint", "schedule__joint": True, "schedule__batches_per_iteration": 2}
    assert validation.problems(tiny_config(tmp_path, **joint)) == []
    assert validation.problems(tiny_config(tmp_path, schedule__share_weight=False, **joint))


def test_places_see_the_next_images_or_all_the_same():
    task = object.__new__(joint_parallel.ManyReplicas)
    for name, value in {"replicas": 2, "reference": False, "problems": (1, 2, 3), "key": jax.random.key(0)}.items():
        object.__setattr__(task, name, value)
    phase = Phase(number=0, stage=0, step="prior", iterations=3, flip=False)
    object.__setattr__(task, "independent", True)
    dealt = task.order(phase)
    assert sorted(dealt.tolist()) == [0, 0, 1, 1, 2, 2] and sorted(dealt[:3].tolist()) == [0, 1, 2]
    object.__setattr__(task, "independent", False)
    same = task.order(phase).reshape(3, 2)
    assert (same[:, 0] == same[:, 1]).all() and sorted(same[:, 0].tolist()) == [0, 1, 2]
