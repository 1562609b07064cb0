"""Trained networks used feed-forward, and fine-tuning that starts from them."""

import csv
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from helpers.tiny import asset, tiny_config, tiny_image
from PIL import Image

from gan2shape_jax.config import schema
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io import required_files
from gan2shape_jax.main import main
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.results import load
from gan2shape_jax.run import experiment
from gan2shape_jax.run import images as run_images
from gan2shape_jax.training import network_files

_NOTHING_ELSE = dict.fromkeys(("data__latent_root", "data__mask_root", "data__depth_root"), "")
_NOTHING_ELSE |= {"gan__checkpoint": "nowhere.safetensors", "outputs__gan_images": True}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Random networks as a file, and their parameters."""
    folder = tmp_path_factory.mktemp("trained")
    prepared, frozen = tiny_image(folder)
    params = models.init_params(jax.random.key(8), prepared.settings)
    path = folder / "networks.safetensors"
    path.write_bytes(network_files.networks_bytes(params))
    return path, params, prepared, frozen


def _predicting(folder, trained, **fields):
    return tiny_config(folder, recipe="predict", networks__pretrained=str(trained[0]), **fields)


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """Two images of different sizes, explained with nothing but images, networks and statistics."""
    folder = tmp_path_factory.mktemp("predicted")
    with Image.open(asset("ictface/image") + "/002.png") as picture:
        picture.resize((150, 150)).save(folder / "large.png")
    with Image.open(asset("ictface/image") + "/001.png") as picture:
        picture.save(folder / "001.png")
    config = _predicting(folder, trained, names=("001.png", "large.png"), data__image_root=str(folder), **_NOTHING_ELSE)
    reconstruction.reconstruct.clear_cache()  # of other tests
    code = experiment.run_experiment(config)
    return code, pathlib.Path(config.workdir), reconstruction.reconstruct._cache_size()


@pytest.mark.parametrize("name", ["001", "large"])
def test_no_gan_no_latent_no_mask_is_needed(predicted, name):
    code, root, programs = predicted
    assert code == 0 and programs == 1  # for images of all sizes
    folder = root / "results" / name
    result = load(folder)
    assert result.gan_image is None and result.true_depth is None and result.metrics["inversion_l1"] is None
    assert result.metrics["reconstruction_l1"] > 0 and "side" not in result.metrics
    np.testing.assert_array_equal(result.input_mask, 1)
    files = ("mesh.glb", "overview.png", "turntable.png", "relight.png")
    assert [file for file in files if not (folder / file).stat().st_size] == []
    assert not [*folder.glob("*_gan*"), *folder.glob("networks.*")]
    assert not (root / "checkpoints").exists()


@pytest.fixture(scope="module")
def by_networks(trained):
    _, params, prepared, frozen = trained
    return reconstruction.predict(params, prepared.example, frozen, prepared.settings)


_OF_RESULTS = {"albedo": "signed_albedo", "warped_depth": "input_depth"}  # what is called otherwise there


@pytest.mark.parametrize("name", ["depth", "albedo", "view", "light", "warped_depth", "reconstruction"])
def test_prediction_is_what_the_networks_say(predicted, by_networks, name):
    result = load(predicted[1] / "results" / "001")
    np.testing.assert_allclose(getattr(result, _OF_RESULTS.get(name, name)), getattr(by_networks, name), atol=2e-5)


def test_many_images_go_through_the_networks_together(trained, predicted, tmp_path, monkeypatch):
    monkeypatch.setattr(run_images, "_MANY", 3)
    monkeypatch.setattr(run_images, "_AT_ONCE", 2)
    for name in ("001", "002", "006"):
        shutil.copy(f"{asset('ictface/image')}/{name}.png", tmp_path / f"{name}.png")
    names, fields = ("006.png", "001.png", "002.png"), _NOTHING_ELSE | {"outputs__preset": "mesh"}
    config = _predicting(tmp_path, trained, names=names, data__image_root=str(tmp_path), **fields)
    alone = reconstruction.reconstruct._cache_size()
    assert experiment.run_experiment(config) == 0
    assert reconstruction.reconstruct._cache_size() == alone
    results = pathlib.Path(config.workdir) / "results"
    first, together = (load(folder / "001") for folder in (predicted[1] / "results", results))
    for name in ("depth", "albedo", "view", "light", "input_depth"):
        np.testing.assert_allclose(getattr(together, name), getattr(first, name), atol=1e-5, err_msg=name)
    # Which texels are looked up changes with the last bits of depth, so single pixels may differ by more.
    apart = np.abs(together.reconstruction - first.reconstruction)
    assert apart.mean() < 2e-6 and apart.max() < 1e-4
    # Begun again with one of two finished, and with one that cannot be read.
    before = {name: np.load(results / name / "depth.npy") for name in ("001", "006")}
    shutil.rmtree(results / "001")
    shutil.rmtree(results / "002")
    (tmp_path / "002.png").write_bytes(b"no picture")
    assert experiment.run_experiment(config) == 1
    for name, depth in before.items():
        np.testing.assert_array_equal(np.load(results / name / "depth.npy"), depth)
    assert not (results / "002").exists()


def test_with_masks_truth_and_gan_there_is_all_of_it(trained, tmp_path):
    config = _predicting(tmp_path, trained, outputs__gan_images=True)
    assert experiment.run_experiment(config) == 0
    root = pathlib.Path(config.workdir)
    result = load(root / "results" / "001")
    assert result.metrics["side"] > 0 and 0 < result.input_mask.mean() < 1
    off = np.abs(result.gan_image - result.signed_image).mean()
    assert result.metrics["inversion_l1"] == pytest.approx(float(off), abs=1e-6) and 0.01 < off < 0.2
    for file in ("turntable_gan.png", "gan_image.png"):
        assert (root / "results" / "001" / file).is_file()


@pytest.mark.heavy  # a run and a prediction with all their programs
def test_fine_tuning_starts_where_prediction_ends(trained, tmp_path):
    config = tiny_config(tmp_path, networks__pretrained=str(trained[0]), schedule__stages=((2, 0, 0),))
    assert experiment.run_experiment(config) == 0
    root = pathlib.Path(config.workdir) / "results" / "001"
    with (root / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["iteration"]) for row in rows] == [("start", "0"), ("step1", "2")]
    assert not rows[0]["loss"] and rows[0]["side"] == rows[1]["side"]  # step 1 moves no depth
    metrics = json.loads((root / "metrics.json").read_text())
    assert "prior" not in metrics  # no prior was fitted: the errors to compare with are those before training
    assert metrics["start"]["side"] == float(rows[0]["side"])
    (tmp_path / "predicted").mkdir()
    other = _predicting(tmp_path / "predicted", trained, outputs__gan_images=False)
    assert experiment.run_experiment(other) == 0
    feed_forward = load(pathlib.Path(other.workdir) / "results" / "001").metrics
    assert {key: feed_forward[key] for key in metrics["start"]} == pytest.approx(metrics["start"], rel=1e-5)


def test_networks_that_are_absent_incomplete_or_of_other_widths_are_refused(trained, tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match=r"networks.pretrained is empty: name the trained networks"):
        schema.validate(tiny_config(tmp_path, recipe="predict"))
    config = _predicting(tmp_path, trained, **_NOTHING_ELSE)
    required_files.require_files(config)  # nothing but the networks is asked for
    absent = f"--config.networks.pretrained={tmp_path / 'none.safetensors'}"
    assert main(["--config=ictface:predict", f"--config.data.image_list={config.data.image_list}", absent]) == 1
    said = capsys.readouterr().err
    assert "none.safetensors" in said and "networks.safetensors of a joint run" in said and "Traceback" not in said
    with pytest.raises(UserError, match="does not fit this configuration's networks"):
        experiment.run_experiment(_predicting(tmp_path, trained, networks__zdim=24, **_NOTHING_ELSE))
    path = tmp_path / "published.pth"
    path.write_bytes(b"")
    monkeypatch.setattr(network_files, "read_checkpoint", lambda _: {"netD": {}, "netA": {}, "netL": {}})
    monkeypatch.setattr(network_files, "params_from_torch", lambda module, state: {})
    with pytest.raises(UserError, match=r"published.pth lacks netV"):
        experiment.run_experiment(
            tiny_config(tmp_path, recipe="predict", networks__pretrained=str(path), **_NOTHING_ELSE)
        )
