"""`gan2shape-jax export texture`, on a result and the photo that it is of."""

import dataclasses

import numpy as np
import pytest
import trimesh
from helpers.photographed import photographed
from PIL import Image

from gan2shape_jax.apps.export import command
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.results import save_result

BOX = CropBox(410, 330, 512, 7.5)
_PLACE = ["--box", "410", "330", "512", "--roll", "7.5"]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("x")
    known = photographed(box=BOX)
    image = photographed().photo.reshape(32, 16, 32, 16, 3).mean((1, 3)) / 127.5 - 1
    save_result(dataclasses.replace(known.result, image=image), folder / "result")
    Image.fromarray(known.photo).save(folder / "it's.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies in the file turned by a quarter
    Image.fromarray(np.rot90(known.photo).copy()).save(folder / "turned.jpg", exif=exif, quality=95)
    return folder


@pytest.mark.parametrize("name", ["it's.png", "turned.jpg"])
def test_it_writes_the_textured_mesh_and_says_what_is_made_up(places, tmp_path, capsys, name):
    out = tmp_path / "new folder"
    arguments = ["texture", str(places / "result"), str(places / name), *_PLACE, "--size", "256", "--out", str(out)]
    assert command.main(arguments) == 0
    said = capsys.readouterr().out
    assert "texture of 256 x 256" in said and "% from the photo" in said and "% mirrored" in said
    assert trimesh.load(out / "textured.glb", force="mesh").visual.material.baseColorTexture.size == (256, 256)


def test_it_writes_beside_the_result_unless_told_otherwise(places):
    arguments = ["texture", str(places / "result"), str(places / "it's.png"), *_PLACE, "--no-mirror", "--size", "256"]
    assert command.main(arguments) == 0
    assert (places / "result" / "textured_unlit.glb").is_file()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "does not show what known was made of"),  # the centred square, not turned
        (["--box", "9000", "330", "512"], "beside the photo"),
        (["--box", "410", "330", "0"], "side of a crop is 0 pixels"),
        (["--box", "410", "nan", "5"], "finite"),
        ([*_PLACE, "--size", "9000"], "--size 9000"),
    ],
)
def test_it_explains_what_is_wrong(places, capsys, arguments, message):
    assert command.main(["texture", str(places / "result"), str(places / "it's.png"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error


def test_it_refuses_what_is_no_photo(places, capsys):
    for text, message in (("<svg/>", "is SVG"), ("hello", "not an image"), ("", "is empty")):
        (places / "note.jpg").write_text(text)
        assert command.main(["texture", str(places / "result"), str(places / "note.jpg")]) == 1
        assert message in capsys.readouterr().err
