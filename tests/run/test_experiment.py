"""Whole runs by the public command: results, failures, going on whatever happens to files; a car at its real size."""

import contextlib
import errno
import itertools
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import safetensors.numpy
import trimesh
from helpers import reference_weights
from helpers.command_line import overrides
from helpers.killed import await_checkpoint
from helpers.tiny import RUN_FIELDS, tiny_config
from PIL import Image, ImageDraw

from gan2shape_jax import stylegan2
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from gan2shape_jax.plan import inputs
from gan2shape_jax.results import meshes
from gan2shape_jax.run import experiment, interrupt
from gan2shape_jax.stylegan2 import Architecture
from gan2shape_jax.training import checkpoint

# Files of a result that do not depend on when they were written, or on which pictures are.
_NUMBERS = ("depth.npy", "albedo.npy", "view.npy", "light.npy", "metrics.json", "history.csv", "networks.safetensors")


def _config(folder, **fields):
    """One image, whose latent is found; results are the same bits whatever else is in the list."""
    folder.mkdir(exist_ok=True)
    return tiny_config(folder, **RUN_FIELDS | fields)


def _command(config) -> list[str]:
    return ["--config=ictface", *overrides(config)]


def _bits(run) -> dict[str, bytes]:
    return {file: (run / "results" / "001" / file).read_bytes() for file in _NUMBERS}


@pytest.fixture
def finished(tiny_run):
    """A finished run over two images, of which one is unusable; its exit code, folder and configuration."""
    return tiny_run.code, tiny_run.folder, tiny_run.config


@pytest.fixture
def copied(finished, tmp_path):
    """The command of a run of the image that is finished, and its folder, a copy."""
    fields = {"outputs__gan_images": True, "outputs__animation": True, "logging__tensorboard": True}
    fields |= {f"data__{kind}_root": finished[2].data[f"{kind}_root"] for kind in ("image", "mask", "depth")}
    fields["gan__checkpoint"] = finished[2].gan.checkpoint
    config = _config(tmp_path / "copied", **fields)
    run = pathlib.Path(config.workdir)
    shutil.copytree(finished[1], run)
    return _command(config), run


def _again(command, capfd) -> str:
    """Starts the command; returns what it said on standard error."""
    capfd.readouterr()
    assert main(command) == 0
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return said


def test_every_output_is_there_and_a_failing_image_is_reported_and_stops_nothing(finished):
    code, root, config = finished
    assert code == 1
    files = "depth.npy depth.png normals.png albedo.png canonical.png reconstruction.png mask.png camera.json "
    files += "metrics.json overview.png mesh.obj mesh.mtl mesh.glb turntable.png turntable_gan.png relight.png "
    files += "relight_gan.png turntable.gif history.csv networks.safetensors"
    result = root / "results" / "001"
    assert [file for file in files.split() if not (result / file).stat().st_size] == []
    assert np.load(result / "depth.npy").dtype == np.float32
    assert trimesh.load(result / "mesh.obj").vertices.shape[0] > 100
    assert len(trimesh.load(result / "mesh.glb").geometry) == 2  # inside and along the outline
    with Image.open(result / "overview.png") as picture:
        assert min(picture.size) > 100
    of_run = ("config.json", "versions.json", "results.csv", "results.md", "index.html")
    assert [file for file in of_run if not (root / file).stat().st_size] == []
    assert list((root / "tensorboard").rglob("events*")) and not list((root / "checkpoints").glob("*/[0-9]*"))
    assert json.loads((root / "versions.json").read_text())["seed"] == config.seed
    failures = json.loads((root / "failures.json").read_text())
    assert list(failures) == ["005"] and "005.png" in failures["005"] and not (root / "results" / "005").exists()
    metrics = json.loads((result / "metrics.json").read_text())
    keys = {"side", "mad", "mad_unit", "mae", "mse"}
    assert keys | {"prior", "reconstruction_l1", "inversion_l1"} <= metrics.keys() and set(metrics["prior"]) == keys
    assert all(np.isfinite(metrics[key]) and metrics[key] > 0 for key in keys)


def test_a_folder_of_another_configuration_is_refused_and_kept(finished):
    _, root, config = finished
    other = config.copy_and_resolve_references()
    other.seed = 7
    with pytest.raises(
        UserError, match=r"holds a run made with other values: seed \(was 0, is 7\); choose another --config"
    ):
        experiment.run_experiment(other)
    assert json.loads((root / "config.json").read_text())["seed"] == 0


def test_a_finished_run_is_left_as_it_is(copied, capfd):
    command, run = copied
    before = {path: path.stat().st_mtime_ns for path in (run / "results" / "001").iterdir()}
    said = _again(command, capfd)
    assert "warning" not in said and "001: finished before, skipped" in said
    assert before == {path: path.stat().st_mtime_ns for path in (run / "results" / "001").iterdir()}


@pytest.mark.ci  # trains once more
def test_what_is_lost_or_cut_short_is_made_again_with_the_same_bits(copied, finished, capfd):
    command, run = copied
    (run / "config.json").write_bytes(bytes(range(256)))
    (run / "versions.json").write_text("null")
    (run / "results.csv").write_text("")
    (run / "results" / "001" / "overview.png").write_bytes(b"")
    (run / "latents" / "001.npy").write_bytes(b"cut")
    said = _again(command, capfd)
    assert _bits(run) == _bits(finished[1])
    assert (run / "latents" / "001.npy").read_bytes() == (finished[1] / "latents" / "001.npy").read_bytes()
    assert "overview.png has 0 bytes instead of" in said
    kept = {path.name for place in (run, run / "results", run / "latents") for path in place.glob("*.unreadable-1")}
    assert kept == {f"{name}.unreadable-1" for name in ("config.json", "001", "001.npy")}
    assert (run / "latents" / "001.npy.unreadable-1").read_bytes() == b"cut"


@pytest.mark.ci
def test_a_removed_folder_or_a_full_disk_ends_the_run_in_a_sentence(finished, tmp_path, monkeypatch, capfd):
    config = _config(tmp_path / "gone", names=("001.png", "006.png"))
    run, iterations = pathlib.Path(config.workdir), itertools.count(1)

    def remove():
        while next(iterations) >= 3 and run.exists():  # a checkpoint may be on its way
            shutil.rmtree(run, ignore_errors=True)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(interrupt, "noted", lambda **_: contextlib.nullcontext(remove))
        assert main(_command(config)) == 1
    said = capfd.readouterr().err
    assert said.count("error:") == 1 and "during the run" in said and "Traceback" not in said
    for module, name, stand_in in (
        (checkpoint.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000, total=2000)),
        (meshes, "glb_bytes", full),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, stand_in)
            assert main(_command(config)) == 1
        config.unlock().data.image_list = _config(tmp_path / "one").data.image_list
        said = capfd.readouterr().err
        assert "the disk is full; make room and run the same command again" in said and "Traceback" not in said
        assert "006" not in said and not (run / "results" / "001").exists() and not list(run.glob("*.part"))
    monkeypatch.setattr(inputs, "find_latent", lambda *_: pytest.fail("an earlier start has found it"))
    _again(_command(config), capfd)
    assert _bits(run) == _bits(finished[1])


@pytest.mark.heavy  # three starts, each of which traces what it trains
def test_killed_interrupted_and_started_again_ends_with_the_same_bits(finished, tmp_path):
    """SIGKILL early, then SIGTERM and Ctrl-C: the last start goes on to the results of an undisturbed run."""
    config = _config(tmp_path / "killed")
    command = [sys.executable, "-m", "gan2shape_jax.main", *_command(config)]
    root = pathlib.Path(config.workdir)
    # At 9 the first iteration of step 3 is still to be compiled: the interrupt cannot come after the last of its two.
    for kind, iterations, code in (
        (signal.SIGKILL, 5, -signal.SIGKILL),
        (signal.SIGTERM, 7, 143),
        (signal.SIGINT, 9, 130),
    ):
        said = _stopped(command, root / "checkpoints" / "001", kind, iterations, code)
        assert not (root / "results" / "001").exists()
    assert "interrupted; run the same command again to continue" in said and "Traceback" not in said
    again = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    assert re.search(r"^001: continues from stage 1 step(2|3), iteration \d of 2$", again.stderr, re.MULTILINE)
    # How long is left is told only once enough was done to know it.
    last = r"^\d\d:\d\d:\d\d 001: stage 1 step3, 2 of 2, loss [\d.]+(; .* left)?$"
    assert re.search(last, again.stderr, re.MULTILINE)
    assert _bits(root) == _bits(finished[1])


def _stopped(command: list[str], checkpoints: pathlib.Path, kind: int, iterations: int, code: int) -> str:
    """Sends a start of the command a signal once it has a checkpoint of so many iterations; returns what it said."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    await_checkpoint(process, checkpoints, iterations)
    process.send_signal(kind)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code
    return said


# config-f at 512 pixels with channel multiplier 2 (Karras et al., 2020), 4 to 512 pixels.
_CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)


def _write_weights(folder: pathlib.Path) -> None:
    arch = Architecture(size=512, style_dim=512, mapping_layers=8, channels=_CHANNELS, discriminator_channels=_CHANNELS)
    stylegan2.save(folder / "gan.safetensors", arch, stylegan2.init_params(jax.random.key(0), arch))
    safetensors.numpy.save_file(reference_weights.lpips_params(), folder / "lpips.safetensors")


def _write_data(folder: pathlib.Path) -> None:
    rng = np.random.default_rng(1)
    (folder / "list.txt").write_text("a.png\n")
    Image.fromarray(rng.integers(0, 255, (512, 512, 3), np.uint8)).save(folder / "a.png")
    (folder / "masks").mkdir()
    mask = Image.new("L", (512, 512))
    ImageDraw.Draw(mask).ellipse((60, 150, 450, 360), fill=255)
    mask.save(folder / "masks" / "a.png")
    (folder / "latents").mkdir()
    np.save(folder / "latents" / "a.npy", rng.standard_normal((1, 512)).astype(np.float32) * 0.1)
    np.savez(folder / "view.npz", mean=np.zeros(6), cov=np.eye(6) * 0.01)
    np.savez(folder / "light.npz", mean=np.zeros(4), cov=np.eye(4) * 0.01)


@pytest.mark.slow
def test_car_runs_every_step_at_its_real_size(tmp_path):
    _write_weights(tmp_path)
    _write_data(tmp_path)
    arguments = {"workdir": "run", "data.image_list": "list.txt", "data.image_root": "", "data.mask_root": "masks"}
    arguments |= {"data.latent_root": "latents", "gan.checkpoint": "gan.safetensors"}
    arguments |= {"loss.lpips_weights": "lpips.safetensors"}
    arguments |= {"sampling.view_mvn": "view.npz", "sampling.light_mvn": "light.npz"}
    arguments = {field: str(tmp_path / path) for field, path in arguments.items()}
    arguments |= {"prior.iterations": "2", "sampling.collect_iters": "2", "schedule.stages": str(4 * ((2, 2, 2),))}
    arguments |= {"logging.every_iterations": "1", "outputs.turntable_frames": "4"}
    config = apply_overrides(load_config("car:published"), arguments)
    assert (config.image_size, config.gan.size, config.gan.channel_multiplier) == (128, 512, 2)
    assert experiment.run_experiment(config) == 0
    result = tmp_path / "run" / "results" / "a"
    assert np.load(result / "depth.npy").shape == (128, 128)
    assert np.isfinite(np.load(result / "depth.npy")).all()
    assert (result / "mesh.glb").stat().st_size > 0 and (result / "turntable_gan.png").stat().st_size > 0
    measured = {"reconstruction_l1", "inversion_l1", "samples_l1", "worse_than_prior"}
    assert set(json.loads((result / "metrics.json").read_text())) == measured
    steps = [(row.split(",")[1], row.split(",")[2]) for row in (result / "history.csv").read_text().splitlines()[1:]]
    before = {("0", "start"), ("0", "prior")}
    assert before | {(str(s), f"step{k}") for s in (1, 2, 3, 4) for k in (1, 2, 3)} == set(steps)
