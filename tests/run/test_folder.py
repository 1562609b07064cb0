"""A run's folder: what lies where, whatever images are called; what a start finds in it; one run at a time."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bump
from helpers.command_line import overrides
from helpers.plain_result import plain_result
from helpers.tiny import asset, tiny_config, tiny_image

from gan2shape_jax.config import apply_overrides
from gan2shape_jax.errors import FatalRunError, UserError
from gan2shape_jax.io.files import remove_folder
from gan2shape_jax.io.image_lists import stem_of
from gan2shape_jax.io.output_folders import CHECKPOINTS, MARKER, RUN, mark
from gan2shape_jax.main import main
from gan2shape_jax.method import models
from gan2shape_jax.method.state import TrainState
from gan2shape_jax.plan.identity import identity_of, resolve_auto
from gan2shape_jax.plan.recipe import Plan, resolve
from gan2shape_jax.results import save_result
from gan2shape_jax.run import experiment, preflight
from gan2shape_jax.run import folder as run_folder
from gan2shape_jax.run.folder import RunFolder, require_apart
from gan2shape_jax.run.lock import hold
from gan2shape_jax.training import network_files
from gan2shape_jax.training.checkpoint import Checkpoints
from gan2shape_jax.training.resume import Existing

_OWN = ("config.json", "result.json")
_BROKEN = "=x[/red] y"  # in a folder `=x[`


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Networks used feed-forward on images with such names, by the command; its exit code, folder and what it told."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = tiny_image(folder)[0].settings
    networks = folder / "networks.safetensors"
    networks.write_bytes(network_files.networks_bytes(models.init_params(jax.random.key(5), settings)))
    for stem in (*_OWN, _BROKEN):
        image = folder / "images" / f"{stem}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(asset("ictface/image/001.png"), image)
    image.write_bytes(b"no picture")
    fields = dict.fromkeys(("data__latent_root", "data__mask_root", "data__depth_root"), "")
    fields |= {"recipe": "predict", "networks__pretrained": str(networks), "gan__checkpoint": "nowhere.safetensors"}
    fields |= {"data__image_root": str(folder / "images")}
    config = tiny_config(folder, names=[f"{stem}.png" for stem in (*_OWN, _BROKEN)], **fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        code = main(["--config=ictface", *overrides(config)])
    return code, pathlib.Path(config.workdir), config


def test_images_with_names_of_the_runs_own_files_have_results_and_the_run_keeps_its_files(hostile):
    code, root, _ = hostile
    assert code == 1  # one image is broken
    assert {path.parent.name for path in (root / "results").glob("*/mesh.glb")} == {*_OWN}
    files = ("config.json", "versions.json", "results.csv", "results.md", "index.html", "failures.json")
    assert [file for file in files if not (root / file).is_file()] == []
    failures = json.loads((root / "failures.json").read_text())
    assert list(failures) == [_BROKEN] and "not an image" in failures[_BROKEN]
    assert _BROKEN in (root / "results.csv").read_text()


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
    words = ["--size", "16", "--out", str(tmp_path / "a.png")]
    assert main(["render", str(root / "results" / "result.json"), *words]) == 0


def test_results_of_an_earlier_list_are_not_replaced(tmp_path):
    """As when a list is replaced by another between two starts, each of which is fine by itself."""
    for number, (before, now) in enumerate((("001/b", "001"), ("001/b/c", "001"), ("images", "images/001"))):
        root = tmp_path / str(number)
        save_result(plain_result(before), root / "results" / before)
        refusal = f"an earlier list wrote them to {root}/results/{before}: rename"
        with pytest.raises(UserError, match=refusal):
            require_apart(root, [now])
        require_apart(root, ["002", "001x", "images 2/001", before])


def test_checkpoints_of_images_whose_names_are_patterns_come_back(tmp_path):
    """The library that writes them looks for its files with a glob, which would take `*` for every image."""
    folder, stems = RunFolder(tmp_path), ("ab", "*", "a?", "[a]b", "x[1]/y", "50%", "a b")
    values = enumerate(stems)
    kept = {stem: TrainState({"x": jnp.full(3, float(i))}, (), jnp.ones(2), jnp.zeros(3)) for i, stem in values}
    for stem, state in kept.items():
        for done in (3, 7):
            with Checkpoints(folder.checkpoints(stem), keep=1) as checkpoints:
                checkpoints.save(done, state, {"name": stem})
    for stem, state in kept.items():
        with Checkpoints(folder.checkpoints(stem), keep=1) as checkpoints:
            again, record = checkpoints.restore(lambda record: jax.tree.map(jnp.zeros_like, kept["ab"]))
        assert record == {"name": stem} and again.params["x"].tolist() == state.params["x"].tolist()
        assert remove_folder(folder.checkpoints(stem))
        assert not folder.checkpoints(stem).exists()


def test_a_folder_where_checkpoints_would_be_lost_is_refused_at_once(tmp_path):
    config = tiny_config(tmp_path, workdir=str(tmp_path / "run [1]"))
    with pytest.raises(UserError, match=r"checkpoints cannot be stored in .*run \[1\]/checkpoints") as refusal:
        experiment.run_experiment(config)
    assert preflight.examine(config) == [str(refusal.value)] and not os.path.exists(config.workdir)
    elsewhere = apply_overrides(config, {"checkpoint.folder": str(tmp_path / "elsewhere")})
    assert preflight.examine(elsewhere) == []


def _refused(folder):
    with pytest.raises(UserError, match="another run uses") as caught, hold(folder):
        raise AssertionError("held twice")
    return str(caught.value)


def _seen(folder):
    """Everything that a look into a folder shows."""
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_a_second_start_learns_who_is_at_work_and_changes_nothing(tmp_path):
    folder = tmp_path / "run"
    with hold(folder):
        before = _seen(tmp_path)
        assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in _refused(folder)
        assert _seen(tmp_path) == before
        (folder / ".lock.json").write_text("[")
        assert "process ? on ?" in _refused(folder)
    with hold(folder):
        (folder / "result").write_text("")
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, ".lock", "result"]


def test_a_folder_made_in_vain_goes_again(tmp_path):
    with pytest.raises(ValueError), hold(tmp_path / "a" / "run"):
        raise ValueError
    assert not (tmp_path / "a" / "run").exists()


_HOLDING = """
import pathlib, subprocess, sys, time
from gan2shape_jax.run.lock import hold
with hold(pathlib.Path(sys.argv[1])):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])  # a child that outlives it
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    command = [sys.executable, "-c", _HOLDING, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout.readline() == b"held\n"
        assert f"process {process.pid} on" in _refused(tmp_path)
        process.kill()
        process.wait()
        with hold(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_a_removed_or_replaced_folder_is_found_out(tmp_path):
    folder = tmp_path / "run"
    with hold(folder) as require:
        require()
        shutil.rmtree(folder)
        with pytest.raises(FatalRunError, match="run was removed, or taken over by another run, during the run"):
            require()
        folder.mkdir()
        with hold(folder), pytest.raises(FatalRunError):
            require()


@pytest.mark.parametrize("place", ["workdir", "checkpoints"])
def test_a_second_command_ends_with_1_and_changes_nothing(tmp_path, capsys, place):
    config = tiny_config(tmp_path, checkpoint__folder=str(tmp_path / "shared") if place == "checkpoints" else "")
    folder = tmp_path / "shared" if place == "checkpoints" else pathlib.Path(config.workdir)
    with hold(folder, RUN if place == "workdir" else CHECKPOINTS):
        before = _seen(folder)
        assert main(["--config=ictface", *overrides(config)]) == 1
        assert _seen(folder) == before
        told = capsys.readouterr().err
        main(["--config=ictface", "--check", *overrides(config)])
        assert "another run" not in capsys.readouterr().err  # looking is allowed beside a run
    assert f"error: another run uses {folder}: process {os.getpid()} on" in told and "Traceback" not in told
    assert not (pathlib.Path(config.workdir) / "config.json").exists()


NAMES = ("a.png", "b.png", "c.png")


def _plan(tmp_path, **fields) -> Plan:
    """The plan of a run of three images, with nothing left open."""
    plan = resolve(tiny_config(tmp_path, names=NAMES, **fields))
    return dataclasses.replace(plan, config=resolve_auto(plan.config, plan.recipe))


@pytest.fixture
def folder(tmp_path):
    """The folder of a run of three images, two of them finished."""
    plan = _plan(tmp_path)
    folder, identity = RunFolder.at(plan.config), identity_of(plan.config)
    folder.root.mkdir()
    mark(folder.root, RUN)
    folder.describe(plan.config, identity)
    for stem in ("a", "b"):
        save_result(bump.result(), folder.result(stem), made_with={"configuration": identity.fingerprint})
    return folder


def _started(tmp_path, **fields) -> run_folder.Run:
    """What a start finds."""
    with run_folder.opened(resolve(tiny_config(tmp_path, names=NAMES, **fields)), NAMES) as run:
        return run


def _finished(tmp_path) -> list[str]:
    folder = _started(tmp_path).folder
    return [stem for stem in map(stem_of, NAMES) if folder.is_finished(stem)]


def test_a_result_without_a_file_or_with_one_of_another_size_is_made_again(folder, tmp_path, capsys):
    assert _finished(tmp_path) == ["a", "b"] and capsys.readouterr().err == ""
    (folder.result("a") / "albedo.npy").unlink()
    with (folder.result("b") / "depth.npy").open("ab") as file:
        file.write(b"more")
    assert _finished(tmp_path) == []
    told = capsys.readouterr().err
    assert f"{folder.result('a')} cannot be read (it is incomplete: albedo.npy is missing; the image is recon" in told
    assert "depth.npy has" in told and (tmp_path / "run/results/b.unreadable-1/depth.npy").read_bytes()[-4:] == b"more"
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


def test_files_of_the_run_that_cannot_be_read_are_set_aside_before_others_take_their_place(folder, tmp_path, capsys):
    config = _plan(tmp_path).config
    for name, write in (
        ("config.json", lambda: folder.describe(config, identity_of(config))),
        ("joint.json", lambda: folder.note_joint(images=[])),
        (MARKER, lambda: mark(folder.root, RUN)),
    ):
        (folder.root / name).write_text("{cut")
        write()
        assert (folder.root / f"{name}.unreadable-1").read_text() == "{cut"
        assert f"{folder.root / name} cannot be read" in capsys.readouterr().err
        write()
        assert json.loads((folder.root / name).read_text()) and capsys.readouterr().err == ""


def test_results_of_another_run_are_refused_without_config_json_too(folder, tmp_path, capsys):
    (folder.root / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="results/a holds a result made with other values: configuration"):
        _started(tmp_path, seed=7)
    assert _finished(tmp_path) == ["a", "b"]
    folder.describe(config := _plan(tmp_path).config, identity_of(config))  # as a start does next
    (aside,) = folder.root.glob("config.json.unreadable-*")
    assert aside.read_text() == "[" * 100_000 and "it is kept as config.json.unreadable-1" in capsys.readouterr().err


@pytest.mark.parametrize("record", ["{cut", None], ids=["damaged", "lost"])
@pytest.mark.parametrize("fields", [{}, {"recipe": "joint"}], ids=["images", "joint"])
def test_checkpoints_of_another_run_are_refused_without_config_json_before_anything_is_written(
    tmp_path, fields, record
):
    def plan(**others):
        return resolve(tiny_config(tmp_path, names=NAMES, **fields, **others))

    folder = RunFolder.at(plan().config)
    with run_folder.opened(plan(), NAMES) as run:
        folder.describe(run.config, run.identity)
        place = folder.shared_checkpoints if fields else folder.checkpoints("b")
        with Checkpoints(place, keep=1, requested=run.requested("b.png")) as checkpoints:
            checkpoints.save(1, {"a": np.zeros(1)}, {})
    (folder.root / "config.json").unlink()
    if record is not None:
        (folder.root / "config.json").write_text(record)
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    refused = pytest.raises(UserError, match="has a checkpoint made with other values: configuration")
    with refused, run_folder.opened(plan(seed=7), NAMES):
        pass
    assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == before
    with run_folder.opened(plan(), NAMES) as run:
        assert run.unmade == [*NAMES]


def test_networks_are_there_while_all_their_files_are(tmp_path):
    folder = RunFolder(tmp_path)
    for name in run_folder.TRAINED:
        assert folder.existing_networks.state == "nothing"
        (tmp_path / name).write_text("[]")
    folder.note_joint(images=["a.png"])
    folder.note_joint(returns=1)
    assert folder.existing_networks == Existing("complete", {"images": ["a.png"]})
    assert folder.joint == {"images": ["a.png"], "returns": 1}
    (tmp_path / "networks.safetensors").unlink()
    assert folder.existing_networks.state == "begun"
    (tmp_path / "joint.json").write_text("{")
    assert folder.joint == {}
