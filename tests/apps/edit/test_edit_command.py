"""The command that edits: pictures as computed, files found, and what is wrong said."""

import csv
import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from helpers.edited_run import OVER_GAN, SIZE
from helpers.edited_run import write_run as _write_run
from helpers.tiny import tiny_config
from PIL import Image

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.edit import editor as editor_module
from gan2shape_jax.apps.edit import requests
from gan2shape_jax.apps.edit.editor import load_editor
from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.config.load import read_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.main import main
from gan2shape_jax.results import load_result, save_result, views
from gan2shape_jax.run.folder import RunFolder, SavedRun, find_run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return _write_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def editor(saved):
    return load_editor(saved)


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the run to be harmed; the result's folder in it."""
    shutil.copytree(saved.parents[1], tmp_path / "moved")
    return tmp_path / "moved" / "results" / "001"


# --- the command ---------------------------------------------------------------------------------------


def _edit(result, *words) -> int:
    return main(["edit", str(result), *map(str, words)])


def test_both_versions_stand_side_by_side(saved, tmp_path, capsys):
    out = tmp_path / "both.png"
    assert _edit(saved, "--yaw", -20, 20, "--size", SIZE, "--out", out) == 0
    assert np.asarray(Image.open(out)).shape == (2 * SIZE + 2, 3 * SIZE + 4, 3)
    assert f"64 pixels, shown at {SIZE};" in capsys.readouterr().out
    labelled = tmp_path / "labelled.jpg"
    assert _edit(saved, "--yaw", -20, 20, "--size", SIZE, "--labels", "--out", labelled) == 0
    assert Image.open(labelled).size[0] == 48 + 3 * SIZE + 2 * 8


def test_the_gans_pictures_are_written_as_they_are(saved, editor, tmp_path):
    out = tmp_path / "frames"
    words = ("--yaw", -30, 20, "--light", 0.5, 0.2, "--size", 64, "--base", "input")
    assert _edit(saved, "--version", "gan", *words, "--out", out) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"000_gan.png", "001_gan.png", "input_gan.png", "frames.csv"}
    turned = views.sweep_views(yaw_deg=[-30, 20]) + editor.result.view
    lights = np.array([[*editor.result.light[:2], 0.5, 0.2]] * 2, np.float32)
    pictures = requests.edit(editor, turned, lights).pictures
    for i in range(2):
        shown = np.asarray(Image.open(out / f"{i:03}_gan.png"), np.float32) / 127.5 - 1
        assert np.abs(shown - pictures[i]).max() <= 0.5 / 127.5 + 1e-4
    rows = list(csv.DictReader((out / "frames.csv").open()))
    expected = np.rad2deg(turned[:, 1])
    np.testing.assert_allclose([float(row["yaw_deg"]) for row in rows], expected, rtol=1e-4)
    assert all(0 < float(row["gan_l1"]) < 2 for row in rows)
    assert _edit(saved, "--version", "gan", *words, "--out", out) == 1  # nothing is overwritten


def test_the_3d_version_is_renders_and_needs_no_run(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "alone")
    for command, out in (("edit", "a.png"), ("render", "b.png")):
        version = ["--version", "3d"] if command == "edit" else []
        assert (
            main(
                [
                    command,
                    str(tmp_path / "alone"),
                    *version,
                    "--yaw",
                    "-30",
                    "10",
                    "--size",
                    str(SIZE),
                    "--out",
                    str(tmp_path / out),
                ]
            )
            == 0
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_only_relighting_keeps_the_inputs_view(saved, editor, tmp_path):
    words = ("--version", "gan", "--light", -0.9, 0, "--size", 64)
    assert _edit(saved, *words, "--out", tmp_path / "a.png") == 0
    assert _edit(saved, *words, "--base", "input", "--out", tmp_path / "b.png") == 0
    assert _edit(saved, *words, "--base", "canonical", "--out", tmp_path / "c.png") == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_animations_swing_back(saved, tmp_path):
    out = tmp_path / "turn.gif"
    assert _edit(saved, "--yaw", -20, 20, "--frames", 4, "--swing", "--size", SIZE, "--out", out) == 0
    with Image.open(out) as gif:
        assert gif.n_frames == 6 and gif.size == (3 * SIZE + 4, SIZE)


def test_views_beyond_the_training_are_noted(saved, tmp_path, capsys):
    assert _edit(saved, "--version", "gan", "--yaw", 55, "--light", -3, 0, "--out", tmp_path / "a.png") == 0
    told = capsys.readouterr().err
    assert "yaw of -48° to +48°" in told and "light from (-0.9, -0.3)" in told
    assert _edit(saved, "--version", "gan", "--yaw", 30, "--out", tmp_path / "a.png") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "nothing to edit"),
        (("--yaw", "70"), "xyz_rotation_range_deg is 60"),
        (("--base", "input", "--yaw", "-55"), "xyz_rotation_range_deg is 60"),
        (("--yaw", "nan"), "--yaw"),
        (("--yaw", "1", "--size", "0"), "--size 0"),
        (("--yaw", "1", "--out", "a.bmp"), ".png"),
        (("--yaw", "1", "--gan", "nowhere.safetensors"), "--gan nowhere.safetensors"),
        (("--yaw", "1", "--latent", "nowhere.npy"), "nowhere.npy"),
        (("--yaw", "1", "--run", "nowhere"), "config.json"),
    ],
)
def test_what_is_wrong_with_the_options_is_one_line(saved, capsys, words, message):
    assert _edit(saved, *words) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and told.count("\n") == 1


def _harm_config(copy, change) -> None:
    path = copy.parents[1] / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda copy: (copy / "networks.safetensors").unlink(), "trained encoder"),
        (lambda copy: (copy / "networks.safetensors").write_bytes(b"x" * 99), "networks.safetensors"),
        (lambda copy: (copy.parents[1] / "config.json").unlink(), "--run FOLDER"),
        (lambda copy: (copy.parents[1] / "config.json").write_text("{"), "config.json"),
        (lambda copy: _harm_config(copy, lambda c: c["gan"].update(checkpoint="/gone/gan.safetensors")), "--gan FILE"),
        (lambda copy: _harm_config(copy, lambda c: c["data"].update(latent_root="/gone")), "--latent FILE"),
        (lambda copy: _harm_config(copy, lambda c: c["camera"].update(fov_deg=20.0)), "its camera"),
        (lambda copy: _harm_config(copy, lambda c: c["networks"].update(encoder_width=8)), "does not fit"),
        (lambda copy: _harm_config(copy, lambda c: c["gan"].update(size="big")), "config.gan.size"),
    ],
)
def test_a_result_whose_files_are_gone_or_strange_is_refused(copy, capsys, harm, message):
    harm(copy)
    assert _edit(copy, "--yaw", 10) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and "Traceback" not in told
    assert not (copy / "edit.png").exists()
    assert _edit(copy, "--yaw", 10, "--version", "3d") == 0


def test_another_gan_and_another_latent_are_noticed(saved, tmp_path):
    architecture, params = stylegan2.load(asset("ictface/gan.safetensors"))
    rgb = params["generator"]["to_rgb"]["0"]
    rgb["bias"] = rgb["bias"] + 0.3
    stylegan2.save(tmp_path / "other.safetensors", architecture, params)
    with pytest.raises(UserError, match="draws another picture"):
        load_editor(saved, gan=tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="draws another picture"):
        load_editor(saved, latent=asset("ictface/latents/005.pt"))


def test_a_result_taken_out_of_its_run_is_edited_with_the_runs_folder_named(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="--run FOLDER"):
        load_editor(tmp_path / "elsewhere")
    assert load_editor(tmp_path / "elsewhere", run=saved.parents[1]).size == OVER_GAN


@pytest.mark.parametrize("mode", ["joint", "predict"])
def test_networks_that_many_images_share_are_found(copy, editor, mode):
    """A joint run leaves one file in its folder; prediction names the file of another run."""
    shared = copy.parents[1] / "networks.safetensors"
    (copy / "networks.safetensors").rename(shared)
    if mode == "predict":
        shared = shared.rename(copy.parents[2] / "trained.safetensors")
        _harm_config(copy, lambda c: (c.update(mode="predict"), c["networks"].update(pretrained=str(shared))))
    loaded = load_editor(copy)
    for ours, theirs in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(editor.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- the run's configuration ---------------------------------------------------------------------------


def test_a_saved_configuration_comes_back(tmp_path):
    config = tiny_config(tmp_path, data__crop=48)
    RunFolder.open(config)
    assert flatten(read_config(tmp_path / "run" / "config.json")) == flatten(config)


def test_fields_that_a_configuration_lacks_have_their_defaults(saved):
    path = saved.parents[1] / "config.json"
    content = json.loads(path.read_text())
    del content["prior"], content["gan"]["truncation"]
    other = saved.parents[1] / "older.json"
    other.write_text(json.dumps(content))
    before, after = flatten(load_config("base")), flatten(read_config(other))
    assert after["prior.near"] == before["prior.near"] and after["gan.truncation"] == before["gan.truncation"]
    assert after["gan.size"] == 64 and before.keys() == after.keys()


def test_files_are_found_where_the_run_was_started_and_in_this_installation(tmp_path, monkeypatch):
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "gan.safetensors").write_text("")
    config = load_config("base").unlock()
    config.workdir = "results/mine"
    run = SavedRun(tmp_path / "results" / "mine", config)
    monkeypatch.chdir(tmp_path / "results")
    assert run.locate("gan.safetensors") == tmp_path / "gan.safetensors"
    (tmp_path / "results" / "here.npy").write_text("")
    assert run.locate("here.npy") == pathlib.Path("here.npy")
    bundled = "/other/machine/gan2shape_jax/assets/ictface/gan.safetensors"
    assert run.locate(bundled) == pathlib.Path(asset("ictface/gan.safetensors"))
    assert run.locate("/gone/gan.safetensors") == pathlib.Path("/gone/gan.safetensors")
    assert run.locate("") == pathlib.Path("")


def test_the_input_at_the_left_is_the_input(saved, tmp_path):
    assert _edit(saved, "--yaw", 10, "--size", SIZE, "--out", tmp_path / "frames") == 0
    shown = np.asarray(Image.open(tmp_path / "frames" / "input.png"), np.float32) / 127.5 - 1
    result = load_result(saved)
    assert np.abs(shown - result.image).max() <= 0.5 / 127.5 + 1e-6
    by_gan = np.asarray(Image.open(tmp_path / "frames" / "input_gan.png"), np.float32) / 127.5 - 1
    assert np.abs(by_gan - result.gan_image).max() <= 0.5 / 127.5 + 1e-4


# --- names with dots and brackets ------------------------------------------------------------------------


def test_the_latent_and_the_image_are_those_of_the_whole_name(copy, tmp_path):
    """`face[x].v2` is no `face[x]` and no pattern: other images' files lie where a careless look would find them."""
    run, name, latent = copy.parents[1], "face[x].v2", np.full((1, 128), 0.5, np.float32)
    np.save(tmp_path / "face[x].npy", latent + 1)
    np.save(tmp_path / f"{name}.npy", latent)
    Image.new("RGB", (80, 80)).save(tmp_path / "facex.v2.bmp")
    Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
    Image.new("RGB", (90, 90)).save(tmp_path / f"{name}.big.png")
    given = {"latent_root": str(tmp_path), "image_root": str(tmp_path), "crop": 48}
    _harm_config(copy, lambda config: config["data"].update(given))
    result = dataclasses.replace(load_result(copy), name=name)
    save_result(result, run / "results" / name)
    run_again = find_run(run / "results" / name, name)
    assert run_again.root == run
    np.testing.assert_array_equal(editor_module._latent(run_again, name, None, 128), latent)
    assert editor_module._original_size(run_again, result, None) == 64
