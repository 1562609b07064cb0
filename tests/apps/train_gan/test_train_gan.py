"""Training a StyleGAN2: it goes on with the same bits, on any number of devices, and says what is wrong."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from helpers.onnx_network import write_network
from helpers.tiny import asset
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.train_gan import command as program
from gan2shape_jax.apps.train_gan import loop
from gan2shape_jax.apps.train_gan.training import architecture_for
from gan2shape_jax.config import load_config
from gan2shape_jax.config.schema import problems
from gan2shape_jax.errors import DivergedError, Terminated, UserError
from gan2shape_jax.io.files import sha256
from gan2shape_jax.method.streams import Stream, key_of, run_key
from gan2shape_jax.run import interrupt

_ROOT = pathlib.Path(__file__).parents[3]
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
    return architecture, {name: np.asarray(value) for name, value in flatten_dict(params, sep="/").items()}


@contextlib.contextmanager
def _stopping_after(count):
    """In place of SIGTERM between two iterations."""
    left = iter(range(count))

    def check():
        if next(left, None) is None:
            raise Terminated

    yield check


@pytest.mark.heavy
def test_what_is_written_is_a_gan_with_samples_history_and_a_configuration(straight, monkeypatch, tmp_path):
    architecture, weights = _weights(straight)
    assert architecture.channels == (8, 8, 4)
    fresh = stylegan2.init_params(key_of(run_key(0), Stream.GAN_WEIGHTS), architecture)
    fresh = flatten_dict(fresh, sep="/")
    moved = [name for name, value in weights.items() if not np.array_equal(value, fresh[name])]
    assert len(moved) > 0.8 * len(weights)
    assert not any(name.startswith("generator/noise/") for name in moved)  # buffers, not weights
    with Image.open(straight / "samples" / "00000160.png") as grid:
        assert grid.size == (96, 96)
    rows = (straight / "history.csv").read_text().splitlines()
    assert rows[0].startswith("images,") and rows[-1].startswith("160,")
    assert (straight / "curves.png").stat().st_size > 1000
    monkeypatch.chdir(tmp_path)
    config = load_config(str(straight / "config.py"))
    assert (config.category, config.image_size, config.gan.size) == ("straight", 16, 16)
    assert pathlib.Path(config.gan.checkpoint).samefile(straight / "gan.safetensors")
    lifted = load_config(f"{straight / 'config.py'}:lift")
    assert config.networks.pretrained == str(pathlib.Path(lifted.workdir) / "model.safetensors")


@pytest.mark.heavy
def test_a_training_that_was_stopped_anywhere_ends_with_the_same_bits(photos, straight, tmp_path, monkeypatch, capsys):
    out = tmp_path / "gan"
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "noted", lambda: _stopping_after(6))
        assert _train(photos, out, 160) == 143
    assert "run the same command again" in capsys.readouterr().err
    assert _train(photos, out, 160) == 0
    assert "continuing after 56 photos" in capsys.readouterr().out
    _, once = _weights(straight)
    _, twice = _weights(out)
    assert all(np.array_equal(once[name], twice[name]) for name in once)
    assert (out / "history.csv").read_text() == (straight / "history.csv").read_text()


_KILLED = """
import os, signal, sys, time
from gan2shape_jax.apps.train_gan import command, loop
awaited, place, count, *words = sys.argv[1:]
owner, name = (loop, "iterate") if place == "iterate" else (loop.Checkpoints, "save")
function, left = getattr(owner, name), iter(range(int(count)))
def killed(*args, **kwargs):
    if next(left, None) is None:
        while awaited and not os.path.exists(awaited):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*args, **kwargs)
setattr(owner, name, killed)
command.main(words)
"""


@pytest.mark.heavy
def test_a_training_that_is_killed_before_and_after_a_checkpoint_ends_with_the_same_bits(
    photos, straight, tmp_path, capsys
):
    out = tmp_path / "gan"
    words = [str(word) for word in (photos, "--out", out, *_TINY, "--images", 160, "--features", "none")]
    # Before the first checkpoint, which is of 10 iterations; between its snapshot and itself; and after it.
    for awaited, place, count in (("", "iterate", 5), ("", "save", 0), (out / "checkpoints" / "10", "iterate", 13)):
        command = [sys.executable, "-c", _KILLED, str(awaited), place, str(count), *words]
        killed = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert (out / "gan.safetensors").exists() == (place != "iterate" or count > 10)
    assert _train(photos, out, 160) == 0
    assert "continuing after 80 photos" in capsys.readouterr().out
    _, once = _weights(straight)
    _, twice = _weights(out)
    assert once.keys() == twice.keys() and all(np.array_equal(once[name], twice[name]) for name in once)
    for name in ("history.csv", "samples/00000160.png"):
        assert (out / name).read_bytes() == (straight / name).read_bytes()
    assert not [path for path in out.rglob("*") if "tmp" in path.name]


@pytest.mark.heavy
def test_what_a_folder_goes_on_with_and_from(photos, straight, tmp_path, capsys):
    before = (straight / "gan.safetensors").read_bytes()
    assert _train(photos, straight, 160) == 0  # nothing is left to do
    assert (straight / "gan.safetensors").read_bytes() == before
    assert _train(photos, straight, 160, "--rate", 0.001) == 1
    said = capsys.readouterr().err
    assert "made with other values: settings.learning_rate (was 0.0025, is 0.001); " in said
    start = straight / "gan.safetensors"
    assert _train(photos, tmp_path / "more", 8, "--start", start) == 0
    assert _weights(tmp_path / "more")[0] == _weights(straight)[0]


def test_check_counts_the_photos_before_it_compiles(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(program.loop, "check", lambda training, log: log("compiles"))
    assert _train(photos, tmp_path / "gan", 8000, "--check") == 0
    printed = capsys.readouterr().out
    assert "60 photos are used" in printed and printed.index("fewer than 500") < printed.index("compiles")


@pytest.mark.heavy
def test_check_says_memory_and_time_and_what_has_diverged_is_not_written(photos, tmp_path, capsys):
    assert _train(photos, tmp_path / "gan", 8000, "--check") == 0
    printed = capsys.readouterr().out
    assert "generator" in printed and "MiB a device" in printed and "8000 photos: 0:" in printed
    assert _train(photos, tmp_path / "gan", 480, "--rate", 1, "--r1", 1e6) == 1
    assert "training has diverged" in capsys.readouterr().err
    assert not (tmp_path / "gan" / "gan.safetensors").exists()


_ON_DEVICES = """
import json
import jax
import numpy as np
from gan2shape_jax.training import devices
from gan2shape_jax.apps.train_gan import training as t
arch = t.architecture_for(16, most=8, base=64, style_dim=8)
settings = t.TrainingSettings(batch=BATCH, path_weight=2.0, augment="none")
mesh = devices.mesh_of(BATCH, jax.devices())
updates, state = t.make_updates(arch, settings, mesh), devices.replicate(t.fresh_state(arch, settings), mesh)
photos = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
scalars = []
for number in range(10):
    batch = t.on_devices(photos, np.arange(BATCH) + 4 * number, mesh)
    state, metrics = t.iterate(updates, settings, state, batch, number)
    scalars.append({name: float(value) for name, value in metrics.items()})
print(json.dumps([mesh.size, scalars]))
"""


@pytest.mark.heavy
def test_eight_devices_give_the_losses_of_one():
    assert_one_and_many_give_the_same(8, batch=16, used=8)


@pytest.mark.heavy
def test_a_batch_that_does_not_divide_gives_the_losses_of_one_device():
    assert_one_and_many_give_the_same(5, batch=12, used=4)
    assert_one_and_many_give_the_same(8, batch=20, used=7)


def assert_one_and_many_give_the_same(many, *, batch, used):
    def run(count):
        # Compiled without optimisation, which is most of the time otherwise.
        flags = f"--xla_force_host_platform_device_count={count} --xla_backend_optimization_level=0"
        environ = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(_ROOT)}
        command = [sys.executable, "-c", _ON_DEVICES.replace("BATCH", str(batch))]
        return json.loads(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout)

    (first, alone), (devices, together) = run(1), run(many)
    assert (first, devices) == (1, used)
    for mine, theirs in zip(alone, together, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert abs(value - theirs[name]) <= 1e-5 * max(1.0, abs(value)), name


def test_a_loss_that_is_lost_ends_the_training_and_a_discriminator_that_has_won_is_reported():
    row = {"images": 800, "generator_loss": 1.0, "gradient_penalty": 5000.0}
    loop.require_sound(row, kept="")
    told = {"generator_loss not finite after 800 photos.*--rate": float("nan"), "5000 after": 5000.0}
    for message, value in told.items():
        with pytest.raises(DivergedError, match=message):
            loop.require_sound(row | {"generator_loss": value}, kept="nothing was kept")
    won = {"images": 800, "generator_loss": 9.0, "taken_for_real": 1.0, "augmentation": 0.0}
    assert loop.warning_of([won] * 4) == ""  # augmentation is still on its way
    lost = {**won, "augmentation": 1.0}
    assert loop.warning_of([lost] * 3) == "" and "--r1" in loop.warning_of([lost] * 4)
    assert loop.warning_of([{**lost, "generator_loss": 2.0}] * 4) == ""


def test_a_batch_that_does_not_fit_the_groups_is_refused(tmp_path):
    options = program._parser().parse_args(["photos", "--out", str(tmp_path / "gan"), "--batch", "6"])
    with pytest.raises(UserError, match="not a multiple of 4"):
        program._training_of(options)


def test_a_start_may_be_a_name(tmp_path, capsys):
    words = ["photos", "--out", str(tmp_path / "gan"), "--features", "none", "--start"]
    training = program._training_of(program._parser().parse_args([*words, "cat"]))
    assert (training.arch.size, training.started_from) == (64, sha256(pathlib.Path(asset("cat/gan.safetensors"))))
    assert program.main([*words, "catfaec"]) == 1 and program.main([*words, "cat", "--size", "32"]) == 1
    printed = capsys.readouterr().err
    assert "there is no GAN 'catfaec'" in printed and "makes images of 64 pixels" in printed
    assert not (tmp_path / "gan").exists()


@pytest.mark.parametrize("variant", ["", ":predict", ":scratch", ":lift"])
@pytest.mark.parametrize(("size", "side", "width"), [(32, 32, 32), (64, 64, 32), (256, 128, 0)])
def test_the_configuration_of_a_gan_is_one_of_its_sizes_and_left_alone_where_there_is_one(
    tmp_path, size, side, width, variant
):
    folder = tmp_path / f'My "Dögs"{size}_gan'
    folder.mkdir()
    path = loop.write_config(folder, architecture_for(size, most=8, base=64, style_dim=24))
    config = load_config(f"{path}{variant}")
    assert problems(config) == [] and config.category.isascii()
    shape = (config.image_size, config.networks.width, config.gan.size, config.gan.style_dim)
    assert shape == (side, width, size, 24)
    path.write_text("mine")
    assert loop.write_config(folder, architecture_for(16, most=8, base=64, style_dim=8)) is None
    assert path.read_text() == "mine"


def test_the_distance_of_samples_from_photos_is_that_of_its_definition_and_unbiased():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 4)), rng.normal(0.5, size=(6, 4))

    def mean(x, y, *, same):
        values = [(p @ q / 4 + 1) ** 3 for i, p in enumerate(x) for j, q in enumerate(y) if not (same and i == j)]
        return np.mean(values)

    expected = mean(a, a, same=True) + mean(b, b, same=True) - 2 * mean(a, b, same=False)
    assert loop.kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)
    equal = [loop.kernel_distance(*rng.normal(size=(2, 60, 8))) for _ in range(40)]
    assert abs(np.mean(equal)) < 3 * np.std(equal) / np.sqrt(40)


def _pictures(count, side, seed, contrast=1.0):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3))
    coarse = coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    return (127.5 + contrast * (coarse - 127.5)).astype(np.uint8)


def test_what_samples_are_compared_by(tmp_path, monkeypatch):
    features = loop.load_features(pathlib.Path(asset("ictface/gan.safetensors")))
    assert features.name == "discriminator distance"
    photos, same, other = (features.of(_pictures(32, 32, seed, by)) for seed, by in ((0, 1.0), (1, 1.0), (2, 0.3)))
    assert loop.kernel_distance(photos, other) > 3 * abs(loop.kernel_distance(photos, same))
    network = loop.load_features(write_network(tmp_path / "f.onnx", ("n", 3, 16, 16)))
    pictures = _pictures(5, 16, 0)
    assert network.name == "KID"
    np.testing.assert_allclose(network.of(pictures), pictures.mean(axis=(1, 2)) / 127.5 - 1, atol=0.01)
    monkeypatch.setattr(loop, "load_embedding", mock.Mock(side_effect=UserError("give --size")))
    with pytest.raises(UserError, match="give --features-side"):
        loop.load_features(tmp_path / "f.onnx")
    (tmp_path / "f.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="f.safetensors"):
        loop.load_features(tmp_path / "f.safetensors")
