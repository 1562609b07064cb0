"""`gan2shape_jax.photo`: what the command makes of a photo, in memory."""

import json
import os

import numpy as np
import pytest

import gan2shape_jax as g2s
from gan2shape_jax.main import main
from gan2shape_jax.results import load


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"box": (1, 2)}, "^box has 2 numbers"),
        ({"box": (1, 2, -3)}, "side of a crop"),
        (
            {"model": "caat"},
            r"^there is no model 'caat' \(did you mean cat\?\): .* one of car, cat, .*people$",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_loaded(wishes, message):
    with pytest.raises(g2s.UserError, match=message):
        g2s.photo("a.png", **wishes)


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
def test_a_photo_is_refined_in_a_box_of_ones_own(photo, short):
    result = g2s.photo(photo, model=str(short), box=(190, 100, 96), refine=True)
    assert "refinement_share" in result.metrics
    assert result.metrics["frame"] == {"x": 190, "y": 100, "side": 96, "roll_deg": 0}
