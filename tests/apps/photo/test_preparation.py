"""A photo made ready for a run: its crop, mask, drawing and record."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.apps.photo import preparation
from gan2shape_jax.apps.photo.preparation import Framer, Wish
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop
from gan2shape_jax.io.found_masks import middle

_BOX, _SMALL = CropBox(x=190, y=100, side=96), CropBox(x=190, y=100, side=30)


def _framer(score=1.0):
    """Returns a framer for crops that are given: nothing is searched."""
    return Framer(64, 8, {}, middle(64), True, lambda crops: np.full(len(crops), score), 3.5)


def _prepare(path, out, name="a", framer=None, **wish):
    return preparation.prepare(path, name, out, framer or _framer(), Wish(**({"box": _BOX} | wish)))


@pytest.fixture
def photo(tmp_path, face_photo):
    Image.fromarray(face_photo()).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_crop_mask_drawing_and_record_are_written(photo, tmp_path, face_photo):
    made = _prepare(photo, tmp_path / "out")
    folder = tmp_path / "out" / "photos"
    crop = np.asarray(Image.open(folder / "image" / "a.png"))
    np.testing.assert_array_equal(crop, sample_crop(face_photo(), _BOX, 64))
    assert np.asarray(Image.open(folder / "mask" / "a.png"))[32, 32] == 255
    with Image.open(folder / "framing" / "a.jpg") as drawing:
        assert drawing.size == (384, 282)
    record = json.loads((folder / "a.json").read_text())
    assert record["photo"]["path"] == str(photo.resolve()) and (record["photo"]["width"], record["mask"]) == (
        300,
        "found",
    )
    assert record["box"] == {"x": 190, "y": 100, "side": 96, "roll_deg": 0} and record["given"]
    assert (made.changed, made.mask_source, made.chosen) == (True, "found", 0)


def test_only_what_is_other_than_before_counts_as_changed(photo, tmp_path):
    out = tmp_path / "out"
    assert _prepare(photo, out).changed and not _prepare(photo, out).changed
    assert _prepare(photo, out, box=CropBox(x=180, y=100, side=96)).changed
    (out / "photos" / "image" / "a.png").unlink()
    assert _prepare(photo, out).changed
    assert preparation.records_in(out) == {"a": str(photo.resolve())}


def test_damaged_records_are_as_if_there_were_none(photo, tmp_path):
    out = tmp_path / "out"
    _prepare(photo, out)
    for content in ("", "[]", '{"format": 99}', "[" * 5000):
        (out / "photos" / "a.json").write_text(content)
        assert preparation.records_in(out) == {}
    assert _prepare(photo, out).changed


def test_the_box_of_a_reduced_photo_is_in_the_files_pixels(tmp_path, face_photo):
    large = Image.fromarray(face_photo()).resize((6000, 4400), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.jpg", quality=90)
    box = CropBox(x=3800, y=2000, side=1920)
    _prepare(tmp_path / "a.jpg", tmp_path / "out", box=box)
    crop = np.asarray(Image.open(tmp_path / "out" / "photos" / "image" / "a.png"), np.float32)
    expected = np.asarray(sample_crop(np.asarray(large), box, 64), np.float32)
    assert np.abs(crop - expected).mean() < 3


def test_small_objects_and_dark_photos_are_noted(photo, tmp_path):
    assert _prepare(photo, tmp_path / "out").notes == ()
    assert any("30 pixels and is enlarged" in note for note in _prepare(photo, tmp_path / "out", box=_SMALL).notes)
    with Image.open(photo) as lit:
        lit.convert("RGB").point(lambda value: value // 6).save(tmp_path / "night.png")
    (note,) = _prepare(tmp_path / "night.png", tmp_path / "out").notes
    assert note.startswith("night.png: what was cut out is very dark (99% of it is below ")


def test_latents_are_taken_along_and_must_fit(photo, tmp_path):
    np.save(tmp_path / "w.npy", np.zeros((1, 8), np.float32))
    _prepare(photo, tmp_path / "out", latent=tmp_path / "w.npy")
    assert np.load(tmp_path / "out" / "photos" / "latent" / "a.npy").shape == (1, 8)
    np.save(tmp_path / "w.npy", np.zeros((1, 9), np.float32))
    with pytest.raises(UserError, match=r"w\.npy"):
        _prepare(photo, tmp_path / "out", latent=tmp_path / "w.npy")


def test_an_object_that_is_not_there_and_photos_that_are_none_are_refused(photo, tmp_path):
    with pytest.raises(UserError, match="--which=2 names none"):
        _prepare(photo, tmp_path / "out", which=2)
    (tmp_path / "bad.png").write_bytes(photo.read_bytes()[:200])
    for path in (tmp_path / "bad.png", tmp_path / "none.png", pathlib.Path("/dev/null")):
        with pytest.raises(UserError):
            _prepare(path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_that_refuses_is_told(photo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photos").write_text("a file where the folder would be")
    with pytest.raises(UserError, match="photos cannot hold what is made of a: "):
        _prepare(photo, tmp_path / "out")
