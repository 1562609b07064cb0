"""Where results lie: apart from what the run keeps, whatever images are called; runs of the former layout go on."""

import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import pytest
from etils import epath
from helpers import bump
from helpers.command_line import overrides
from helpers.tiny import asset, tiny_config

import gan2shape_jax as g2s
from gan2shape_jax.config import apply_overrides, to_json
from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from gan2shape_jax.method import models
from gan2shape_jax.method.state import TrainState
from gan2shape_jax.results import save_result
from gan2shape_jax.run import check, experiment, former_layout, prepare, result_folders
from gan2shape_jax.run.checkpoint_folders import require_no_pattern
from gan2shape_jax.run.former_layout import move_former_results
from gan2shape_jax.run.result_folders import layout_of, run_of, saved_result
from gan2shape_jax.run.run_folder import RunFolder
from gan2shape_jax.training import network_files
from gan2shape_jax.training.checkpoint import Checkpoints


def _named(name: str):
    result = bump.result()
    object.__setattr__(result, "name", name)
    return result


def _former_run(folder: pathlib.Path, *stems: str, **fields) -> pathlib.Path:
    """The folder of a run as version 0.1 left it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(folder, names=[f"{stem}.png" for stem in stems], **fields)
    root = pathlib.Path(config.workdir)
    for stem in stems:
        save_result(_named(stem), root / stem)
    (root / "config.json").write_text(to_json(config))
    (root / "versions.json").write_text('{"gan2shape_jax": "0.1.0"}')
    return config, root


def _results(root: pathlib.Path) -> set[str]:
    return {path.parent.relative_to(root).as_posix() for path in root.rglob("result.json") if path.is_file()}


# --- runs of the former layout ----------------------------------------------------------------------------


def test_a_start_takes_up_finished_results_of_the_former_layout(tmp_path, capsys):
    config, root = _former_run(tmp_path, "001", "006")
    before = (root / "006" / "depth.npy").stat().st_mtime_ns
    assert main(["--config=ictface", *overrides(config)]) == 0
    told = capsys.readouterr().err
    assert f"results of 2 images, which an earlier version wrote beside it, are now in {root / 'results'}" in told
    assert "001: finished before, skipped" in told and "006: finished before, skipped" in told
    assert _results(root) == {"results/001", "results/006"}
    assert (root / "results" / "006" / "depth.npy").stat().st_mtime_ns == before
    assert "results/006/" in (root / "index.html").read_text() and layout_of(root) == 2


def test_another_configuration_is_refused_before_anything_moves(tmp_path):
    config, root = _former_run(tmp_path, "001")
    other = config.copy_and_resolve_references()
    other.seed = 7
    with pytest.raises(UserError, match="another configuration"):
        experiment.run(other)
    assert _results(root) == {"001"}


def test_only_results_of_this_program_move_wherever_they_lie(tmp_path):
    _, root = _former_run(tmp_path, "001", "people/a b", "results/002", "latents", "x[1]")
    (root / "notes").mkdir()
    (root / "notes" / "result.json").write_text('{"name": "elsewhere"}')
    (root / "odd").mkdir()
    (root / "odd" / "result.json").write_text("[" * 100_000)
    shutil.copytree(root / "001", root / ".001.abcdefgh.part")
    shutil.copytree(root / "001", root / "copy of 001")
    (root / "people" / "list.txt").write_text("kept")
    assert move_former_results(root, root / "checkpoints") == 5
    moved = {"results/001", "results/people/a b", "results/results/002", "results/latents", "results/x[1]"}
    assert _results(root) == moved | {"notes", "odd", ".001.abcdefgh.part", "copy of 001"}
    assert (root / "people" / "list.txt").read_text() == "kept"
    assert move_former_results(root, root / "checkpoints") == 0


def test_results_of_an_image_called_results_move_too(tmp_path, monkeypatch):
    _, root = _former_run(tmp_path, "results", "001")
    move = former_layout._move

    def dying(source, target):
        if source.name.startswith("."):
            raise KeyboardInterrupt
        return move(source, target)

    monkeypatch.setattr(former_layout, "_move", dying)
    with pytest.raises(KeyboardInterrupt):
        move_former_results(root, root / "checkpoints")
    monkeypatch.undo()
    assert move_former_results(root, root / "checkpoints") == 1
    assert _results(root) == {"results/results", "results/001"}


def test_results_that_are_there_already_are_not_replaced(tmp_path):
    _, root = _former_run(tmp_path, "001", "002")
    save_result(_named("001"), root / "results" / "001")
    before = (root / "results" / "001" / "depth.npy").stat().st_mtime_ns
    assert move_former_results(root, root / "checkpoints") == 1
    assert (root / "results" / "001" / "depth.npy").stat().st_mtime_ns == before


def test_a_folder_that_no_run_has_is_left_alone(tmp_path):
    save_result(_named("001"), tmp_path / "001")
    assert move_former_results(tmp_path, tmp_path / "checkpoints") == 0 and _results(tmp_path) == {"001"}
    assert move_former_results(tmp_path / "absent", tmp_path / "checkpoints") == 0
    assert not (tmp_path / "absent").exists()


def test_a_folder_that_cannot_be_moved_is_named(tmp_path, monkeypatch):
    _, root = _former_run(tmp_path, "001")

    def refuse(this, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    with pytest.raises(UserError, match=r"cannot move .*run/001, the results of an earlier version"):
        move_former_results(root, root / "checkpoints")


def test_checkpoints_of_groups_and_joint_runs_are_taken_up(tmp_path):
    _, root = _former_run(tmp_path, "001")
    names = ("group-0badcafe", "group-12345678", "_all", "001")
    for name in names:
        (root / "checkpoints" / name / "7").mkdir(parents=True)
    (root / ".groups").mkdir()
    (root / ".groups" / "group-0badcafe.json").write_text('["001.png"]')  # the other is an image's
    move_former_results(root, root / "checkpoints")
    found = {path.name for path in (root / "checkpoints").iterdir()}
    assert found == {".group-0badcafe", "group-12345678", "_all", "001"}
    (root / "images.txt").write_text("001.png\n")  # now it is a joint run's folder
    move_former_results(root, root / "checkpoints")
    assert (root / "checkpoints" / ".all" / "7").is_dir() and not (root / "checkpoints" / "_all").exists()


@pytest.mark.parametrize("layout", ["former", "present"])
def test_commands_that_read_take_both_layouts(layout, tmp_path, capsys):
    _, root = _former_run(tmp_path, "001", "people/002")
    if layout == "present":
        move_former_results(root, root / "checkpoints")
        (root / "versions.json").write_text('{"layout": 2}')
    folder = saved_result(root, "people/002")
    assert folder == root / ("results/people/002" if layout == "present" else "people/002")
    assert run_of(folder, "people/002") == root
    assert g2s.load(folder).name == "people/002"
    assert main(["render", str(folder), "--size", "16", "--out", str(tmp_path / "view.png")]) == 0
    assert main(["evaluate", str(root), "--out", str(tmp_path / "tables")]) == 0
    capsys.readouterr()
    rows = (tmp_path / "tables" / "images.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [["run", "001"], ["run", "people/002"]]
    record = json.loads((tmp_path / "tables" / "manifest.json").read_text())["runs"][0]
    assert record["config_sha256"] and record["path"] == str(root)


# --- a run over images with the names of its own files -----------------------------------------------------

_OWN = ("config.json", "result.json")
_BROKEN = "=x[/red] y"  # in a folder `=x[`


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Networks used feed-forward on images with such names, by the command; its exit code, folder and what it told."""
    folder = tmp_path_factory.mktemp("hostile")
    start = tiny_config(folder)
    architecture, frozen = prepare.load_frozen(start)
    prepared = prepare.load_image(start, "001.png", architecture, frozen, RunFolder(folder).latents)
    networks = folder / "networks.safetensors"
    networks.write_bytes(network_files.networks_bytes(models.init_params(jax.random.key(5), prepared.settings)))
    for stem in (*_OWN, _BROKEN):
        image = folder / "images" / f"{stem}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(asset("ictface/image/001.png"), image)
    image.write_bytes(b"no picture")
    config = tiny_config(
        folder,
        names=[f"{stem}.png" for stem in (*_OWN, _BROKEN)],
        mode="predict",
        networks__pretrained=str(networks),
        gan__checkpoint="nowhere.safetensors",
        data__image_root=str(folder / "images"),
        data__latent_root="",
        data__mask_root="",
        data__depth_root="",
        outputs__picture_size=32,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        code = main(["--config=ictface", *overrides(config)])
    return code, pathlib.Path(config.workdir), config


@pytest.mark.hostile
def test_images_with_names_of_the_runs_own_files_have_results_and_the_run_keeps_its_files(hostile):
    code, root, _ = hostile
    assert code == 1  # one image is broken
    assert {path for path in os.listdir(root / "results") if (root / "results" / path / "mesh.glb").is_file()} == {
        *_OWN
    }
    for file in ("config.json", "versions.json", "results.csv", "results.md", "index.html", "failures.json"):
        assert (root / file).is_file(), file
    failures = json.loads((root / "failures.json").read_text())
    assert list(failures) == [_BROKEN] and "not an image" in failures[_BROKEN]
    assert _BROKEN in (root / "results.csv").read_text()


@pytest.mark.hostile
def test_such_a_run_goes_on_and_is_read_again(hostile, tmp_path, capsys):
    _, root, config = hostile
    assert main(["--config=ictface", *overrides(config)]) == 1
    told = capsys.readouterr().err
    assert all(f"{stem}: finished before, skipped" in told for stem in _OWN)
    assert f"{_BROKEN}: " in told and "Traceback" not in told
    assert main(["evaluate", str(root)]) == 0
    shown = capsys.readouterr().out
    assert all(f"{stem}:" in shown for stem in _OWN)
    assert main(["evaluate", str(root / "results")]) == 0
    assert capsys.readouterr().out == shown
    assert (
        main(["render", str(root / "results" / "result.json"), "--size", "16", "--out", str(tmp_path / "a.png")]) == 0
    )


@pytest.mark.hostile
@pytest.mark.parametrize(("before", "now"), [("001/b", "001"), ("001/b/c", "001"), ("images", "images/001")])
def test_results_of_an_earlier_list_are_not_replaced(before, now, tmp_path, capsys):
    """As when a list is replaced by another between two starts, each of which is fine by itself."""
    (tmp_path / "images").mkdir()
    for name in ("001.png", "images/001.png"):
        (tmp_path / name).write_bytes(pathlib.Path(asset("ictface/image/001.png")).read_bytes())
    config = tiny_config(tmp_path, names=[f"{now}.png"], data__image_root=str(tmp_path), networks__pretrained="x.pth")
    root = pathlib.Path(config.workdir)
    save_result(_named(before), root / "results" / before)
    with pytest.raises(
        UserError, match=f"an earlier list has its results in {root}/results/{before}: rename"
    ) as refusal:
        result_folders.require_apart(root, [now])
    assert str(refusal.value) in check.examine(config)
    fields = {"networks.pretrained": "", "data.mask_root": "", "data.depth_root": "", "data.latent_root": ""}
    fields["data.mask_source"] = "alpha"
    assert main(["--config=ictface", *overrides(apply_overrides(config, fields))]) == 1
    assert str(refusal.value) in capsys.readouterr().err and _results(root) == {f"results/{before}"}
    result_folders.require_apart(root, ["002", "001x", "images 2/001", before])


# --- checkpoints under names that are patterns -----------------------------------------------------------


@pytest.mark.hostile
def test_checkpoints_of_images_whose_names_are_patterns_come_back(tmp_path):
    """The library that writes them looks for its files with a glob, which would take `*` for every image."""
    folder, stems = RunFolder(tmp_path), ("ab", "*", "a?", "[a]b", "x[1]/y", "50%", "a b")
    kept = {
        stem: TrainState({"x": jnp.full(3, float(i))}, (), jnp.ones(2), jnp.zeros(3)) for i, stem in enumerate(stems)
    }
    for stem, state in kept.items():
        for done in (3, 7):
            with Checkpoints(folder.checkpoints(stem), keep=1) as checkpoints:
                checkpoints.save(done, state, {"name": stem})
    for stem, state in kept.items():
        with Checkpoints(folder.checkpoints(stem), keep=1) as checkpoints:
            again, record = checkpoints.restore(lambda record: jax.tree.map(jnp.zeros_like, kept["ab"]))
        assert record == {"name": stem} and again.params["x"].tolist() == state.params["x"].tolist()


@pytest.mark.hostile
def test_a_folder_where_checkpoints_would_be_lost_is_refused_at_once(tmp_path):
    config = tiny_config(tmp_path, workdir=str(tmp_path / "run [1]"))
    with pytest.raises(UserError, match=r"checkpoints cannot be kept in .*run \[1\]/checkpoints") as refusal:
        experiment.run(config)
    assert check.examine(config) == [str(refusal.value)] and not os.path.exists(config.workdir)
    elsewhere = apply_overrides(config, {"checkpoint.folder": str(tmp_path / "elsewhere")})
    assert check.examine(elsewhere) == []
    with pytest.raises(UserError, match="checkpoints cannot be kept"):
        require_no_pattern(epath.Path("gs://bucket/faces*"))
