"""Samples of a GAN as the data of a run: their latents give their images, and what is wrong is said."""

import errno
import hashlib
import json
import pathlib
import shlex

import numpy as np
import pytest
from helpers.tiny import asset
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import data, required_files
from gan2shape_jax.run import prepare
from tools.sample_gan import __main__ as program
from tools.sample_gan import draw_samples, write_samples
from tools.sample_gan.samples import Samples

_COUNT = 3
_HALF_A_LEVEL = 0.5 / 127.5  # what rounding to 8 bits may change


def _sample(out: pathlib.Path, *words) -> int:
    return program.main(["--count", str(_COUNT), "--out", str(out), *map(str, words)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("sampled") / "samples"
    assert _sample(out, "--config=ictface:scratch", "--ellipse", 0.5, 0.5, 0.4, 0.6) == 0
    return out


@pytest.fixture(scope="module")
def gan():
    architecture, weights = stylegan2.load(asset("ictface/gan.safetensors"))
    return architecture, weights, prepare.mean_latent(weights, architecture)


def _overrides(printed: str) -> tuple[str, dict[str, str]]:
    """Configuration and fields of the command that the tool prints."""
    words = shlex.split(printed[printed.index("gan2shape-jax") :].replace("\\\n", " "))[1:]
    pairs = dict(word.removeprefix("--").split("=", 1) for word in words)
    return pairs.pop("config"), {name.removeprefix("config."): value for name, value in pairs.items()}


def test_the_printed_command_reads_them_and_their_latents_give_their_images(tmp_path, capsys):
    out = tmp_path / "samples"
    assert _sample(out, "--config=ictface:scratch", "--ellipse", 0.5, 0.5, 0.4, 0.6) == 0
    spec, fields = _overrides(capsys.readouterr().out)
    config = apply_overrides(load_config(spec), fields)
    required_files.require_files(config)
    assert required_files.require_images(config) == ["0000.png", "0001.png", "0002.png"]
    architecture, frozen = prepare.load_frozen(config)
    for name in data.read_names(config.data.image_list):
        prepared = prepare.load_image(config, name, architecture, frozen, tmp_path / "found")
        difference = np.abs(np.asarray(prepared.problem.gan_image - prepared.problem.image))
        assert difference.max() <= _HALF_A_LEVEL + 1e-4
        assert 0.3 < prepared.problem.mask.mean() < 0.9
    assert not (tmp_path / "found").exists()  # nothing had to be inverted


def test_latents_suit_a_run_that_truncates_them(tmp_path, capsys):
    source = tmp_path / "half.py"
    source.write_text(
        "from gan2shape_jax.config import load_config\n\n\ndef get_config():\n"
        "    config = load_config('ictface').unlock()\n    config.gan.truncation = 0.5\n    return config\n"
    )
    assert _sample(tmp_path / "samples", f"--config={source}", "--ellipse", 0.5, 0.5, 0.4, 0.6) == 0
    spec, fields = _overrides(capsys.readouterr().out)
    config = apply_overrides(load_config(spec), fields)
    architecture, frozen = prepare.load_frozen(config)
    prepared = prepare.load_image(config, "0001.png", architecture, frozen, tmp_path)
    assert prepared.inversion_l1 < _HALF_A_LEVEL
    raw = data.load_latent(tmp_path / "samples" / "latents" / "0001.npy", 128)
    assert np.abs(raw - np.asarray(prepared.problem.latent)).mean() > 0.01


def test_a_sample_depends_on_seed_and_number_alone(written, tmp_path, gan):
    assert program.main(["--gan", asset("ictface/gan.safetensors"), "--count", "10", "--out", str(tmp_path / "s")]) == 0
    names = [path.name for path in sorted((tmp_path / "s" / "image").iterdir())]
    assert names == [f"{i:04}.png" for i in range(10)]  # across two batches
    for i in range(_COUNT):
        same = [np.load(folder / "latents" / f"{i:04}.npy") for folder in (written, tmp_path / "s")]
        np.testing.assert_array_equal(*same)
    architecture, weights, mean = gan
    other = draw_samples(weights["generator"], architecture, count=1, seed=1, truncation=0.7, mean_w=mean)
    assert np.abs(other.latents[0] - np.load(written / "latents" / "0000.npy")[0]).max() > 0.1
    tens = np.stack([np.load(path)[0] for path in sorted((tmp_path / "s" / "latents").iterdir())])
    assert len(np.unique(tens.round(4), axis=0)) == 10


def test_truncation_moves_latents_towards_the_mean(written, gan):
    architecture, weights, mean = gan
    far = draw_samples(weights["generator"], architecture, count=_COUNT, seed=0, truncation=1.0, mean_w=mean)
    near = np.concatenate([np.load(path) for path in sorted((written / "latents").iterdir())])
    np.testing.assert_allclose(near - np.asarray(mean), 0.7 * (far.latents - np.asarray(mean)), atol=1e-5)


def test_the_folder_says_what_it_was_drawn_with(written):
    record = json.loads((written / "samples.json").read_text())
    weights = pathlib.Path(asset("ictface/gan.safetensors")).read_bytes()
    assert record["sha256"] == hashlib.sha256(weights).hexdigest()
    assert (record["count"], record["seed"], record["truncation"]) == (_COUNT, 0, 0.7)
    with Image.open(written / "samples.png") as sheet:
        assert sheet.size[0] == 48 + _COUNT * 96 + 2 * 8


def test_an_ellipse_is_where_it_was_asked_for(written):
    mask = np.asarray(Image.open(written / "mask" / "0000.png"), float) / 255
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    inside = ((x - 0.5) / 0.4) ** 2 + ((y - 0.5) / 0.6) ** 2 < 1
    assert np.mean((mask > 0.5) != inside) < 0.01
    assert mask.mean() == pytest.approx(inside.mean(), abs=0.01)


def test_a_mask_of_ones_own_is_given_to_all(tmp_path, capsys):
    drawn = np.zeros((128, 128), np.uint8)
    drawn[32:96, 16:112] = 255
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    assert _sample(tmp_path / "s", "--config=ictface:scratch", "--mask", tmp_path / "drawn.png") == 0
    assert "mask_root=" + str(tmp_path / "s" / "mask") in capsys.readouterr().out
    for i in range(_COUNT):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "s" / "mask" / f"{i:04}.png")), drawn[::2, ::2])


def test_where_a_run_needs_masks_and_there_are_none_it_is_said(tmp_path, capsys):
    assert _sample(tmp_path / "s", "--config=ictface:scratch") == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 's' / 'mask'}/NAME.png" in printed and "--ellipse" in printed
    assert not (tmp_path / "s" / "mask").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (("--config=ictface:scratch", "--count", "0"), "--count 0"),
        (("--config=ictface:scratch", "--seed", "-1"), "--seed -1"),
        (("--config=ictface:scratch", "--truncation", "0"), "--truncation 0"),
        (("--config=ictface:scratch", "--truncation", "1.5"), "--truncation 1.5"),
        (("--config=ictface:scratch", "--truncation", "nan"), "--truncation nan"),
        (("--config=ictface:scratch", "--ellipse", "0.5", "0.5", "0", "1"), "--ellipse"),
        (("--config=ictface:scratch", "--ellipse", "3", "3", "0.1", "0.1"), "outside"),
        (("--config=ictface:scratch", "--mask", "nowhere.png"), "nowhere.png"),
        (("--config=nonsense",), "nonsense"),
        (("--config=car",), "gan2shape-jax convert"),
        (("--gan", "nowhere.safetensors"), "nowhere.safetensors"),
        ((), "--config=NAME or --gan FILE"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert program.main(["--out", str(tmp_path / "s"), *words]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_left_alone(written, capsys):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert _sample(written, "--config=ictface:scratch", "--seed", 5) == 1
    assert "holds other files" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    samples = Samples(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 4), np.float32))
    written = []

    def save(path, array):
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(UserError, match="disk is full"):
        write_samples(tmp_path / "s", samples, record={})
    assert len(written) == 2 and list(tmp_path.iterdir()) == []


def test_many_samples_have_names_in_order():
    few, many = (Samples(np.zeros((n, 1, 1, 3), np.uint8), np.zeros((n, 1))) for n in (10_000, 10_001))
    assert few.names[0] == "0000" and few.names[-1] == "9999"
    assert many.names[0] == "00000" and many.names[-1] == "10000" and many.names == sorted(many.names)


def test_help_lists_every_option_and_its_examples_parse(capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for name in ("--config", "--gan", "--count", "--seed", "--truncation", "--out", "--mask", "--ellipse"):
        assert name in printed, name
    examples = [line for line in program._EPILOG.splitlines() if "gan2shape-jax sample" in line]
    assert len(examples) == 3
    for line in examples:
        program._parser().parse_args(shlex.split(line)[2:])  # whose types refuse numbers out of their bounds
