"""What the images of a joint run share is there twice: damage to one is mended, damage to both costs the training."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
from helpers.harm import HARMS, JSON_OF_ANOTHER_FORM, do

from gan2shape_jax.io.set_aside import Aside
from gan2shape_jax.run import joint_files
from gan2shape_jax.run.joint_files import RECORD, TRAINED

pytestmark = pytest.mark.hostile


def _write(root):
    safetensors.numpy.save_file({"a": np.ones(50, np.float32)}, root / "networks.safetensors")
    (root / "history.json").write_text(json.dumps([{"loss": 0.5}]))
    (root / "history.csv").write_text("loss\n0.5\n")


@pytest.fixture
def trained(tmp_path):
    joint_files.note(tmp_path, images=["a.png"], configuration="this")
    joint_files.note(tmp_path, batches_per_iteration=2)
    _write(tmp_path)
    joint_files.note(tmp_path, done=True)
    return tmp_path


def _bits(root):
    every = [path for path in root.rglob("*") if path.is_file() and "damaged" not in path.parts]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in every}


def test_a_training_is_done_once_its_checksums_are_noted(tmp_path):
    joint_files.note(tmp_path, images=["a.png"])
    _write(tmp_path)
    assert not joint_files.look(tmp_path).trained
    joint_files.note(tmp_path, done=True)
    found = joint_files.look(tmp_path)
    assert found.trained and not found.harm and found.record["images"] == ["a.png"]


@pytest.mark.parametrize("kind", HARMS)
def test_damage_to_any_one_file_is_mended(trained, kind, capsys):
    before = _bits(trained)
    for name in before:
        do(trained / name, kind)
        found = joint_files.look(trained)
        joint_files.mend(trained, found, Aside(trained))
        assert found.trained and _bits(trained) == before, name
        assert name in capsys.readouterr().err
        assert not joint_files.look(trained).harm


@pytest.mark.parametrize("name", TRAINED)
def test_damage_to_both_copies_costs_the_training(trained, name):
    for path in (trained / name, trained / ".joint" / name):
        do(path, "flip")
    found = joint_files.look(trained)
    joint_files.mend(trained, found, Aside(trained))
    assert not found.trained and not joint_files.look(trained).trained
    assert joint_files.look(trained).record["batches_per_iteration"] == 2
    assert (trained / "damaged" / name).is_file() and (trained / "damaged" / ".joint" / name).is_file()


@pytest.mark.parametrize(
    "text", [*JSON_OF_ANOTHER_FORM, '{"batches_per_iteration": "2"}', '{"batches_per_iteration": 0}']
)
def test_a_record_of_another_form_is_replaced_by_the_other(trained, text):
    if text == "{}":
        return  # a record of an earlier version without anything in it
    (trained / RECORD).write_text(text, encoding="latin-1")
    found = joint_files.look(trained)
    assert RECORD in found.harm and found.trained and found.record["batches_per_iteration"] == 2
    shutil.rmtree(trained / ".joint")
    (trained / "networks.safetensors").unlink()
    found = joint_files.look(trained)
    joint_files.mend(trained, found, Aside(trained))
    assert found.record == {} and not found.trained and not (trained / RECORD).exists()


# --- earlier versions ----------------------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path):
    (tmp_path / RECORD).write_text('{"batches_per_iteration": 3}\n')
    _write(tmp_path)
    return tmp_path


def test_a_training_of_an_earlier_version_is_done(earlier):
    found = joint_files.look(earlier)
    assert found.trained and not found.harm and found.record["batches_per_iteration"] == 3
    assert joint_files.read_history(earlier) == [{"loss": 0.5}]


def test_its_networks_are_made_again_where_they_cannot_be_read(earlier):
    do(earlier / "networks.safetensors", "truncate")
    found = joint_files.look(earlier)
    assert not found.trained and "networks.safetensors" in found.harm


@pytest.mark.parametrize("text", JSON_OF_ANOTHER_FORM)
def test_it_does_without_its_history_where_that_cannot_be_read(earlier, text):
    if text == "[]":
        return
    (earlier / "history.json").write_text(text, encoding="latin-1")
    found = joint_files.look(earlier)
    joint_files.mend(earlier, found, Aside(earlier))
    assert found.trained and "history.json" in found.harm and joint_files.read_history(earlier) == []
