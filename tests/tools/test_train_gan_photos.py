"""Photos of a training: folders, zip files and lists; what is left out is listed, and nothing odd ends it."""

import json
import os
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.errors import DiskFullError, UserError
from tools.train_stylegan2 import photos
from tools.train_stylegan2.photos import Selection


def _picture(seed, side=16):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))


def _load(source, out, size=16, **selection):
    out.mkdir(exist_ok=True)
    told = []
    found = photos.load(pathlib.Path(source), out, size, Selection(**selection), say=told.append)
    return found, "\n".join(told)


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "photos" / "a folder"
    inside.mkdir(parents=True)
    for number in range(6):
        _picture(number, side=16 + 8 * number).save(inside / f"{number}.png")
    return inside.parent


def test_photos_of_mixed_sizes_and_shapes_become_squares_of_one_size(folder, tmp_path):
    _picture(9, side=64).crop((0, 0, 64, 30)).save(folder / "wide.jpg")
    found, told = _load(folder, tmp_path / "out")
    assert found.pixels.shape == (7, 16, 16, 3) and found.pixels.dtype == np.uint8
    assert "7 photos are trained on" in told and "fewer than 500" in told
    assert np.array_equal(found.pixels[0], np.asarray(_picture(0)))


def test_what_cannot_be_read_is_listed_and_the_rest_is_taken(folder, tmp_path):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    (folder / "text.jpg").write_text("no picture")
    _picture(7, side=9).resize((4, 4)).save(folder / "tiny.png")
    _picture(8, side=10).save(folder / "small.png")
    os.symlink(folder / "nowhere.png", folder / "gone.png")
    found, told = _load(folder, tmp_path / "out", size=32)
    assert len(found.pixels) == 6
    assert "5 of 11 photos cannot be read, or are too small and are left out" in told
    left = json.loads((tmp_path / "out" / "photos.json").read_text())["left out"]["unreadable or too small"]
    assert {line.split()[0].rstrip(":") for line in left} >= {"small.png", "tiny.png", "text.jpg"}
    assert "enlarged" in told


def test_copies_are_left_out_and_named(folder, tmp_path):
    _picture(0).save(folder / "z.png")
    found, told = _load(folder, tmp_path / "out")
    assert len(found.pixels) == 6
    assert "z.png is a folder/0.png again" in told


def test_grey_photos_are_left_out_where_asked(folder, tmp_path):
    _picture(20).convert("L").save(folder / "grey.png")
    assert len(_load(folder, tmp_path / "all")[0].pixels) == 7
    found, told = _load(folder, tmp_path / "some", grey=False)
    assert len(found.pixels) == 6 and "1 of 7 photos are grey" in told
    only = tmp_path / "only"
    only.mkdir()
    _picture(20).convert("L").save(only / "grey.png")
    with pytest.raises(UserError, match="--no-grey"):
        _load(only, tmp_path / "none", grey=False)


def _face(seed, *, shift=0):
    """Two dark eyes on a light ground, with noise: photos that are framed alike."""
    picture = np.full((32, 32, 3), 200.0)
    for column in (9, 21):
        picture[10:15, column + shift : column + shift + 4] = 20
    picture += np.random.default_rng(seed).normal(0, 12, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def test_photos_framed_otherwise_are_listed_and_left_out_where_asked(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        _face(number).save(folder / f"{number:02d}.png")
    _face(99, shift=6).save(folder / "odd.png")
    found, told = _load(folder, tmp_path / "all", size=32)
    assert len(found.pixels) == 61 and found.facts["odd"] == ["odd.png"] and "look unlike the others" in told
    found, told = _load(folder, tmp_path / "some", size=32, typical=60 / 61)
    assert len(found.pixels) == 60 and found.facts["left out"]["unlike the others"] == ["odd.png"]


def test_zip_files_and_lists_are_read(folder, tmp_path):
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, f"../../{path.name}")
        file.writestr("__MACOSX/._0.png", "no picture")
        file.writestr("notes.txt", "no picture")
    found, _ = _load(archive, tmp_path / "zip")
    assert len(found.pixels) == 6
    assert not list(tmp_path.parent.glob("*.png"))  # a member's name names no file here
    names = tmp_path / "list.txt"
    names.write_text("# two of them\nphotos/a folder/1.png\n\nphotos/a folder/0.png\nphotos/absent.png\n")
    found, told = _load(names, tmp_path / "list")
    assert len(found.pixels) == 2 and "absent.png" in told
    assert np.array_equal(found.pixels[1], np.asarray(_picture(0)))


def test_damaged_and_locked_archives_are_refused_in_words(tmp_path):
    archive = tmp_path / "photos.zip"
    archive.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match="no readable zip file"):
        _load(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["nothing", "empty", "no photos", "a picture"])
def test_what_holds_no_photos_is_refused(kind, tmp_path):
    source = tmp_path / "source"
    if kind == "a picture":
        source = tmp_path / "one.png"
        _picture(0).save(source)
    elif kind != "nothing":
        source.mkdir()
        if kind == "no photos":
            (source / "notes.txt").write_text("none")
    with pytest.raises(UserError, match=source.name):
        _load(source, tmp_path / "out")


def test_a_second_start_reads_nothing_again_unless_something_changed(folder, tmp_path, monkeypatch):
    first, _ = _load(folder, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(photos.sources, "read", None)
        again, told = _load(folder, tmp_path / "out")
    assert again.fingerprint == first.fingerprint and "6 photos are trained on" in told
    _picture(30).save(folder / "new.png")
    assert len(_load(folder, tmp_path / "out")[0].pixels) == 7
    (tmp_path / "out" / "photos.bin").write_bytes(b"\0" * (7 * 16 * 16 * 3))  # damaged: read again
    assert _load(folder, tmp_path / "out")[0].pixels.any()


def test_a_disk_too_full_for_the_photos_is_told_before(folder, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(photos.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFullError, match="make room"):
        _load(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "photos.bin").exists()


def test_every_photo_is_shown_once_a_round_in_an_order_of_the_seed():
    rows = np.concatenate([photos.rows_of(10, 4, number, seed=3) for number in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    assert not np.array_equal(photos.rows_of(10, 4, 0, seed=3), photos.rows_of(10, 4, 0, seed=4))
    assert len(photos.rows_of(3, 8, 0, seed=0)) == 8  # fewer photos than a batch
