"""Samples of a GAN as the data of a run: their latents give their images, and what is wrong is said."""

import hashlib
import json
import pathlib
import shlex

import numpy as np
import pytest
from helpers.tiny import asset
from PIL import Image

from gan2shape_jax.apps import sample as program
from gan2shape_jax.apps.sample import name_of
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.io import data, image_lists, required_files
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import resolve

_COUNT = 3
_HALF_A_LEVEL = 0.5 / 127.5  # what rounding to 8 bits may change
_GAN = asset("ictface/gan.safetensors")


def _sample(out: pathlib.Path, *words) -> int:
    return program.main(["--count", str(_COUNT), "--out", str(out), *map(str, words)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("sampled") / "samples"
    assert _sample(out, "--config=ictface:scratch", "--ellipse", 0.5, 0.5, 0.4, 0.6) == 0
    return out


def _latents(folder) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted((folder / "latents").iterdir())])


def test_the_printed_command_reads_them_and_their_latents_give_their_images(tmp_path, capsys):
    """Also where the run truncates latents itself, as here."""
    source, out = tmp_path / "mine.py", tmp_path / "samples"
    text = "    config = load_config('ictface:scratch').unlock()\n    config.gan.truncation = 0.5\n    return config\n"
    source.write_text(f"from gan2shape_jax.config import load_config\n\n\ndef get_config():\n{text}")
    assert _sample(out, f"--config={source}", "--ellipse", 0.5, 0.5, 0.4, 0.6) == 0
    printed = capsys.readouterr().out
    words = shlex.split(printed[printed.index("gan2shape-jax") :].replace("\\\n", " "))[1:]
    fields = dict(word.removeprefix("--").removeprefix("config.").split("=", 1) for word in words)
    config = apply_overrides(load_config(fields.pop("config")), fields)
    required_files.require_files(config)
    names = ["0000.png", "0001.png", "0002.png"]
    assert image_lists.names_of(config) == names
    required_files.require_images(config, names)
    architecture, frozen = inputs.load_frozen(resolve(config))
    prepared = inputs.load_image(resolve(config), "0001.png", architecture, frozen, tmp_path / "found")
    difference = np.abs(np.asarray(prepared.example.gan_image - prepared.example.image))
    assert difference.max() <= _HALF_A_LEVEL + 1e-4 and 0.3 < prepared.example.mask.mean() < 0.9
    assert not (tmp_path / "found").exists()  # nothing had to be inverted


def test_a_sample_depends_on_seed_and_number_alone_and_truncation_moves_it_towards_the_mean(written, tmp_path):
    arguments = {"ten": ["--count", "10"], "far": ["--count", "3", "--truncation", "1"], "5": ["--seed", "5"]}
    for name, words in arguments.items():
        assert program.main(["--gan", _GAN, "--out", str(tmp_path / name), *words]) == 0
    ten, few = _latents(tmp_path / "ten"), _latents(written)
    assert sorted(path.name for path in (tmp_path / "ten" / "image").iterdir()) == [f"{i:04}.png" for i in range(10)]
    np.testing.assert_array_equal(ten[:_COUNT], few)
    assert len(np.unique(ten.round(4), axis=0)) == 10
    assert np.abs(_latents(tmp_path / "5")[0] - few[0]).max() > 0.1
    differences = few[1:] - few[:-1], _latents(tmp_path / "far")
    np.testing.assert_allclose(differences[0], 0.7 * (differences[1][1:] - differences[1][:-1]), atol=1e-5)


def test_the_folder_says_what_it_was_drawn_with_and_an_ellipse_is_where_it_was_asked_for(written):
    record = json.loads((written / "samples.json").read_text())
    assert record["sha256"] == hashlib.sha256(pathlib.Path(_GAN).read_bytes()).hexdigest()
    assert (record["count"], record["seed"], record["truncation"]) == (_COUNT, 0, 0.7)
    with Image.open(written / "samples.png") as sheet:
        assert sheet.size[0] == 48 + _COUNT * 96 + 2 * 8
    mask = np.asarray(Image.open(written / "mask" / "0000.png"), float) / 255
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    inside = ((x - 0.5) / 0.4) ** 2 + ((y - 0.5) / 0.6) ** 2 < 1
    assert np.mean((mask > 0.5) != inside) < 0.01 and mask.mean() == pytest.approx(inside.mean(), abs=0.01)


def test_a_mask_of_ones_own_is_given_to_all_and_a_lack_of_masks_is_said(tmp_path, capsys):
    mask = np.zeros((128, 128), np.uint8)
    mask[32:96, 16:112] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert _sample(tmp_path / "s", "--config=ictface:scratch", "--mask", tmp_path / "mask.png") == 0
    assert "mask_root=" + str(tmp_path / "s" / "mask") in capsys.readouterr().out
    for path in (tmp_path / "s" / "mask").iterdir():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), mask[::2, ::2])
    assert data.load_latent(tmp_path / "s" / "latents" / "0001.npy", 128).shape == (1, 128)
    assert _sample(tmp_path / "t", "--config=ictface:scratch") == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 't' / 'mask'}/NAME.png" in printed and "--ellipse" in printed
    assert not (tmp_path / "t" / "mask").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        ("--config=ictface --truncation 0", "--truncation 0"),
        ("--config=ictface --ellipse 0.5 0.5 0 1", "--ellipse"),
        ("--config=ictface --ellipse 3 3 0.1 0.1", "outside"),
        ("--config=ictface --mask nowhere.png", "nowhere.png"),
        ("--config=nonsense", "nonsense"),
        ("--config=car:published", "gan2shape-jax get car"),
        ("--gan nowhere.safetensors", "nowhere.safetensors"),
        ("", "--config=NAME or --gan FILE"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main(["--out", str(tmp_path / "s"), *words.split()]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_left_alone(written, capsys):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert _sample(written, "--config=ictface:scratch", "--seed", 5) == 1
    assert "holds other files" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


def test_many_samples_have_names_in_order():
    assert [name_of(i, 10_000) for i in (0, 9999)] == ["0000", "9999"]
    assert [name_of(i, 10_001) for i in (0, 10_000)] == ["00000", "10000"]
