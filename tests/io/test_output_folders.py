"""What this program has made is written again, what it has not is kept."""

import json
import os

import pytest
from helpers.plain_result import plain_result

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import output_folders
from gan2shape_jax.io.output_folders import MARKER, mark, require_output_folder
from gan2shape_jax.results import examine, save_result
from gan2shape_jax.results.files import add_files, write_folder


@pytest.mark.parametrize("kind", ["run", "gan", "weights", "checkpoints", "evaluation", "web"])
def test_a_folder_is_written_again_by_its_marker_alone(tmp_path, kind):
    assert mark(tmp_path, kind) and not mark(tmp_path, kind)
    (record := tmp_path / "config.json").write_text(json.dumps({"networks": {}, "schedule": {}}))
    require_output_folder(tmp_path, kind)
    for other in {"run", "gan", "weights"} - {kind}:
        with pytest.raises(UserError, match="is the folder of .*: name another"):
            require_output_folder(tmp_path, other)
    assert json.loads((tmp_path / MARKER).read_text()) == {"kind": kind}
    record.rename(tmp_path.parent / f"elsewhere_{kind}")
    record.symlink_to(tmp_path.parent / f"elsewhere_{kind}")
    with pytest.raises(UserError, match="config.json is a link, and nothing is written through links"):
        require_output_folder(tmp_path, kind)
    record.unlink()
    record.write_text("mine")
    (tmp_path / MARKER).unlink()
    with pytest.raises(UserError, match="--out .* holds files that this program did not write .*nothing was"):
        require_output_folder(tmp_path, kind)


@pytest.mark.parametrize(("name", "record"), [("files.json", "files made_with"), ("result.json", "arrays format")])
def test_a_folder_is_a_result_by_its_record(tmp_path, name, record):
    for content in ("mine", "{}", "[]", json.dumps(dict.fromkeys(record.split()[1:]))):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match="--out .* holds files that this program did not write .*nothing was"):
            require_output_folder(tmp_path, output_folders.RESULT)
    (tmp_path / name).write_text(json.dumps(dict.fromkeys(record.split())))
    require_output_folder(tmp_path, output_folders.RESULT)


def test_new_and_empty_folders_and_links_to_them_are_anybodys(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for name in ("new/folder", "empty", "link"):
        require_output_folder(tmp_path / name, output_folders.RUN)


def test_a_result_is_replaced_and_what_else_is_in_its_folder_is_kept(tmp_path):
    folder = tmp_path / "a"
    write_folder(folder, [{"a.txt": "1", "b.txt": "1"}])
    (folder / "views" / "below").mkdir(parents=True)
    for name in ("diary.txt", "views/below/1.png"):
        (folder / name).write_text("mine")
    (folder / "link").symlink_to("diary.txt")
    os.mkfifo(folder / "pipe")
    write_folder(folder, [{"a.txt": "2", "c.txt": "2"}])
    assert sorted(path.name for path in folder.iterdir()) == [
        *("a.txt", "c.txt", "diary.txt", "files.json", "link", "pipe", "views")
    ]
    assert (folder / "diary.txt").read_text() == (folder / "views/below/1.png").read_text() == "mine"
    assert (folder / "a.txt").read_text() == "2" and os.readlink(folder / "link") == "diary.txt"
    for act in (lambda: write_folder(folder, [{"diary.txt": "3"}]), lambda: add_files(folder, {"diary.txt": "3"})):
        with pytest.raises(UserError, match="diary.txt was not written by this program"):
            act()
    assert (folder / "diary.txt").read_text() == "mine" and (folder / "c.txt").read_text() == "2"
    add_files(folder, {"d.txt": "4"})
    assert examine(folder) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_result_is_saved_to_no_folder_of_somebody_elses(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for folder, why in ((tmp_path, r"holds files .*diary.txt"), (tmp_path / "link", "link")):
        with pytest.raises(UserError, match=why):
            save_result(plain_result(), folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diary.txt", "link"]
