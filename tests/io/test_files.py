"""Files are read and written whole or not at all; data come through the wall as they are, and harm as a sentence."""

import copy
import errno
import json
import operator
import os
import pathlib
import sys
import time

import numpy as np
import pytest

from gan2shape_jax.errors import FatalRunError, UserError
from gan2shape_jax.io import files
from gan2shape_jax.io.files import MIB, atomic_bytes, atomic_file, atomic_folder, atomic_text, read_object
from gan2shape_jax.io.sandbox import Record, run_limited


@pytest.mark.parametrize(
    "name, why",
    [
        ("pipe", "a named pipe or a device, not a file"),  # without waiting for who writes to it
        ("/dev/zero", "a named pipe or a device, not a file"),
        ("", "a folder, not a file"),
        ("a.txt", "at most"),
        ("a\0b", "is not a valid file name"),
        ("a\ud800", "is not a valid file name"),
    ],
)
def test_only_regular_files_of_a_size_that_is_expected_are_read(tmp_path, name, why):
    path = tmp_path / "a.txt"
    path.write_text("é\n", encoding="utf-8")
    (tmp_path / "link").symlink_to(path)
    assert files.read_text(path, limit=10) == "é\n"
    assert files.read_text(tmp_path / "link", limit=3) == "é\n"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=why):
        files.read_text(tmp_path / name, limit=2)
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "Expecting property name"),
        (b"\xff{}", "can't decode byte"),
        (b'{"a": NaN}', "NaN is not a usable number"),
        (b"[1e999]", "1e999 is not a usable number"),
        pytest.param(b"[" * 100_000, "recursion", id="long"),
        (b"[]", "does not hold a JSON object"),
        pytest.param(b" " * (4 * 2**20) + b"{}", "at most 4 MiB", id="long"),
    ],
)
def test_json_that_cannot_be_read_is_refused_by_name(tmp_path, text, why):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=why) as caught:
        read_object(path, "a note")
    assert str(path) in str(caught.value)


def test_json_is_read_as_the_standard_library_reads_it_or_refused_by_name(tmp_path):
    content = {"a": [1, -2.5e-3, True, None, {"é": "ü\ud800"}], "crc": 2**32 - 1, "seed": -(2**63), "b": {}, "c": []}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_object(path, "a note") == content
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "absent", "a note")


def test_a_file_is_written_beside_its_place_under_its_extension(tmp_path):
    target = tmp_path / "a" / "b.npz"

    def write(part):
        assert part.parent == target.parent and part.suffix == ".npz" and part.name.startswith(".")
        assert not target.exists()
        part.write_bytes(b"1")

    with pytest.raises(UserError, match="b.npz: No such file"):
        atomic_bytes(target, b"")
    atomic_file(target, write, parents=True)
    assert target.read_bytes() == b"1"
    atomic_bytes(target, b"2")
    atomic_text(tmp_path / "a" / "note", "größer")
    assert target.read_bytes() == b"2" and (tmp_path / "a" / "note").read_bytes() == "größer".encode()
    assert sorted(path.name for path in target.parent.iterdir()) == ["b.npz", "note"]
    for place in (target / "below", tmp_path / "a"):
        with pytest.raises(UserError, match=f"cannot write {place}"):
            atomic_text(place, "")


def test_what_cannot_be_read_is_kept_under_names_of_its_own(tmp_path, capsys):
    for content in ("first", "second"):
        (tmp_path / "a.json").write_text(content)
        files.spare_unreadable(tmp_path / "a.json", lambda path: read_object(path, "a record"))
        assert f"{tmp_path / 'a.json'} cannot be read ({tmp_path / 'a.json'} is damaged" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.json.unreadable-1": "first",
        "a.json.unreadable-2": "second",
    }
    files.spare_unreadable(tmp_path / "a.json", lambda path: path.read_bytes())
    (tmp_path / "a.json").write_text("{}")
    files.spare_unreadable(tmp_path / "a.json", lambda path: read_object(path, "a record"))
    assert (tmp_path / "a.json").exists() and capsys.readouterr().err == ""


def test_a_folder_is_removed_without_what_was_set_aside_in_it(tmp_path):
    (tmp_path / "mine").write_text("")
    for name in ("run/1/a/x", "run/2.unreadable-1/b", "run/3/y"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    (tmp_path / "run/3/out").symlink_to(tmp_path)
    assert not files.remove_folder(tmp_path / "run")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["2.unreadable-1", "b", "mine", "run"]
    (tmp_path / "run/2.unreadable-1").rename(tmp_path / "run/2")
    assert files.remove_folder(tmp_path / "run") and files.remove_folder(tmp_path / "run")


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_what_fails_halfway_leaves_the_former_file_or_folder_and_no_rubbish(tmp_path, fault):
    target = tmp_path / "file.txt"
    atomic_text(target, "old")
    with atomic_folder(tmp_path / "folder") as fresh:
        (fresh / "a").write_text("old")

    def write(part):
        part.write_text("ne")
        raise fault

    error = FatalRunError if isinstance(fault, OSError) else type(fault)
    with pytest.raises(error):
        atomic_file(target, write)
    with pytest.raises(error), atomic_folder(tmp_path / "folder") as fresh:
        write(fresh / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "folder"]
    assert target.read_text() == (tmp_path / "folder" / "a").read_text() == "old"
    with atomic_folder(tmp_path / "folder", replaces=["a"]) as fresh:
        (fresh / "b").write_text("new")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["b"]


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
def test_a_folder_can_be_made_where_there_is_room_for_one(place, path):
    assert files.folder_fault(path) == ""


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("file", "cannot be a folder: .*file is a file"),
        ("file/new", "cannot be a folder: .*file is a file"),
        ("pipe", "cannot be a folder: .*pipe is a file"),
        ("/dev/null/new", "cannot be a folder: /dev/null is a file"),
        ("dangling/new", "cannot be a folder: .*dangling leads nowhere"),
        ("circle", "cannot be a folder: .*circle leads nowhere"),
        pytest.param("n" * 300, "has a name that is too long", id="long"),
    ],
)
def test_a_place_that_can_be_no_folder_is_refused(place, path, fault):
    with pytest.raises(UserError, match=f"--out .* {fault}"):
        files.require_folder_place(pathlib.Path(path))


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("folder", "is a folder: name a file"),
        ("", "is a folder: name a file"),
        ("gone/a.png", "there is no folder gone"),
        pytest.param("n" * 240 + ".png", "a name that is too long", id="long"),
    ],
)
def test_a_place_that_can_be_no_file_is_refused(place, path, fault):
    with pytest.raises(UserError, match=fault):
        files.require_file_place(pathlib.Path(path), overwrite=False)


@pytest.mark.skipif(sys.platform != "linux", reason="where /proc is")
def test_a_folder_that_is_on_no_disk_is_refused(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: True)  # as for root
    assert "/proc is on no disk" in files.folder_fault("/proc/x")


def test_a_folder_that_is_read_only_is_refused(place, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not os.path.samefile(path, "folder"))  # root writes anywhere
    assert "folder is read-only" in files.folder_fault("folder/new")
    with pytest.raises(UserError, match="read-only"):
        files.require_file_place(pathlib.Path("folder/a.png"), overwrite=False)


@pytest.mark.parametrize(
    ("target", "picture", "message"),
    [
        ("file", None, "OUT file would overwrite file:"),
        ("folder/link", None, "OUT folder/link is a link"),
        ("new", "file", "--sheet file would overwrite file:"),
        ("new", "folder/../new", "OUT new would overwrite folder/../new"),
        ("new", "gone/sheet.png", "there is no folder gone"),
    ],
)
def test_a_target_that_would_overwrite_a_source_is_refused(place, target, picture, message):
    pathlib.Path("folder/link").symlink_to("../elsewhere")
    targets = {"OUT": pathlib.Path(target), "--sheet": picture and pathlib.Path(picture)}
    with pytest.raises(UserError, match=message):
        files.require_targets(targets, ["file", None], overwrite=True)


def test_a_target_that_exists_is_replaced_only_with_overwrite(place):
    targets = {"OUT": pathlib.Path("new"), "--sheet": pathlib.Path("sheet.png")}
    files.require_targets(targets, ["file"], overwrite=False)
    pathlib.Path("sheet.png").touch()
    with pytest.raises(UserError, match="--sheet sheet.png exists: name another file, or replace it with --overwrite"):
        files.require_targets(targets, ["file"], overwrite=False)
    files.require_targets(targets, ["file"], overwrite=True)
    pathlib.Path("sheet.png").unlink()


def eat():
    taken = []
    while True:
        taken.append(np.empty(100 * MIB, np.uint8))


def work():
    while True:
        pass


def abort():
    print("a library's message")
    os.abort()


def refuse():
    raise UserError("the file F is none")


@pytest.mark.process
def test_data_come_back_as_they_went_in():
    arrays = [np.arange(6).reshape(2, 3)[:, ::2], np.asarray(3, np.float32), np.zeros((0, 3), bool), np.ones(4, "<f2")]
    value = {"a": [1, None, True, "é\n\ud800", 2.5, float("inf")], 3: (b"\x00\xff", {1})}
    actual = run_limited(
        copy.copy, value | {"r": Record("X", {"y": arrays, (1, 2): 0})}, memory=2048 * MIB, seconds=60, source="F"
    )
    back = actual["r"].fields.pop("y")
    assert actual == {"a": value["a"], "3": ["\x00\xff", [1]], "r": Record("X", {})}
    for array, expected in zip(back, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype and array.shape == expected.shape


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as a whole on Linux")
@pytest.mark.parametrize(
    ("function", "given", "words"),
    [
        (eat, (), "F takes more than 100 MiB of memory"),
        (time.sleep, (3600,), "F takes more than 1 s"),
        (work, (), "F "),
        (abort, (), "F cannot be read within"),
        (refuse, (), "the file F is none"),
        (operator.truediv, (1, 0), "F cannot be read: ZeroDivisionError"),
        (bytes, (200 * MIB,), "F "),
        (object, (), "F cannot be read: TypeError"),
    ],
)
def test_what_does_harm_is_a_sentence(function, given, words, monkeypatch):
    monkeypatch.setattr("gan2shape_jax.io.sandbox._SPARE_SECONDS", 1)
    with pytest.raises(UserError) as caught:
        run_limited(function, *given, memory=100 * MIB, seconds=1, source="F")
    assert str(caught.value).startswith(words)
