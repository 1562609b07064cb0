"""Training a StyleGAN2: it goes on with the same bits, on any number of devices, and says what is wrong."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.config.validation import problems
from gan2shape_jax.errors import DivergedError, UserError
from gan2shape_jax.io.weights import flat_names
from gan2shape_jax.run import interrupt
from tools.train_stylegan2 import __main__ as program
from tools.train_stylegan2 import configuration, health
from tools.train_stylegan2.settings import TrainingSettings, architecture_for

_ROOT = pathlib.Path(__file__).parents[2]
_TINY = ("--size", 16, "--channels", 8, "--base", 64, "--style-width", 8, "--batch", 8, "--path", 2, "--every", 80)


def _train(photos, out, images, *more):
    words = [photos, "--out", out, *_TINY, "--images", images, "--features", "none", *more]
    return program.main([str(word) for word in words])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 60 pictures: discs of any colour on any ground."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for number in range(60):
        ground, colour = rng.integers(0, 256, (2, 3))
        inside = np.hypot(x - 7.5, y - 7.5) < rng.uniform(3, 7)
        Image.fromarray(np.where(inside[..., None], colour, ground).astype(np.uint8)).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def straight(photos, tmp_path_factory):
    """What 20 iterations come to, done at once."""
    out = tmp_path_factory.mktemp("gan") / "straight"
    assert _train(photos, out, 160) == 0
    return out


def _weights(out):
    architecture, params = stylegan2.load(out / "gan.safetensors")
    return architecture, {name: np.asarray(value) for name, value in flat_names.by_name(params).items()}


@pytest.mark.heavy
def test_what_is_written_is_a_gan_with_its_samples_and_history(straight):
    architecture, weights = _weights(straight)
    assert architecture.channels == (8, 8, 4)
    fresh = flat_names.by_name(stylegan2.init_params(jax.random.key(0), architecture))
    moved = [name for name, value in weights.items() if not np.array_equal(value, fresh[name])]
    assert len(moved) > 0.8 * len(weights)
    assert not any(name.startswith("generator/noise/") for name in moved)  # buffers, not weights
    with Image.open(straight / "samples" / "00000160.png") as grid:
        assert grid.size == (96, 96)
    rows = (straight / "history.csv").read_text().splitlines()
    assert rows[0].startswith("images,") and rows[-1].startswith("160,")
    assert (straight / "curves.png").stat().st_size > 1000


@contextlib.contextmanager
def _stopping_after(count):
    """In place of Ctrl-C between two iterations."""
    left = iter(range(count))

    def check():
        if next(left, None) is None:
            raise KeyboardInterrupt

    yield check


@pytest.mark.heavy
def test_a_training_that_was_stopped_anywhere_ends_with_the_same_bits(photos, straight, tmp_path, monkeypatch, capsys):
    out = tmp_path / "gan"
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "noted", lambda: _stopping_after(6))
        assert _train(photos, out, 160) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert _train(photos, out, 160) == 0
    assert "going on after 56 photos" in capsys.readouterr().out
    _, once = _weights(straight)
    _, twice = _weights(out)
    assert all(np.array_equal(once[name], twice[name]) for name in once)
    assert (out / "history.csv").read_text() == (straight / "history.csv").read_text()


@pytest.mark.heavy
def test_a_finished_training_has_nothing_to_do_and_more_may_be_asked_for(photos, straight, capsys):
    before = (straight / "gan.safetensors").read_bytes()
    assert _train(photos, straight, 160) == 0
    assert (straight / "gan.safetensors").read_bytes() == before


@pytest.mark.heavy
def test_a_checkpoint_of_another_training_is_refused(photos, straight, capsys):
    assert _train(photos, straight, 160, "--rate", 0.001) == 1
    assert "made with another settings" in capsys.readouterr().err
    assert _train(photos, straight, 160, "--channels", 6) == 1
    assert "made with another architecture" in capsys.readouterr().err


@pytest.mark.heavy
def test_going_on_from_a_gan_takes_its_architecture(photos, straight, tmp_path, capsys):
    start = straight / "gan.safetensors"
    assert _train(photos, tmp_path / "more", 8, "--start", start) == 0
    assert _weights(tmp_path / "more")[0] == _weights(straight)[0]
    words = [str(photos), "--out", str(tmp_path / "other"), "--size", "32", "--start", str(start)]
    assert program.main(words) == 1
    assert "makes images of 16 pixels" in capsys.readouterr().err


@pytest.mark.heavy
def test_check_tells_memory_and_time_and_trains_nothing(photos, tmp_path, capsys):
    out = tmp_path / "gan"
    assert _train(photos, out, 8000, "--check") == 0
    told = capsys.readouterr().out
    assert "generator" in told and "MiB a device" in told and "8000 photos: 0:" in told
    assert not (out / "gan.safetensors").exists()


_ON_DEVICES = """
import json, sys
import jax, numpy as np
from tools.train_stylegan2 import TrainingSettings, architecture_for, devices, fresh_state, iterate, make_updates
arch = architecture_for(16, most=8, base=64, style_dim=8)
settings = TrainingSettings(batch=16, path_weight=2.0, augment="none")
mesh = devices.mesh_for(16)
updates, state = make_updates(arch, settings, mesh), devices.everywhere(fresh_state(arch, settings), mesh)
photos = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
told = []
for number in range(10):
    batch = devices.on_devices(photos, np.arange(16) + 4 * number, mesh)
    state, metrics = iterate(updates, settings, state, batch, number)
    told.append({name: float(value) for name, value in metrics.items()})
print(json.dumps([mesh.size, told]))
"""


@pytest.mark.heavy
def test_eight_devices_give_the_losses_of_one():
    def run(count):
        environ = os.environ | {
            # Compiled without optimisation, which is most of the time otherwise.
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count} --xla_backend_optimization_level=0",
            "PYTHONPATH": str(_ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", _ON_DEVICES],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    (one, alone), (eight, together) = run(1), run(8)
    assert (one, eight) == (1, 8)
    for mine, theirs in zip(alone, together, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert abs(value - theirs[name]) <= 1e-5 * max(1.0, abs(value)), name


def test_a_loss_that_is_lost_ends_the_training_with_advice():
    row = {"images": 800, "generator_loss": float("nan"), "discriminator_loss": 0.1}
    with pytest.raises(DivergedError, match=r"generator_loss not finite after 800 photos.*--rate"):
        health.require_sound(row, kept="nothing was kept")
    with pytest.raises(DivergedError, match="generator_loss 5000 after 800 photos"):
        health.require_sound({"images": 800, "generator_loss": 5000.0, "real_logit": 1.0}, kept="nothing was kept")
    health.require_sound({"images": 800, "generator_loss": 1.0, "gradient_penalty": 5000.0}, kept="")


def test_a_discriminator_that_has_won_is_told_with_what_to_change():
    won = {"images": 800, "generator_loss": 9.0, "taken_for_real": 1.0, "augmentation": 0.0}
    without, with_it = TrainingSettings(augment="none"), TrainingSettings(augment="ada")
    assert "--augment ada" in health.warning_of([won] * 4, without)
    assert health.warning_of([won] * 3, without) == ""
    assert health.warning_of([won] * 4, with_it) == ""  # augmentation is still on its way
    assert "--r1" in health.warning_of([{**won, "augmentation": 1.0}] * 4, with_it)
    assert health.warning_of([{**won, "generator_loss": 2.0}] * 4, without) == ""


@pytest.mark.heavy
def test_diverged_weights_are_not_written(photos, tmp_path, capsys):
    assert _train(photos, tmp_path / "gan", 480, "--rate", 1, "--r1", 1e6) == 1
    assert "training has diverged" in capsys.readouterr().err
    assert not (tmp_path / "gan" / "gan.safetensors").exists()


def test_a_batch_that_does_not_fit_the_groups_is_refused(photos, tmp_path):
    with pytest.raises(UserError, match="no multiple of 4"):
        options = program._parser().parse_args([str(photos), "--out", str(tmp_path / "gan"), "--batch", "6"])
        program._plan(options)


@pytest.mark.heavy
def test_a_trained_gan_comes_with_a_configuration_for_the_other_commands(straight, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = load_config(str(straight / "config.py"))
    assert (config.category, config.image_size, config.gan.size) == ("straight", 16, 16)
    assert pathlib.Path(config.gan.checkpoint).samefile(straight / "gan.safetensors")
    lifted = load_config(f"{straight / 'config.py'}:lift")
    assert config.networks.pretrained == str(pathlib.Path(lifted.workdir) / "model.safetensors")


@pytest.mark.parametrize(("size", "side", "width"), [(32, 32, 32), (64, 64, 32), (256, 128, 0)])
def test_the_configuration_of_a_gan_is_one_of_its_sizes(tmp_path, size, side, width):
    folder = tmp_path / 'My "Dögs"_gan'
    folder.mkdir()
    arch = architecture_for(size, most=8, base=64, style_dim=24)
    path = configuration.write_once(folder, arch)
    for variant in ("", ":predict", ":scratch", ":lift"):
        config = load_config(f"{path}{variant}")
        assert problems(config) == []
        assert (config.image_size, config.networks.width, config.gan.size, config.gan.style_dim) == (
            side,
            width,
            size,
            24,
        )
    assert config.category.isascii()


def test_a_configuration_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "config.py").write_text("mine")
    assert configuration.write_once(tmp_path, architecture_for(16, most=8, base=64, style_dim=8)) is None
    assert (tmp_path / "config.py").read_text() == "mine"
