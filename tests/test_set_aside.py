"""What is damaged is moved and told of, never removed."""

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.set_aside import Aside


def test_files_and_folders_keep_their_path_and_their_bytes(tmp_path):
    told = []
    aside = Aside(tmp_path, say=told.append)
    for number, content in enumerate(("first", "second"), start=1):
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "file").write_text(content)
        aside(tmp_path / "a" / "b", f"a/b is damaged ({number})", "it is made again")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "damaged" / "a" / "b" / "file").read_text() == "first"
    assert (tmp_path / "damaged" / "a" / "b.2" / "file").read_text() == "second"
    assert "a/b is damaged (2); it is now" in told[1] and told[1].endswith("it is made again")
    log = (tmp_path / "damaged" / "log.txt").read_text().splitlines()
    assert len(log) == 2 and "a/b is damaged (1)" in log[0]


def test_what_is_missing_is_told_too(tmp_path):
    told = []
    Aside(tmp_path, say=told.append)(tmp_path / "a", "a is missing", "it is made again")
    assert told == ["warning: a is missing; it is made again"]


def test_broken_links_are_moved_as_links(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    Aside(tmp_path, say=lambda _: None)(tmp_path / "link", "link is no file", "it is made again")
    assert (tmp_path / "damaged" / "link").is_symlink() and not (tmp_path / "link").is_symlink()


def test_a_folder_that_cannot_be_written_is_an_error_that_names_both(tmp_path):
    (tmp_path / "damaged").write_text("")
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match=r"a is damaged; cannot move .*/a to .*/damaged"):
        Aside(tmp_path)(tmp_path / "a", "a is damaged", "")
