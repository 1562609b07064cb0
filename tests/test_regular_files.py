"""Regular files only, and none larger than its reader could want."""

import os
import pathlib

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.regular_files import open_regular, read_bytes, read_text


def test_contents_are_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("é\n", encoding="utf-8")
    assert read_text(path, limit=10) == "é\n"
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(tmp_path / "link", limit=3) == "é\n".encode()
    with open_regular(path) as file:
        assert file.read(1) == b"\xc3"


def test_a_file_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(11))
    with pytest.raises(UserError, match="at most"):
        read_bytes(path, limit=10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="a named pipe, not a file"):
        open_regular(tmp_path / "pipe")


@pytest.mark.skipif(not pathlib.Path("/dev/zero").exists(), reason="no such device here")
def test_a_device_is_refused():
    with pytest.raises(UserError, match="a device, not a file"):
        read_bytes("/dev/zero", limit=100)


def test_a_folder_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="a folder, not a file"):
        open_regular(tmp_path)


def test_an_absent_file_stays_the_readers_matter(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_an_impossible_name_is_refused_in_words(name):
    with pytest.raises(UserError, match="can be no file's name"):
        open_regular(name)
