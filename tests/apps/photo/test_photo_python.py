"""`gan2shape_jax.photo`: what the command makes of a photo, in memory."""

import json
import os

import numpy as np
import pytest
from helpers import several
from helpers.placed import placed
from PIL import Image

import gan2shape_jax as g2s
from gan2shape_jax.config import to_json
from gan2shape_jax.main import main
from gan2shape_jax.method import joint_refinement
from gan2shape_jax.results import load
from gan2shape_jax.run.experiment import run_experiment


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"box": (1, 2)}, "^box has 2 numbers"),
        ({"box": (1, 2, -3)}, "side of a crop"),
        (
            {"model": "caat"},
            r"^there is no model 'caat' \(did you mean cat\?\): .* one of car, cat, .*people, people:head$",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_loaded(wishes, message):
    with pytest.raises(g2s.UserError, match=message):
        g2s.photo("a.png", **wishes)


@pytest.mark.parametrize(
    "wish", [{"box": (1, 2, 3)}, {"which": 1}, {"mask": "m.png"}, {"refine": True}, {"anyway": True}]
)
def test_what_is_for_a_single_photo_is_refused_for_several(wish):
    (name,) = wish
    with pytest.raises(g2s.UserError, match=f"^{name} is for a single photo, not for several or a video$"):
        g2s.photo(["a.png", "b.png"], **wish)
    with pytest.raises(g2s.UserError, match="^path is an empty list"):
        g2s.photo([])


@pytest.mark.heavy
def test_several_photos_give_what_the_command_gives(tmp_path, monkeypatch, face_photo):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(joint_refinement, "reconstruct", several.held)
    for name, how in (("a.png", {}), ("b.png", {"x": 120})):
        Image.fromarray(face_photo(**how)).save(name)
    assert main(["photo", "a.png", "b.png", "--together", "--out", "out"]) == 0
    command = load(tmp_path / "out/results/a-together")
    with pytest.warns(UserWarning, match="none.png does not exist"):
        result = g2s.photo(["a.png", "b.png", "none.png"])
    assert sorted(one.name for one in result.photographs) == ["a.png", "b.png"] and result.texture is not None
    parts = ("depth", "albedo", "view", "light", "mask", "image", "texture")
    assert [part for part in parts if not np.array_equal(getattr(result, part), getattr(command, part))] == []
    assert result.metrics["photographs"]["given"] == 3 and "frame" in result.metrics


@pytest.mark.heavy
def test_a_photo_gives_what_the_command_gives_and_leaves_nothing(tmp_path, monkeypatch, photo, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["photo", "a.png", "--out", "out"]) == 0
    command = load(tmp_path / "out/results/a")
    capsys.readouterr()
    result = g2s.photo("a.png")
    assert capsys.readouterr() == ("", "") and sorted(os.listdir()) == ["a.png", "out"]
    parts = ("depth", "albedo", "view", "light", "mask", "image")
    assert [part for part in parts if not np.array_equal(getattr(result, part), getattr(command, part))] == []
    assert result.name == "a" and result.metrics["trust"] == command.metrics["trust"]
    assert result.metrics["frame"] == json.loads((tmp_path / "out/photos/a.json").read_text())["box"]
    assert result.mesh().visual.material.baseColorTexture.size[0] > 64
    result.save("saved")
    assert (tmp_path / "saved/mesh.glb").is_file()
    np.testing.assert_array_equal(g2s.load("saved").texture, result.texture)
    for wishes, message in (({"which": 9}, "no number 9"), ({"mask": "none.png"}, "none.png")):
        with pytest.raises(g2s.UserError, match=message):
            g2s.photo("a.png", **wishes)
    with pytest.raises(g2s.UserError, match="none.jpg"):
        g2s.photo("none.jpg")


@pytest.mark.heavy
def test_what_is_odd_about_a_photo_is_a_warning_that_names_it(photo):
    with pytest.warns(UserWarning, match=r"^a\.png: it shows a face: use --model people$"):
        g2s.photo(photo, model="cat", box=(190, 100, 96), anyway=True)


@pytest.mark.heavy
def test_a_photo_is_refined_in_a_box_of_ones_own(photo, short):
    result = g2s.photo(photo, model=str(short), box=(190, 100, 96), refine=True)
    assert "refinement_share" in result.metrics
    assert result.metrics["frame"] == {"x": 190, "y": 100, "side": 96, "roll_deg": 0}


_ARRAYS = ("depth", "signed_albedo", "view", "light", "mask", "signed_image", "input_mask", "canonical")
_ARRAYS += ("reconstruction", "input_depth", "gan_image")


@pytest.mark.heavy
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize(
    ("model", "picture"),
    [
        ("people", "people/image/000.png"),
        ("people:head", "people/head/image/000.png"),
        ("cat", "cat/image/001.png"),
        ("car", "car/image/007.png"),
        ("ictface", "ictface/image/006.png"),
    ],
)
def test_a_photo_has_the_bits_of_a_run_over_its_crop(tmp_path, monkeypatch, model, picture, refine):
    """With every bundled model, feed-forward and refined: there is no second way to the same 3D."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(placed(picture)).save("a.png")
    config = g2s.load_config(model).unlock()
    config.refinement.update(stages=((1, 2, 2),), collect_iters=2, held_out=1)
    config.inversion.steps = 2
    (tmp_path / "mine.json").write_text(to_json(config))
    (tmp_path / "mine.py").write_text(
        "import pathlib\n\nfrom gan2shape_jax.config.load import read_config\n\n\ndef get_config():\n"
        f"    return read_config(pathlib.Path({str(tmp_path / 'mine.json')!r}))\n"
    )
    command = ["photo", "a.png", "--model", "mine.py", "--box", "190", "100", "96", "--no-texture", "--out", "out"]
    assert main(command + ["--refine"] * refine) == 0
    config.update(workdir="run", recipe="refine" if refine else "predict")
    config.data.update(image_list="out/photos/list.txt", image_root="out/photos/image", mask_root="out/photos/mask")
    config.data.update(latent_root="", depth_root="", mask_source="file")
    config.outputs.preset, config.logging.tensorboard = "mesh", False
    assert run_experiment(config.lock()) == 0
    photo, run = load("out/results/a"), load("run/results/a")
    assert [name for name in _ARRAYS if not np.array_equal(getattr(photo, name), getattr(run, name))] == []
    assert photo.metrics["reconstruction_l1"] == run.metrics["reconstruction_l1"]
    assert ("refinement_share" in photo.metrics) == refine
