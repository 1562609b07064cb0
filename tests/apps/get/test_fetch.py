"""A file that is not the one published is never left in place; one that is, is fetched once."""

import hashlib
import pathlib

import pytest

from gan2shape_jax.apps.get import fetch as module
from gan2shape_jax.apps.get import parts
from gan2shape_jax.apps.get.fetch import check_file, fetch, require_fetchable
from gan2shape_jax.apps.get.records import Source
from gan2shape_jax.apps.get.transfer import Patience
from gan2shape_jax.errors import UserError

_CONTENT = bytes(range(1, 256)) * 500
_HASH = hashlib.sha256(_CONTENT).hexdigest()
_HASTE = Patience(2, 1, (0.01,))


def _fetch(source, folder):
    return fetch(source, folder, lambda done, total: None, patience=_HASTE)


def _names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sha256", [_HASH, ""])
@pytest.mark.parametrize("size", [len(_CONTENT), None])
def test_a_file_is_fetched_once(server, tmp_path, sha256, size):
    source = Source(server.add("/a.pkl", _CONTENT), "a.pkl", size, sha256)
    path = _fetch(source, tmp_path / "new" / "folder")
    assert path.read_bytes() == _CONTENT and _names(path.parent) == ["a.pkl"]
    assert _fetch(source, path.parent) == path and len(server.asked) == 1


def test_another_file_than_published_is_removed_and_told(server, tmp_path):
    source = Source(server.add("/a.pkl", _CONTENT[::-1]), "a.pkl", len(_CONTENT), _HASH)
    with pytest.raises(UserError) as error:
        _fetch(source, tmp_path)
    told = str(error.value)
    assert hashlib.sha256(_CONTENT[::-1]).hexdigest() in told and _HASH in told and source.url in told
    assert _names(tmp_path) == []
    server.add("/a.pkl", _CONTENT)
    assert _fetch(source, tmp_path).read_bytes() == _CONTENT


def test_a_file_that_has_changed_in_its_place_is_fetched_again(server, tmp_path):
    source = Source(server.add("/a.pkl", _CONTENT), "a.pkl", None, _HASH)
    _fetch(source, tmp_path).write_bytes(b"changed")
    assert _fetch(source, tmp_path).read_bytes() == _CONTENT and len(server.asked) == 2


def test_a_cut_download_is_kept_and_gone_on_with(server, tmp_path):
    source = Source(server.add("/a.pkl", _CONTENT, cuts=[65536, 0, 0]), "a.pkl", len(_CONTENT), _HASH)
    with pytest.raises(UserError, match="of it are kept"):
        _fetch(source, tmp_path)
    assert _names(tmp_path) == ["a.pkl.part", "a.pkl.part.json"]
    assert _fetch(source, tmp_path).read_bytes() == _CONTENT and _names(tmp_path) == ["a.pkl"]
    assert server.ranges()[-1] == "bytes=65536-"


def test_ctrl_c_while_the_hash_is_compared_loses_nothing(server, tmp_path, monkeypatch):
    source = Source(server.add("/a.pkl", _CONTENT), "a.pkl", None, _HASH)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module.pooch.core, "hash_matches", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _fetch(source, tmp_path)
    assert "a.pkl" not in _names(tmp_path)
    assert _fetch(source, tmp_path).read_bytes() == _CONTENT and len(server.asked) == 1


def test_a_file_system_without_links_will_do(server, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "link", refuse)
    source = Source(server.add("/a.pkl", _CONTENT), "a.pkl", None, _HASH)
    assert _fetch(source, tmp_path).read_bytes() == _CONTENT and _names(tmp_path) == ["a.pkl"]
    server.add("/b.pkl", _CONTENT[::-1])
    with pytest.raises(UserError, match="another file than the one published"):
        _fetch(Source(f"{server.url}/b.pkl", "b.pkl", None, _HASH), tmp_path)
    assert _names(tmp_path) == ["a.pkl"]


def test_what_a_killed_process_left_of_the_comparison_is_cleared(server, tmp_path):
    (tmp_path / "tmpabcdefgh").write_bytes(_CONTENT)
    (tmp_path / "other.pkl").write_bytes(b"stays")
    _fetch(Source(server.add("/a.pkl", _CONTENT), "a.pkl"), tmp_path)
    assert _names(tmp_path) == ["a.pkl", "other.pkl"]


def test_what_a_person_has_to_download_is_told_with_the_address():
    source = Source("https://drive.google.com/file/d/x/view", "a.pt", by_hand="it asks first")
    with pytest.raises(UserError, match="a.pt has to be downloaded by hand .it asks first.*drive.google.com.*--from"):
        require_fetchable([source])
    require_fetchable([Source("https://example.org/a", "a")])


def test_files_from_a_person_are_compared_and_stay(tmp_path):
    path = tmp_path / "my file.pkl"
    path.write_bytes(_CONTENT)
    check_file(Source("https://example.org/a", "a.pkl", len(_CONTENT), _HASH), path)
    check_file(Source("https://example.org/a", "a.pkl"), path)
    with pytest.raises(UserError, match="has 127,500 bytes, and a.pkl as published 999,999"):
        check_file(Source("https://example.org/a", "a.pkl", 999_999), path)
    with pytest.raises(UserError, match="as published 99: it is another file"):
        check_file(Source("https://example.org/a", "a.pkl", 99), path)
    with pytest.raises(UserError, match="my file.pkl is another file than the one published.*it is not used"):
        check_file(Source("https://example.org/a", "a.pkl", None, "0" * 64), path)
    assert path.read_bytes() == _CONTENT
    with pytest.raises(UserError, match="no such file"):
        check_file(Source("https://example.org/a", "a.pkl"), tmp_path / "absent")
    with pytest.raises(UserError, match="a folder, not a file"):
        check_file(Source("https://example.org/a", "a.pkl"), tmp_path)


def test_a_folder_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write below .*file"):
        _fetch(Source(server.add("/a.pkl", _CONTENT), "a.pkl"), tmp_path / "file" / "below")


def test_parts_lie_beside_their_files(tmp_path):
    assert parts.part_of(tmp_path / "a.pkl") == tmp_path / "a.pkl.part"
