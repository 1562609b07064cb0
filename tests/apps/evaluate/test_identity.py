"""Turning a result by all four means, and the command that compares them."""

import csv
import io
import json

import jax
import numpy as np
import pytest
from helpers.onnx_network import write_network
from helpers.plain_result import plain_result
from helpers.tiny import tiny_config

from gan2shape_jax.apps.evaluate import identity
from gan2shape_jax.apps.evaluate.command import main
from gan2shape_jax.apps.evaluate.runs import find_runs, read_config
from gan2shape_jax.config import to_json
from gan2shape_jax.method import models
from gan2shape_jax.results import load_result, save_result
from gan2shape_jax.run import prepare
from gan2shape_jax.training import network_files

YAWS = np.linspace(-20, 20, 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder as one leaves it: random networks, a bump for a face, the bundled GAN and latent."""
    folder = tmp_path_factory.mktemp("identity")
    config = tiny_config(folder)
    architecture, frozen = prepare.load_frozen(config)
    prepared = prepare.load_image(config, "001.png", architecture, frozen, folder / "latents")
    params = models.init_params(jax.random.key(1), prepared.settings)
    y, x = np.mgrid[:64, :64] / 63 * 2 - 1
    image = np.asarray(prepared.problem.image[0])
    known = {"depth": 1.02 - 0.1 * np.clip(1 - x**2 - y**2, 0, None), "view": np.array([0.05, 0.2, 0.0, 0.0, 0.0, 0.0])}
    known |= dict.fromkeys(("image", "albedo", "canonical", "reconstruction"), image)
    result = plain_result("001", 64, **known, light=np.array([0.5, 0.5, 0, 0]), category="ictface")
    root = folder / "run"
    save_result(result, root / "results" / "001")
    (root / "results" / "001" / "networks.safetensors").write_bytes(network_files.networks_bytes(params))
    (root / "config.json").write_text(to_json(config))
    return root


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(identity, "_BATCH", 4)
    monkeypatch.setattr(identity, "_COMPONENTS", 2)
    monkeypatch.setattr(identity, "_SAMPLES", 256)


def _brightness_as_yaw(subject, gan, pictures):
    """Stands for a trained view network: a random one sees hardly any difference between pictures."""
    return 200 * (pictures.mean(axis=(1, 2, 3)) - float(subject.prepared.problem.gan_image.mean()))


@pytest.fixture(scope="module")
def turned(run):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_BATCH", 4), ("_COMPONENTS", 2), ("_SAMPLES", 256), ("_seen_yaws", _brightness_as_yaw)):
            patch.setattr(identity, name, value)
        (run_folder,) = find_runs([run])
        config = read_config(run_folder)
        gan = identity.load_gan(config)
        result = load_result(run / "results" / "001")
        subject = identity.load_subject(config, gan, result, run / "results" / "001", run / "latents")
        return {each.method: each for each in identity.turn(subject, gan, YAWS)}


def test_every_method_gives_a_picture_for_every_yaw(turned):
    assert tuple(turned) == identity.METHODS
    for each in turned.values():
        assert each.pictures.shape == (4, 64, 64, 3) and np.abs(each.pictures).max() <= 1
        assert each.seen_deg.shape == (4,) and np.isfinite(each.seen_deg).all()
    sheet = turned["3D"].pictures
    assert (np.diff([np.abs(picture - sheet[0]).mean() for picture in sheet]) > 0).all()


def test_rivals_stay_on_the_gans_pictures_and_turn_monotonically_where_they_reach(turned):
    for name in ("GANSpace", "SeFa"):
        each = turned[name]
        assert each.how.startswith("direction ")
        assert each.reached.sum() >= 2
        seen = each.seen_deg[each.reached]
        assert (np.diff(seen) > 0).all()
        np.testing.assert_allclose(seen, YAWS[each.reached], atol=1.0)  # of what is measured at 41 steps
        np.testing.assert_array_less(np.abs(each.seen_deg[~each.reached]), 20)


def test_command_reports_similarity_of_every_view(run, tmp_path, capsys):
    network = write_network(tmp_path / "face.onnx", ("n", 3, 16, 16))
    out = tmp_path / "out"
    options = ["--embedding", str(network), "--views", "4", "--out", str(out)]
    assert main(["identity", str(run), *options]) == 0
    shown = capsys.readouterr().out
    assert "embeddings (face.onnx)" in shown and "NOT identity" not in shown
    rows = list(csv.DictReader(io.StringIO((out / "identity.csv").read_text())))
    assert [row["method"] for row in rows] == [m for m in identity.METHODS for _ in range(4)]
    image = load_result(run / "results" / "001").image
    turned = [float(row["similarity"]) for row in rows]
    assert all(-1 <= value <= 1 + 1e-9 for value in turned)
    # The network's embedding is the mean colour: unlike pictures of one colour cast are alike to it.
    assert turned[1] > 0.9 and image.mean() < 0
    assert (out / "run_001.png").is_file()
    assert json.loads((out / "manifest.json").read_text())["embedding"] == str(network)


def test_stand_in_is_labelled_as_no_identity(run, monkeypatch, capsys):
    def still(subject, gan, yaws_deg):
        pictures = np.repeat(subject.result.image[None], len(yaws_deg), axis=0)
        return [identity.Turned("3D", pictures, 0 * yaws_deg, "", np.ones(len(yaws_deg), bool))]

    monkeypatch.setattr(identity, "turn", still)
    assert main(["identity", str(run), "--stand-in", "--views", "2"]) == 0
    shown = capsys.readouterr().out
    assert "NOT identity" in shown and "| 3D | 1 | 1.000 | 1.000 |" in shown


def test_unusable_options_are_refused_in_words(run, capsys):
    for options, message in (
        ([], "--embedding FACE.onnx"),
        (["--embedding", "absent.onnx"], "absent.onnx does not exist"),
        (["--stand-in", "--views", "1"], "--views 1: must be between 2 and 1000"),
        (["--embedding", "f.onnx", "--crop", "0"], "--crop 0: must be between 0.01 and 1"),
    ):
        assert main(["identity", str(run), *options]) == 1
        assert message in capsys.readouterr().err


def test_an_image_without_networks_is_left_out_and_said(run, tmp_path, capsys):
    root = tmp_path / "bare"
    save_result(load_result(run / "results" / "001"), root / "results" / "001")
    assert main(["identity", str(root), "--stand-in"]) == 1
    assert "has no config.json" in capsys.readouterr().err
    (root / "config.json").write_text((run / "config.json").read_text())
    assert main(["identity", str(root), "--stand-in"]) == 1
    shown = capsys.readouterr().out
    assert "nothing was turned" in shown and "config.outputs.networks is 'small' or 'full'" in shown
