"""What a start finds in its folder: complete results or ones to make again, networks, its configuration."""

import pytest
from helpers import bump
from helpers.tiny import tiny_config

from gan2shape_jax.errors import UserError
from gan2shape_jax.results import save_result
from gan2shape_jax.run import folder as run_folder
from gan2shape_jax.run import start
from gan2shape_jax.run.folder import RunFolder, config_hash
from gan2shape_jax.training import groups

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def folder(tmp_path):
    """The folder of a run of three images, two of them finished."""
    config = tiny_config(tmp_path, names=NAMES)
    folder = RunFolder.at(config)
    folder.root.mkdir()
    folder.describe(config)
    for stem in ("a", "b"):
        save_result(bump.result(), folder.result(stem), made_with={"configuration": config_hash(config)})
    return folder


def _finished(tmp_path) -> list[str]:
    unfinished = start._unfinished(tiny_config(tmp_path, names=NAMES), NAMES)["unfinished"]
    return [name.removesuffix(".png") for name in NAMES if [name] not in unfinished]


def test_a_result_without_a_file_or_with_one_of_another_size_is_made_again(folder, tmp_path, capsys):
    assert _finished(tmp_path) == ["a", "b"] and capsys.readouterr().err == ""
    (folder.result("a") / "albedo.npy").unlink()
    with (folder.result("b") / "depth.npy").open("ab") as file:
        file.write(b"more")
    assert _finished(tmp_path) == []
    told = capsys.readouterr().err
    assert f"{folder.result('a')} is incomplete (albedo.npy is missing): the image is made again" in told
    assert "depth.npy has" in told and not folder.is_finished("b")
    assert _finished(tmp_path) == [] and capsys.readouterr().err == ""


def test_what_killed_writes_have_left_is_removed(folder, tmp_path):
    left = [".config.01234567.part.json", "results/.a.abcdefgh.part", "latents/.a.01234567.part.npy"]
    for name in left:
        (folder.root / name).parent.mkdir(exist_ok=True)
        (folder.root / name).write_text("{")
    (folder.root / ".mine.part").write_text("somebody else's")
    folder.result("b").rename(folder.root / "results" / ".b.abcdefgh.former")
    assert _finished(tmp_path) == ["a", "b"]
    assert not any((folder.root / name).exists() for name in left) and (folder.root / ".mine.part").exists()


def test_groups_under_way_stay_together(folder, tmp_path):
    groups.record(folder.root, ["a.png", "c.png"])
    groups.record(folder.root, ["b.png", "of another list.png"])
    assert start._unfinished(tiny_config(tmp_path, names=NAMES), NAMES)["units"] == [["a.png", "c.png"], ["b.png"]]


def test_results_of_another_configuration_are_refused_without_config_json_too(folder, tmp_path):
    (folder.root / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="results/a was made with another configuration"):
        start._unfinished(tiny_config(tmp_path, names=NAMES, seed=7), NAMES)
    assert _finished(tmp_path) == ["a", "b"]


def test_the_hash_tells_apart_what_changes_results_and_nothing_else(tmp_path):
    this = config_hash(tiny_config(tmp_path))
    assert config_hash(tiny_config(tmp_path, seed=7)) != this
    for free in (
        {"checkpoint__keep": 5},
        {"workdir": "elsewhere"},
        {"data__image_list": "longer.txt"},
        {"outputs__networks": "none"},
    ):
        assert config_hash(tiny_config(tmp_path, **free)) == this


def test_a_training_is_done_while_its_files_are_there(tmp_path):
    for name in run_folder.TRAINED:
        assert not run_folder.is_trained(tmp_path)
        (tmp_path / name).write_text("[]")
    run_folder.note_joint(tmp_path, images=["a.png"])
    run_folder.note_joint(tmp_path, returns=1)
    assert run_folder.is_trained(tmp_path)
    assert run_folder.joint_record(tmp_path) == {"images": ["a.png"], "returns": 1}
    (tmp_path / "joint.json").write_text("{")
    assert run_folder.joint_record(tmp_path) == {}
