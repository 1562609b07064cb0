"""ONNX networks as embeddings; turning a result by all means, and the command that compares them."""

import csv
import io
import pathlib
import sys

import numpy as np
import pytest
from helpers.edited_run import SIZE, write_run
from helpers.onnx_network import write_network

from gan2shape_jax.apps import embedding
from gan2shape_jax.apps import evaluate_identity as identity
from gan2shape_jax.apps.embedding import Preparation, load_embedding, prepare
from gan2shape_jax.apps.evaluate_identity import calibrate, main
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.files import MIB
from gan2shape_jax.results import load, save_result

YAWS = np.linspace(-20, 20, 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = asset("ictface/model.safetensors")  # says how the GAN turns; the networks are the result's own
    return write_run(
        tmp_path_factory.mktemp("identity"), recipe="refine", refinement__samples="turned", networks__pretrained=model
    ).parents[1]


@pytest.fixture(autouse=True, scope="module")
def _small():
    """Few samples; pictures' brightness for their yaw: untrained networks see hardly any difference between them."""
    seen_yaws = identity._predicted_yaws

    def brightness(subject, pictures):
        assert np.isfinite(seen_yaws(subject, pictures)).all()
        return 200 * (pictures.mean(axis=(1, 2, 3)) - float(subject.prepared.example.gan_image.mean()))

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_BATCH", 4), ("_COMPONENTS", 2), ("_SAMPLES", 256), ("_predicted_yaws", brightness)):
            patch.setattr(identity, name, value)
        yield


@pytest.fixture(scope="module")
def reported(run, tmp_path_factory):
    """The command's folder, and what each method gave."""
    out = tmp_path_factory.mktemp("reported")
    network = write_network(tmp_path_factory.mktemp("network") / "face.onnx", ("n", 3, 16, 16))
    turned, turn = [], identity.turn

    def kept(*arguments):
        turned.extend(turn(*arguments))
        return turned

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "turn", kept)
        options = ["--embedding", str(network), "--views", "4", "--out", str(out)]
        assert main([str(run), *options]) == 0
    return out, {each.method: each for each in turned}


@pytest.fixture
def turned(reported):
    return reported[1]


def test_every_method_gives_a_picture_for_every_yaw(turned):
    assert tuple(turned) == identity.METHODS
    for each in turned.values():
        assert each.pictures.shape == (4, SIZE, SIZE, 3) and np.abs(each.pictures).max() <= 1
        assert each.seen_deg.shape == (4,) and np.isfinite(each.seen_deg).all()
    contact_sheet = turned["3D"].pictures
    assert (np.diff([np.abs(picture - contact_sheet[0]).mean() for picture in contact_sheet]) > 0).all()


@pytest.mark.parametrize("name", ["GANSpace", "SeFa"])
def test_rivals_stay_on_the_gans_pictures_and_turn_monotonically_where_they_reach(turned, name):
    assert turned["mirror"].how == "direction 1, styles 0 to 9"  # which turns heads, and brightens none
    each = turned[name]
    assert each.how.startswith("direction ")
    assert each.reached.sum() >= 2
    observed = each.seen_deg[each.reached]
    assert (np.diff(observed) > 0).all()
    np.testing.assert_allclose(observed, YAWS[each.reached], atol=1.0)  # of what is measured at 41 steps
    np.testing.assert_array_less(np.abs(each.seen_deg[~each.reached]), 20)


def test_command_reports_similarity_of_every_view(run, reported, turned):
    out, _ = reported
    shown = (out / "identity.md").read_text()
    assert "embeddings (face.onnx)" in shown
    rows = list(csv.DictReader(io.StringIO((out / "identity.csv").read_text())))
    assert [row["method"] for row in rows] == [m for m in identity.METHODS for _ in range(4)]
    for row, observed in zip(rows, np.concatenate([each.seen_deg for each in turned.values()]), strict=True):
        assert float(row["seen_yaw_deg"]) == observed
    image = load(run / "results" / "001").signed_image
    similarity = [float(row["similarity"]) for row in rows]
    assert all(-1 <= value <= 1 + 1e-9 for value in similarity)
    # The network's embedding is the mean colour: unlike pictures of one colour cast are alike to it.
    assert similarity[1] > 0.9 and image.mean() < 0
    assert (out / "run" / "001.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--embedding FACE.onnx"),
        (["--embedding", "absent.onnx"], "absent.onnx does not exist"),
        (["--embedding", "f.onnx", "--views", "1"], "--views 1: must be between 2 and 1000"),
    ],
)
def test_unusable_options_are_refused_in_words(run, capsys, options, message):
    assert main([str(run), *options]) == 1
    assert message in capsys.readouterr().err


def test_an_image_without_networks_is_left_out_and_said(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(identity, "load_embedding", lambda *arguments: lambda pictures: pictures.mean(axis=(1, 2)))
    root, network = tmp_path / "bare", str(write_network(tmp_path / "face.onnx", ("n", 3, 16, 16)))
    save_result(load(run / "results" / "001"), root / "results" / "001")
    assert main([str(root), "--embedding", network]) == 1
    assert "has no config.json" in capsys.readouterr().out
    (root / "config.json").write_text((run / "config.json").read_text())
    assert main([str(root), "--embedding", network]) == 1
    shown = capsys.readouterr().out
    assert "no image was turned" in shown and "unless config.outputs.networks is 'none'" in shown


# --- calibration, on yaws known in closed form ------------------------------------------------------------------------

_TARGETS = np.linspace(-20, 20, 20)


@pytest.mark.parametrize("way", [1, -1])
def test_calibration_inverts_the_measured_yaw_whichever_way_it_goes(way):
    steps = np.linspace(-10, 10, 401)
    calibrated, reached = calibrate(steps, 40 * np.tanh(way * 0.2 * steps) + 3, _TARGETS)
    assert reached.all() and (way * np.diff(calibrated) > 0).all()
    np.testing.assert_allclose(40 * np.tanh(way * 0.2 * calibrated) + 3, _TARGETS, atol=0.02)


def test_only_the_stretch_around_the_start_is_used_and_what_does_not_turn_stays():
    steps = np.linspace(-10, 10, 41)
    yaws = 15 * np.sin(steps / 2)  # turns back at +-pi
    calibrated, reached = calibrate(steps, yaws, _TARGETS)
    assert np.abs(calibrated).max() <= 3.5 and (np.diff(calibrated) >= 0).all()
    np.testing.assert_array_equal(reached, np.abs(_TARGETS) <= np.abs(yaws[np.abs(steps) <= 3]).max())
    calibrated, reached = calibrate(np.linspace(-1, 1, 5), np.full(5, 7.0), _TARGETS)
    assert not calibrated.any() and not reached.any()


@pytest.fixture
def pictures():
    return np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)


def test_pictures_are_given_as_the_network_takes_them(tmp_path, pictures):
    """Other batches, layouts and colours than usual; the usual ones are test_train_gan's."""
    other = Preparation(size=8, mean=0.0, std=255.0, bgr=True)
    embed = load_embedding(write_network(tmp_path / "f.onnx", (2, "h", "w", 3)), other)
    expected = pictures.mean(axis=(1, 2))[:, ::-1] / 2 + 0.5
    np.testing.assert_allclose(embed(pictures), expected, atol=0.005)  # they pass through 8 bits


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        (["n", 3, 8, 8], 0, (0, 1, 8)),
        ([1, 8, 8, 3], 0, (1, 3, 8)),
        ([0, 3, "h", None], 9, (0, 1, 9)),
        (["n", "c", 8, "w"], 0, (0, 1, 8)),
    ],
)
def test_batch_layout_and_size_are_those_of_the_network_or_the_options(shape, size, expected):
    assert embedding._layout(shape, size, pathlib.Path("f.onnx")) == expected


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        (["n", 1, 8, 8], 0, "square colour pictures"),
        (["n", 8, 8, 4], 0, "square colour pictures"),
        (["n", 3, 8, 6], 0, "square colour pictures"),
        (["n", 3, 8, 8], 16, "here of 16"),
        (["n", 3, "h", "w"], 0, "--size"),
        (["n", 3, 2000, 2000], 0, "at most 1024"),
    ],
)
def test_what_a_network_leaves_open_is_asked_for(shape, size, message):
    with pytest.raises(UserError, match=message):
        embedding._layout(shape, size, pathlib.Path("f.onnx"))


def test_preparation_crops_the_centre_and_averages_it():
    picture = -np.ones((1, 8, 8, 3), np.float32)
    picture[:, 2:6, 2:6] = 1
    kept = prepare(picture, Preparation(size=4, crop=0.5))
    np.testing.assert_allclose(kept, 1, atol=1e-6)
    whole = prepare(picture, Preparation(size=2))
    assert whole.shape == (1, 2, 2, 3) and np.ptp(whole) < 0.02


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.full((5, 3), np.nan), "not finite"),
        (np.zeros((5, 3)), "zero"),
        (np.ones((5, 1)), "a vector for each"),
        (np.ones((4, 3)), "a vector for each"),
    ],
)
def test_what_is_no_vector_is_refused(output, message):
    with pytest.raises(UserError, match=message):
        embedding._vectors(output, 5, pathlib.Path("f.onnx"))


def test_files_that_are_absent_cut_short_or_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="absent.onnx does not exist"):
        load_embedding(tmp_path / "absent.onnx")
    path = write_network(tmp_path / "f.onnx", ("n", 3, 8, 8), inputs=2)
    with pytest.raises(UserError, match="one batch of pictures"):
        load_embedding(path)
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(UserError, match="f.onnx cannot be read"):
        load_embedding(path)


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "f.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"'\.\[identity\]'"):
        load_embedding(tmp_path / "f.onnx")


def test_a_network_is_opened_within_memory_and_time(tmp_path, monkeypatch):
    def limited(*arguments, memory, seconds, source):
        assert memory < 1100 * MIB and seconds == 300
        raise UserError(f"{source} takes more")

    monkeypatch.setattr(embedding, "run_limited", limited)
    with pytest.raises(UserError, match="f.onnx takes more"):
        load_embedding(write_network(tmp_path / "f.onnx", (2, 3, 8, 8)))
