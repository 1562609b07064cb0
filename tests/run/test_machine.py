"""What a machine cannot hold by far is refused, with the field to lower and to what; what it may hold is not."""

import collections
import re
import shutil

import pytest
from helpers.tiny import tiny_config

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.run import check, machine
from gan2shape_jax.run.estimate import estimate
from gan2shape_jax.run.machine import Machine

_Usage = collections.namedtuple("_Usage", "total used free")
_LAPTOP = Machine("cpu", 1, 16.0)
_GPUS = Machine("gpu", 4, 16.0)


@pytest.fixture
def on(monkeypatch):
    """Returns a function that puts the test on another machine."""

    def put(here: Machine, free_gib: float = 1000.0):
        monkeypatch.setattr(machine, "this_machine", lambda: here)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(0, 0, int(free_gib * 2**30)))

    return put


def _config(tmp_path, name="ictface", **fields):
    fields = {"workdir": str(tmp_path / "run"), **{key.replace("__", "."): str(value) for key, value in fields.items()}}
    return apply_overrides(load_config(name), fields)


@pytest.mark.parametrize("name", ["celeba", "car", "cat", "church", "synface", "celeba_pretrain", "cat_pretrain"])
@pytest.mark.parametrize("here", [_GPUS, Machine("gpu", 1, 11.0), Machine("tpu", 8, 16.0)])
def test_no_published_configuration_is_refused_on_a_machine_it_was_made_for(name, here, on, tmp_path, recwarn):
    on(here)
    machine.require_room(_config(tmp_path, name), ["a.png"] * 200)


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling__batch_size": 4096},
        {"networks__width": 1024},
        {"outputs__picture_size": 4096, "outputs__animation": False, "sampling__batch_size": 2048},
        {"sampling__collect_iters": 10**6},
    ],
)
def test_what_exceeds_the_memory_by_far_is_refused_with_what_would_fit(fields, on, tmp_path, recwarn):
    on(_LAPTOP)
    config = _config(tmp_path, **fields)
    with pytest.raises(
        UserError, match="GiB of memory are estimated.*this machine has 16.0.*allow_large=True"
    ) as refusal:
        machine.require_room(config, ["a.png"])
    advised = re.findall(r"config\.([\w.]+) from \d+ to (\d+)", str(refusal.value))
    for field, value in advised:
        assert estimate(apply_overrides(config, {field: value}), 1).memory_gib <= 16
        assert estimate(apply_overrides(config, {field: str(int(value) + 1)}), 1).memory_gib > 16
    assert advised or "lower several fields" in str(refusal.value)
    machine.require_room(apply_overrides(config, {"runtime.allow_large": "True"}), ["a.png"])
    assert "it may run out of that" in str(recwarn.list[-1].message)


def test_what_exceeds_the_memory_by_little_warns(on, tmp_path):
    on(_LAPTOP)
    with pytest.warns(UserWarning, match="it may run out of that: lower config.sampling.batch_size from 512 to"):
        machine.require_room(_config(tmp_path, sampling__batch_size=512), ["a.png"])


def test_images_at_once_and_batches_of_an_iteration_are_divided_among_devices():
    many = apply_overrides(load_config("celeba"), {"runtime.images_at_once": "64"})
    memory = [estimate(many, 64, device="gpu", devices=devices).memory_gib for devices in (1, 8, 64)]
    assert memory[0] > memory[1] > memory[2] == estimate(load_config("celeba"), 64, device="gpu").memory_gib
    joint = apply_overrides(load_config("celeba_pretrain"), {"schedule.batches_per_iteration": "64"})
    batches = [estimate(joint, 200, device="gpu", devices=devices).memory_gib for devices in (1, 8, 64)]
    assert (
        batches[0] > batches[1] > batches[2] == estimate(load_config("celeba_pretrain"), 200, device="gpu").memory_gib
    )


def test_a_disk_that_is_by_far_too_small_is_refused_and_one_a_little_too_small_warns(on, tmp_path, recwarn):
    config = _config(tmp_path, checkpoint__keep=100)
    names = [f"{number}.png" for number in range(10)]
    needed = estimate(config, len(names)).disk_gib
    on(_LAPTOP, free_gib=needed / 2.1)
    with pytest.raises(UserError, match=r"has .* GiB free, about .* lower config.checkpoint.keep from 100 to"):
        machine.require_room(config, names)
    on(_LAPTOP, free_gib=needed / 1.9)
    with pytest.warns(UserWarning, match="GiB free"):
        machine.require_room(config, names)


def test_finished_images_need_no_more_room(on, tmp_path):
    config = tiny_config(tmp_path)
    on(_LAPTOP, free_gib=0.0)
    assert any("GiB free" in problem for problem in check.examine(config))
    finished = tmp_path / "run" / "results" / "001"
    finished.mkdir(parents=True)
    (finished / "result.json").write_text("{}")
    assert check.examine(config) == []


def test_a_device_that_does_not_tell_its_memory_refuses_nothing(on, tmp_path):
    on(Machine("gpu", 1, None))
    machine.require_room(_config(tmp_path, sampling__batch_size=4096), ["a.png"])


def test_this_machine_is_told(monkeypatch):
    here = machine.this_machine()
    assert here.device == "cpu" and here.memory_gib and 0.1 < here.memory_gib < 10_000
