"""What is read from and written to S3, and what is refused, without a cluster."""

import os

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB

command = pytest.importorskip("gan2shape_jax.apps.cluster.command", reason="the extra `cluster` is not installed")


@pytest.fixture
def place(s3, request):
    """An empty folder on S3."""
    return command.Storage.at(f"{s3}/{request.node.name}")


@pytest.fixture(params=["s3", "folder"])
def either(request, tmp_path, place):
    return place if request.param == "s3" else command.Storage.at(tmp_path / "folder")


def test_what_is_written_is_read_listed_and_removed_the_same_everywhere(either):
    assert either.names() == [] and either.read(["a"]) == {} and either.records("done") == {}
    either.write({"b/c.txt": b"c", "a": b"", "done/x/y.json": b'{"z": 1}', "done/broken.json": b"{"})
    either.write({"a": b"again"})
    assert either.names() == ["a", "b/c.txt", "done/broken.json", "done/x/y.json"]
    assert either.names("b") == ["b/c.txt"] and either.read(["a", "none", "b/c.txt"]) == {
        "a": b"again",
        "b/c.txt": b"c",
    }
    assert either.records("done") == {"x/y": {"z": 1}}
    either.write({"b2/[d]?.txt": b"d", "b2/d.txt": b"e"})  # names that are patterns elsewhere
    assert either.read(["b2/[d]?.txt"]) == {"b2/[d]?.txt": b"d"}
    either.remove(["b", "a", "none", "b2/[d]?.txt"])
    assert either.names() == ["b2/d.txt", "done/broken.json", "done/x/y.json"]


def test_storage_that_nobody_knows_or_that_cannot_be_reached_is_a_sentence(s3, monkeypatch):
    with pytest.raises(UserError, match="^nope://a: .*nope"):
        command.Storage.at("nope://a")
    with pytest.raises(UserError, match="^s3://nobucket/x cannot be written: "):
        command.Storage.at("s3://nobucket/x").write({"a": b""})


def test_photos_on_s3_are_named_as_a_file_a_folder_or_a_pattern(place):
    place.write({"a.JPG": b"1", "b.png": b"22", "notes.txt": b"", "below/c.jpg": b""})
    said = []

    def expanded(argument):
        return {path.rsplit("/", 1)[1]: version[0] for path, version in command._expand([argument], log=said.append)}

    assert expanded(place.address) == {"a.JPG": 1, "b.png": 2}
    assert said == [f"{place.address}: 2 that are not pictures were skipped: below, notes.txt"]
    assert expanded(f"{place.address}/b.png") == {"b.png": 2} and expanded(f"{place.address}/?.png") == {"b.png": 2}
    for argument, fault in (
        ("none", "there is no photo"),
        ("*.gif", "holds no picture"),
        ("notes*", "holds no picture"),
    ):
        with pytest.raises(UserError, match=fault):
            expanded(f"{place.address}/{argument}")


def test_a_photo_that_was_written_to_has_another_version(place):
    versions = []
    for content in (b"one", b"two"):
        place.write({"a.png": content})
        versions += [version for _, version in command._expand([f"{place.address}/a.png"], log=print)]
    assert versions[0][0] == versions[1][0] and versions[0] != versions[1]


def test_results_go_to_an_empty_place_or_one_of_results(place):
    with command._held(place):
        pass
    with command._held(place):  # by its marker
        pass
    other = command.Storage.at(f"{place.address}-other")
    other.write({"mine.txt": b""})
    with pytest.raises(
        UserError, match=r"holds files that this program did not write \(mine.txt\).*nothing was changed"
    ):
        with command._held(other):
            raise AssertionError("entered")
    assert other.names() == ["mine.txt"]


def test_a_file_too_large_is_not_fetched(place, tmp_path):
    item = {"path": f"{place.address}/a.png", "version": [300 * MIB, ""]}
    with pytest.raises(UserError, match="a.png has 314,572,800 bytes: at most"):
        command._fetch(item, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_photo_is_done_if_it_and_the_configuration_are_the_same_and_nothing_failed():
    item, task = {"version": [3, "x"]}, {"made_with": "h"}
    record = {"version": [3, "x"], "made_with": "h", "failed": {}, "results": {"a": {}}}
    assert command._is_done(record, item, task)
    changes = ({"version": [3, "y"]}, {"made_with": "i"}, {"failed": {"a-1": "why"}})
    assert [change for change in changes if command._is_done(record | change, item, task)] == []
    assert not command._is_done(None, item, task)


def test_failures_of_former_commands_are_read(place):
    place.write({"failures.json": b'{"a-2": "why", "b": "why"}'})
    assert command._failures(place) == {"a-2": "why", "b": "why"}


def test_photos_that_are_links_are_named_as_the_user_sees_them(tmp_path):
    (tmp_path / "009.png").write_bytes(b"x")
    (tmp_path / "linkok.png").symlink_to(tmp_path / "009.png")
    ((path, version),) = command._expand([str(tmp_path / "linkok.png")], log=pytest.fail)
    assert path == str(tmp_path / "linkok.png") and version[0] == 1


def test_photos_and_folders_of_this_machine_have_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["memory::a.jpg", "a::b.jpg", "~.jpg", "-a.jpg", "s3:.jpg", "*[1]?.jpg", "new\nline.jpg"]
    names.append(os.fsdecode(b"'\"\\;$(a)\xff.jpg"))
    for folder in ("memory::", "a::b", "~root"):
        command.Storage.at(folder).write({name: os.fsencode(name) for name in names})
        found = dict(command._expand([folder], log=pytest.fail))
        assert found.keys() == {str(tmp_path / folder / name) for name in names}
        for path, version in found.items():
            command._fetch({"path": path, "version": version}, tmp_path / "fetched/photo")
            assert os.fsdecode((tmp_path / "fetched/photo").read_bytes()) == path.rpartition("/")[2]
