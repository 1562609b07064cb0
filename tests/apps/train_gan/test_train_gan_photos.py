"""Photos of a training: folders, zip files and lists; what is left out is listed, and nothing odd ends it."""

import os
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.apps.train_gan import photos
from gan2shape_jax.apps.train_gan.photos import Selection
from gan2shape_jax.errors import UserError


def _picture(seed, side=16):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def _load(source, out, size=16, **selection):
    out.mkdir(exist_ok=True)
    said = []
    actual = photos.load(pathlib.Path(source), out, size, Selection(**selection), log=said.append)
    return actual, "\n".join(said)


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "photos" / "a folder"
    inside.mkdir(parents=True)
    for number in range(6):
        _picture(number, side=16 + 8 * number).save(inside / f"{number}.png")
    return inside.parent


def test_photos_of_any_size_and_shape_become_squares_and_what_cannot_be_used_is_listed(folder, tmp_path):
    _picture(9, side=64).crop((0, 0, 64, 30)).save(folder / "wide.jpg")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    (folder / "text.jpg").write_text("no picture")
    _picture(7, side=4).save(folder / "tiny.png")
    os.symlink(folder / "nowhere.png", folder / "gone.png")
    _picture(0).save(folder / "z.png")
    _picture(20).convert("L").save(folder / "grey.png")
    actual, said = _load(folder, tmp_path / "out")
    assert actual.pixels.shape == (8, 16, 16, 3) and actual.pixels.dtype == np.uint8
    assert np.array_equal(actual.pixels[0], np.asarray(_picture(0)))
    assert "4 of 13 photos cannot be read, or are too small and are left out" in said
    assert "z.png is a copy of a folder/0.png" in said and "fewer than 500" in said
    left = actual.facts["left out"]["unreadable or too small"]
    assert {line.split()[0].rstrip(":") for line in left} >= {"tiny.png", "text.jpg"}
    colourful, said = _load(folder, tmp_path / "some", size=32, grey=False)
    assert "of 13 photos are grey" in said and "enlarged" in said and colourful.pixels.shape[1:] == (32, 32, 3)
    only = tmp_path / "only"
    only.mkdir()
    _picture(20).convert("L").save(only / "grey.png")
    with pytest.raises(UserError, match="--no-grey"):
        _load(only, tmp_path / "none", grey=False)


def test_photos_of_every_kind_are_found_in_linked_folders_too_and_the_rest_is_named(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number, name in enumerate(("a.JFIF", "b.jpe", "c.gif", "d.ppm", "e.avif")):
        _picture(number, side=64).save(elsewhere / name, "JPEG" if name[-1] in "Fe" else None)
    (elsewhere / "clip.mov").write_bytes(b"\0")
    (elsewhere / "up").symlink_to(folder)
    (folder / "linked").symlink_to(elsewhere)
    actual, said = _load(folder, tmp_path / "out")
    assert len(actual.pixels) == 11 and actual.facts["left out"]["unreadable or too small"] == []
    assert f"{folder}: 1 that are not pictures were skipped: linked/clip.mov" in said


def test_photos_framed_otherwise_are_listed_and_left_out_where_asked(tmp_path):
    """Two dark eyes on a light ground, with noise; in one photo they are elsewhere."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(61):
        picture = np.full((32, 32, 3), 200.0)
        for column in (9, 21):
            at = column + 6 * (number == 60)
            picture[10:15, at : at + 4] = 20
        picture += np.random.default_rng(number).normal(0, 12, picture.shape)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
    actual, said = _load(folder, tmp_path / "all", size=32)
    assert len(actual.pixels) == 61 and actual.facts["odd"] == ["60.png"] and "look unlike the others" in said
    actual, _ = _load(folder, tmp_path / "some", size=32, typical=60 / 61)
    assert len(actual.pixels) == 60 and actual.facts["left out"]["unlike the others"] == ["60.png"]


def test_zip_files_and_lists_are_read(folder, tmp_path):
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, f"../../{path.name}")
        file.writestr("__MACOSX/._0.png", "no picture")
        file.writestr("broken.png", "no picture")
        file.writestr("a folder/notes.txt", "none")
    actual, said = _load(archive, tmp_path / "zip")
    assert len(actual.pixels) == 6 and "broken.png" in said
    assert "1 that are not pictures were skipped: a folder/notes.txt\n" in said
    assert np.array_equal(actual.pixels[0], np.asarray(_picture(0)))
    assert not list(tmp_path.parent.glob("*.png"))  # a member's name names no file here
    names = tmp_path / "list.txt"
    text = "photos/a folder/1.png\n# two of them\n\nphotos/a folder/0.png\nphotos/absent.png\n"
    names.write_text(text, encoding="utf-8-sig")  # with a byte-order mark
    actual, said = _load(names, tmp_path / "list")
    assert len(actual.pixels) == 2 and "absent.png" in said
    assert np.array_equal(actual.pixels[1], np.asarray(_picture(0)))
    archive.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(UserError, match="not a readable zip file"):
        _load(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["nothing", "empty", "notes", "one.png"])
def test_what_holds_no_photos_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("none")
    _picture(0).save(tmp_path / "one.png")
    with pytest.raises(UserError, match=name):
        _load(tmp_path / name, tmp_path / "out")


def test_a_second_start_reads_nothing_again_unless_something_changed(folder, tmp_path, monkeypatch):
    first, _ = _load(folder, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(photos, "_all_read", None)
        again, said = _load(folder, tmp_path / "out")
    assert again.facts == first.facts and "6 photos are used" in said
    _picture(30).save(folder / "new.png")
    assert len(_load(folder, tmp_path / "out")[0].pixels) == 7


def test_every_photo_is_shown_once_a_round_in_an_order_of_the_seed():
    rows = np.concatenate([photos.rows_of(10, 4, number, seed=3) for number in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    assert not np.array_equal(photos.rows_of(10, 4, 0, seed=3), photos.rows_of(10, 4, 0, seed=4))
    assert len(photos.rows_of(3, 8, 0, seed=0)) == 8  # fewer photos than a batch


def test_a_byte_that_changed_is_found_and_the_photos_are_read_again(folder, tmp_path):
    out = tmp_path / "out"
    actual, _ = _load(folder, out)
    content = actual.pixels.copy()
    damaged = bytearray((out / "photos.bin").read_bytes())
    damaged[100] ^= 1
    (out / "photos.bin").write_bytes(damaged)
    again, _ = _load(folder, out)
    np.testing.assert_array_equal(again.pixels, content)
    assert (out / "photos.bin").read_bytes() == content.tobytes()


def test_pipes_are_not_waited_for_and_nothing_is_written_through_links(folder, tmp_path):
    os.mkfifo(tmp_path / "x.zip")
    os.mkfifo(tmp_path / "x.txt")
    os.mkfifo(folder / "pipe.png")
    for name in ("x.zip", "x.txt"):
        with pytest.raises(UserError, match=f"{name} does not exist"):
            _load(tmp_path / name, tmp_path / "out")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out" / ".photos.bin.all").symlink_to(tmp_path / "victim")
    actual, said = _load(folder, tmp_path / "out")
    assert len(actual.pixels) == 6 and "pipe.png is a named pipe" in said
    assert (tmp_path / "victim").read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".photos.bin.all",
        "photos.bin",
        "photos.json",
    ]


def test_a_photo_that_changes_while_it_is_read_is_left_out_and_read_at_the_next_start(folder, tmp_path, monkeypatch):
    reading = photos.open_upright

    def changing(path, **arguments):
        picture = reading(path, **arguments)
        if path.name == "3.png":
            _picture(30, side=48).save(path)
        return picture

    with monkeypatch.context() as patch:
        patch.setattr(photos, "open_upright", changing)
        actual, said = _load(folder, tmp_path / "out")
    assert len(actual.pixels) == 5 and "3.png changed while it was read" in said
    assert len(_load(folder, tmp_path / "out")[0].pixels) == 6
