"""Places to write to: what can be written is accepted, anything else is told before anything is made."""

import os
import pathlib

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import writable


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("file").write_text("")
    pathlib.Path("folder").mkdir()
    os.mkfifo("pipe")
    pathlib.Path("dangling").symlink_to("gone")
    pathlib.Path("circle").symlink_to("circle")
    yield tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "pipe", "dangling", "circle"}


@pytest.mark.parametrize("path", ["folder", "folder/new", "new/a/b", ".", "../new", "folder/../new"])
def test_a_folder_that_can_be_made_has_no_fault(path, place):
    assert writable.folder_fault(path) == ""


@pytest.mark.parametrize(
    "path, fault",
    [
        ("file", "is a file"),
        ("file/new", "lies below .*file, which is a file"),
        ("pipe", "is a file"),
        ("/dev/null", "is a file"),
        ("/dev/null/new", "lies below /dev/null"),
        ("dangling", "a link that leads nowhere"),
        ("dangling/new", "a link that leads nowhere"),
        ("circle", "cannot be a folder: Too many levels"),
        ("n" * 300, "cannot be a folder: File name too long"),
        ("d/" * 3000, "cannot be a folder: File name too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_told(path, fault, place):
    with pytest.raises(UserError, match=f"--out .* {fault}"):
        writable.require_folder_place(pathlib.Path(path))


def test_a_read_only_folder_is_told(place, monkeypatch):
    monkeypatch.setattr(
        os, "access", lambda path, mode: not os.path.samefile(path, "folder")
    )  # root may write anywhere
    assert "folder is read-only" in writable.folder_fault("folder/new")
    with pytest.raises(UserError, match="read-only"):
        writable.require_file_place(pathlib.Path("folder/a.png"))


@pytest.mark.parametrize(
    "path, fault",
    [
        ("folder", "is a folder: name a file"),
        ("", "is a folder: name a file"),
        ("gone/a.png", "there is no folder gone"),
        ("file/a.png", "there is no folder file"),
        ("n" * 240 + ".png", "too long a name"),
    ],
)
def test_a_file_that_cannot_be_written_is_told(path, fault, place):
    with pytest.raises(UserError, match=fault):
        writable.require_file_place(pathlib.Path(path))


def test_nothing_that_is_read_is_written(place):
    pathlib.Path("folder/link").symlink_to("../file")
    for target, picture, message in (
        ("file", None, "OUT file would overwrite a file that is read"),
        ("folder/link", None, "OUT folder/link would overwrite a file that is read"),
        ("new", "file", "--sheet file would overwrite a file that is read"),
        ("new", "folder/../new", "--sheet .* is the file that is converted to"),
        ("a\0b", None, "holds the control character"),
        ("new", "gone/sheet.png", "there is no folder gone"),
    ):
        with pytest.raises(UserError, match=message):
            writable.require_targets(target, picture, sources=["file", None], option="--sheet")
    writable.require_targets("new", "sheet.png", sources=["file"], option="--sheet")
