"""`gan2shape-jax photo --together`: one result from several photographs, and what is refused."""

import json
import os

import numpy as np
import pytest
from helpers import several
from PIL import Image

from gan2shape_jax.apps.photo import command
from gan2shape_jax.apps.photo.folder import digest_of, together_name
from gan2shape_jax.main import main
from gan2shape_jax.method import joint_refinement
from gan2shape_jax.photos.together import sources_of
from gan2shape_jax.results import load, pictures
from gan2shape_jax.results.result import MAPS


@pytest.mark.parametrize(
    "options",
    [["--refine"], ["--box", "1", "2", "3"], ["--which", "1"], ["--mask", "m.png"], ["--anyway"], ["--cluster", "ray"]],
    ids=lambda options: options[0],
)
def test_what_has_no_meaning_for_several_photographs_is_refused(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "m.png"):
        Image.new("RGB", (20, 20)).save(name)
    assert main(["photo", "a.png", "--together", *options]) == 1
    said = capsys.readouterr().err
    assert said == f"error: {options[0]} is for photos that are reconstructed one by one, not together\n"
    assert sorted(os.listdir()) == ["a.png", "m.png"]


def test_a_video_is_named_alone_or_taken_together_with_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures.write_animation(tmp_path / "turn.mp4", np.zeros((2, 32, 32, 3), np.uint8), fps=5)
    Image.new("RGB", (20, 20)).save("a.png")
    assert main(["photo", "a.png", "turn.mp4"]) == 1
    said = capsys.readouterr().err
    assert said == "error: turn.mp4 is a video, which shows one person: name it alone, or add --together\n"
    assert main(["turn.mp4", "--refine"]) == 1
    assert "--refine is for photos that are reconstructed one by one, not together" in capsys.readouterr().err
    assert together_name("turn.mp4", tmp_path / "turn.mp4", tmp_path / "out") == ("turn", tmp_path / "turn.mp4")


def test_a_result_is_named_after_the_folder_or_the_first_photo(tmp_path):
    out, folder = tmp_path / "out", tmp_path / "anna"
    folder.mkdir()
    assert together_name(str(folder), folder / "1.jpg", out) == ("anna", folder)
    assert together_name(str(folder / "1.jpg"), folder / "1.jpg", out)[0] == "1-together"
    assert together_name(f"{folder}/*.jpg", folder / "1.jpg", out)[0] == "1-together"


def test_a_set_of_photographs_is_known_again_by_content_in_any_order(tmp_path):
    for name, grey in (("a.png", 1), ("b.png", 2), ("c.png", 1)):
        Image.new("L", (20, 20), grey).save(tmp_path / name)
    a, b, c = sources_of([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    assert digest_of([a, b]) == digest_of([b, c, a]) != digest_of([a])


@pytest.mark.heavy
def test_photographs_become_one_result_which_is_made_once(tmp_path, monkeypatch, face_photo, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(joint_refinement, "reconstruct", several.held)
    monkeypatch.setattr(command, "_TELLING", 2)
    os.mkdir("me")
    for name, how in (("a", {}), ("b", {"x": 120}), ("c", {"side": 80})):
        Image.fromarray(face_photo(**how)).save(f"me/{name}.png")
    Image.fromarray(face_photo()).save("me/twin.png")
    with open("me/broken.jpg", "wb") as file:
        file.write(b"\xff\xd8\xff but no picture")
    assert main(["photo", "me", "--together", "--out", "out"]) == 0
    said = capsys.readouterr().err
    assert "twin.png is the same picture as a.png, and counts once" in said and "broken.jpg" in said
    assert said.count(" of 5 photographs were searched") == 2
    assert "me: a face: " in said and "; from 3 of 4 photographs" in said
    assert os.listdir("out/results") == ["me"]
    result = load("out/results/me")
    assert len(result.photographs) == 3 and result.texture is not None
    record = json.loads((tmp_path / "out/photos/me.json").read_text())
    assert [one["name"] for one in record["photographs"]] == [one.name for one in result.photographs]
    with Image.open("out/photos/framing/me.jpg") as drawing:
        assert drawing.size == (3 * 322 - 2, 320)

    assert main(["photo", "me", "--together", "--out", "out", "--maps"]) == 0
    maps = {name: (tmp_path / "out/results/me" / name).read_bytes() for name in MAPS}
    with Image.open("out/results/me/photo_depth.png") as depth, Image.open("me/a.png") as photo:
        assert depth.size == photo.size and depth.mode == "I;16"
    assert main(["export", "maps", "out/results/me", "--out", "maps"]) == 0
    assert maps == {name: (tmp_path / "maps" / name).read_bytes() for name in MAPS}
    capsys.readouterr()

    made = os.stat("out/results/me/depth.npy").st_mtime_ns
    assert main(["photo", "me", "--together", "--out", "out"]) == 0
    assert "me: finished before, skipped" in capsys.readouterr().err
    assert os.stat("out/results/me/depth.npy").st_mtime_ns == made
    os.remove("me/c.png")
    assert main(["photo", "me", "--together", "--out", "out"]) == 0
    assert len(load("out/results/me").photographs) == 2

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save("noise.png")
    assert main(["photo", "noise.png", "--together", "--out", "new"]) == 1
    assert "none of these photographs can be used: noise.png shows no face" in capsys.readouterr().err
    assert not os.path.exists("new")
