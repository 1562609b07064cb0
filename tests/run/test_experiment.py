"""Whole runs with tiny networks: results, resuming, isolation of failures, refusals."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import trimesh
from helpers.command_line import overrides
from helpers.tiny import asset, tiny_config
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from gan2shape_jax.run import experiment
from gan2shape_jax.training import checkpoint

_SHORT = {"schedule__stages": ((3, 3, 4),)}
# Files of a result that do not depend on when they were written.
_NUMBERS = ("depth.npy", "albedo.npy", "view.npy", "light.npy", "metrics.json", "history.csv", "networks.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run over three images, of which one is unusable; its exit code and folder."""
    folder = tmp_path_factory.mktemp("finished")
    images = folder / "images"
    shutil.copytree(asset("ictface/image"), images)
    (images / "005.png").write_bytes((images / "005.png").read_bytes()[:500])
    config = tiny_config(
        folder,
        names=("001.png", "005.png", "006.png"),
        **_SHORT,
        data__image_root=str(images),
        logging__tensorboard=True,
        outputs__gan_images=True,
        outputs__animation=True,
    )
    code = experiment.run(config)
    return code, pathlib.Path(config.workdir), config


def test_every_output_is_there(finished):
    _, root, _ = finished
    for name in ("001", "006"):
        for file in (
            "depth.npy",
            "depth.png",
            "normals.png",
            "albedo.png",
            "canonical.png",
            "reconstruction.png",
            "mask.png",
            "camera.json",
            "metrics.json",
            "overview.png",
            "mesh.obj",
            "mesh.mtl",
            "mesh.glb",
            "turntable.png",
            "turntable_gan.png",
            "relight.png",
            "relight_gan.png",
            "turntable.gif",
            "history.csv",
            "networks.safetensors",
        ):
            assert (root / "results" / name / file).stat().st_size > 0, file
        assert np.load(root / "results" / name / "depth.npy").dtype == np.float32
        assert trimesh.load(root / "results" / name / "mesh.obj").vertices.shape[0] > 100
        assert len(trimesh.load(root / "results" / name / "mesh.glb").geometry) == 1
        with Image.open(root / "results" / name / "overview.png") as picture:
            assert min(picture.size) > 500
    for file in ("config.json", "versions.json", "results.csv", "results.md", "index.html"):
        assert (root / file).stat().st_size > 0, file
    assert list((root / "tensorboard").rglob("events*"))


def test_metrics_name_prior_and_end(finished):
    _, root, _ = finished
    metrics = json.loads((root / "results" / "001" / "metrics.json").read_text())
    keys = {"side", "mad", "mad_unit", "mae", "mse"}
    assert keys | {"prior", "reconstruction_l1", "inversion_l1"} <= metrics.keys()
    assert set(metrics["prior"]) == keys
    assert metrics["inversion_l1"] == pytest.approx(0.044, abs=2e-3)  # measured when the latent was found
    assert all(np.isfinite(metrics[key]) and metrics[key] > 0 for key in keys)


def test_a_failing_image_is_reported_and_stops_nothing(finished):
    code, root, _ = finished
    assert code == 1
    failures = json.loads((root / "failures.json").read_text())
    assert list(failures) == ["005"] and "005.png" in failures["005"]
    assert not (root / "results" / "005").exists()
    assert (root / "results" / "006" / "result.json").is_file()


def test_versions_and_seed_are_kept(finished):
    _, root, config = finished
    versions = json.loads((root / "versions.json").read_text())
    assert versions["seed"] == config.seed and versions["jax"]
    assert json.loads((root / "config.json").read_text())["image_size"] == 64


def test_finished_images_are_skipped(finished, capsys):
    _, root, config = finished
    before = (root / "results" / "001" / "depth.npy").stat().st_mtime_ns
    assert experiment.run(config) == 1
    assert "001: finished before, skipped" in capsys.readouterr().err
    assert (root / "results" / "001" / "depth.npy").stat().st_mtime_ns == before


def test_a_folder_of_another_configuration_is_refused(finished):
    _, root, config = finished
    other = config.copy_and_resolve_references()
    other.seed = 7
    with pytest.raises(UserError, match=r"another configuration: seed \(was 0, is 7\)"):
        experiment.run(other)
    assert json.loads((root / "config.json").read_text())["seed"] == 0


def test_joint_training_of_one_image_is_refused_in_words(tmp_path):
    config = tiny_config(tmp_path, mode="joint", schedule__joint=True)
    with pytest.raises(UserError, match="joint training needs at least two images, the list has 1"):
        experiment.run(config)
    assert not pathlib.Path(config.workdir).exists()


def test_a_gan_of_another_size_is_refused(tmp_path):
    config = tiny_config(tmp_path, gan__size=128)
    with pytest.raises(UserError, match=r"has size 64, but config.gan.size is 128"):
        experiment.run(config)


def test_a_full_disk_ends_the_run_in_words(tmp_path, monkeypatch, capsys):
    config = tiny_config(tmp_path, names=("001.png", "006.png"))
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    assert main(["--config=ictface", *overrides(config)]) == 1
    told = capsys.readouterr().err
    assert "the disk is full" in told and "Traceback" not in told and "006" not in told
    assert not (pathlib.Path(config.workdir) / "results" / "001").exists()


def _same_numbers(first: pathlib.Path, second: pathlib.Path) -> None:
    for file in _NUMBERS:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def _environment() -> dict[str, str]:
    root = pathlib.Path(__file__).resolve().parents[2]
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.heavy  # three starts, each of which traces what it trains
def test_killed_interrupted_and_started_again_ends_with_the_same_bits(finished, tmp_path):
    """SIGKILL early, Ctrl-C later: the third start goes on to the results of an undisturbed run."""
    _, whole, _ = finished
    config = tiny_config(tmp_path, **_SHORT)
    command = [sys.executable, "-m", "gan2shape_jax.main", "--config=ictface", *overrides(config)]
    root = pathlib.Path(config.workdir)
    # At 10 the first iteration of step 3 is still to be compiled: the interrupt cannot come after the last of its four.
    for kind, iterations, code in ((signal.SIGKILL, 5, -signal.SIGKILL), (signal.SIGINT, 10, 130)):
        told = _stopped(command, root / "checkpoints" / "001", kind, iterations, code)
        assert not (root / "results" / "001").exists()
    assert "interrupted; run the same command again to go on" in told and "Traceback" not in told
    again = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    goes_on = r"^001: goes on from stage 1 step(2, iteration 3 of 3|3, iteration \d of 4)$"
    assert re.search(goes_on, again.stderr, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d 001: stage 1 step3, 4 of 4, loss [\d.]+, .* left$", again.stderr, re.MULTILINE)
    _same_numbers(root / "results" / "001", whole / "results" / "001")


def _stopped(command: list[str], checkpoints: pathlib.Path, kind: int, iterations: int, code: int) -> str:
    """Sends a start of the command a signal once it has a checkpoint of so many iterations; returns what it told."""
    process = subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not any(path.name.isdigit() and int(path.name) >= iterations for path in checkpoints.glob("*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(kind)
    _, told = process.communicate(timeout=120)
    assert process.returncode == code
    return told
