"""A file that is not the one published is never left in place; of archives only the files needed are written."""

import gzip
import hashlib
import io
import os
import tarfile

import pytest

from gan2shape_jax.apps.get import fetch as module
from gan2shape_jax.apps.get.fetch import check_file, fetch, require_fetchable, unpack
from gan2shape_jax.apps.get.table import Source
from gan2shape_jax.errors import UserError

_URL = "https://example.org/a.pkl"
_CONTENT = bytes(range(1, 256)) * 500
_HASH = hashlib.sha256(_CONTENT).hexdigest()


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sha256", [_HASH, ""])
def test_a_file_is_fetched_once_through_redirects(servers, tmp_path, sha256, capsys):
    servers.add(_URL, status=302, Location="https://mirror.example/b")
    servers.add("https://mirror.example/b", _CONTENT)
    source = Source(_URL, "a.pkl", "A", sha256)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "tmpabcdefgh").write_bytes(b"left by a killed process")
    path = fetch(source, tmp_path / "new")
    assert path.read_bytes() == _CONTENT and _names(path.parent) == ["a.pkl"]
    assert fetch(source, path.parent) == path and len(servers.asked) == 2
    assert "downloading a.pkl" in capsys.readouterr().err


def test_another_file_than_published_is_not_kept_and_the_right_one_is_then_fetched(servers, tmp_path):
    source = Source(servers.add(_URL, _CONTENT[::-1]), "a.pkl", "A", _HASH)
    with pytest.raises(UserError, match=f"another file than the one published.*{_HASH}.*nothing of it is kept"):
        fetch(source, tmp_path)
    assert _names(tmp_path) == []
    servers.add(_URL, _CONTENT)
    fetch(source, tmp_path).write_bytes(b"changed")
    assert fetch(source, tmp_path).read_bytes() == _CONTENT


def test_what_servers_must_not_do_is_refused_in_words(servers, tmp_path, monkeypatch):
    cases = {
        "only https is followed": {"status": 301, "Location": "http://10.0.0.1/a"},
        "file:///etc/passwd: only https": {"status": 302, "Location": "file:///etc/passwd"},
        "sends a web page": {"content": b"<html>", "Content_Type": "text/html; charset=utf-8"},
        "404": {"status": 404, "Content_Type": "text/html"},
        "500": {"status": 500},
    }
    for words, answer in cases.items():
        with pytest.raises(UserError, match=words):
            fetch(Source(servers.add(_URL, **answer), "a.pkl", "A"), tmp_path)
    with pytest.raises(UserError, match="only https"):
        fetch(Source(servers.add("http://example.org/a", _CONTENT), "a.pkl", "A"), tmp_path)
    monkeypatch.setattr(module, "MOST", 1000)
    for headers in ({}, {"Content_Length": "0"}):  # announced, and not
        with pytest.raises(UserError, match="more than"):
            fetch(Source(servers.add(_URL, bytes(2 * 2**20), **headers), "a.pkl", "A"), tmp_path)
    assert _names(tmp_path) == []


def test_what_a_person_has_to_download_is_said_with_the_address_and_compared(tmp_path):
    with pytest.raises(UserError, match="a.pt has to be downloaded by hand .it asks first.*example.org.*--from"):
        require_fetchable([Source(_URL, "a.pt", "A", by_hand="it asks first")])
    path = tmp_path / "my file.pkl"
    path.write_bytes(_CONTENT)
    check_file(Source(_URL, "a.pkl", "A", _HASH), path)
    check_file(Source(_URL, "a.pkl", "A"), path)
    with pytest.raises(UserError, match="my file.pkl is another file than the one published.*it is not used"):
        check_file(Source(_URL, "a.pkl", "A", "0" * 64), path)
    assert path.read_bytes() == _CONTENT
    for wrong, words in ((tmp_path / "absent", "no such file"), (tmp_path, "a folder, not a file")):
        with pytest.raises(UserError, match=words):
            check_file(Source(_URL, "a.pkl", "A"), wrong)


_A, _B = os.urandom(200_000), b"b" * 5000


def _member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def _parts(folder, *members, count=4, content=None):
    """Returns the paths of an archive's parts; `content` replaces the archive of `members`."""
    if content is None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for info, data in members:
                archive.addfile(info, io.BytesIO(data))
        content = gzip.compress(buffer.getvalue())
    step = -(-len(content) // count)
    paths = [folder / f"x{n:02}" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(content[n * step : (n + 1) * step])
    return paths


def _unpack(parts, targets, **options):
    return unpack(list(map(str, parts)), {name: str(path) for name, path in targets.items()}, **options)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(("count", "prefix"), [(1, ""), (4, "./"), (9, "")])
def test_only_the_named_files_of_an_archive_are_written_under_our_names(tmp_path, out, count, prefix):
    long = "checkpoints/" + "very/" * 40 + "long.pt"  # has a header of its own
    members = (
        _member(f"{prefix}checkpoints", type=tarfile.DIRTYPE),
        _member(f"{prefix}checkpoints/a.pt", _A),
        _member(f"{prefix}checkpoints/other.pt", _B),
        _member(prefix + long, _B),
        _member("../climbed", _B),
        _member(str(tmp_path / "absolute"), _B),
    )
    targets = {"checkpoints/a.pt": out / "mine.pt", long: out / "long.pt", "absent": out / "absent"}
    assert _unpack(_parts(tmp_path, *members, count=count), targets) == ["absent"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"mine.pt": _A, "long.pt": _B}
    assert not (tmp_path / "climbed").exists() and not (tmp_path / "absolute").exists()
    with pytest.raises(UserError, match="has none of b.pt; it has "):
        _unpack(_parts(tmp_path, *members[:3]), {"b.pt": out / "b.pt"})


def test_links_devices_folders_and_files_that_are_too_large_are_refused(tmp_path, out):
    for fields in (
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.DIRTYPE},
        {"content": bytes(3 * 2**20)},
    ):
        with pytest.raises(UserError, match="a.pt: in the archive it is no plain file of at most 2 MiB"):
            _unpack(_parts(tmp_path, _member("a.pt", **fields)), {"a.pt": out / "a.pt"}, most=2 * 2**20)
    huge = tarfile.TarInfo("huge")
    huge.size = 2**50
    content = gzip.compress(huge.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    with pytest.raises(UserError, match="unpacks to more than any archive of weights has"):
        _unpack(_parts(tmp_path, content=content), {"a.pt": out / "a.pt"})
    assert _names(out) == []


def test_a_damaged_archive_is_an_error_and_leaves_nothing(tmp_path, out):
    whole = b"".join(path.read_bytes() for path in _parts(tmp_path, _member("a.pt", _A)))
    damaged = bytearray(whole)
    damaged[-6] ^= 0xFF  # of the checksum
    for content in (whole[: len(whole) // 2], bytes(damaged), b"no archive", b"", _A, gzip.compress(_A)):
        with pytest.raises(UserError, match="x00.*(damaged, truncated|has none of)"):
            _unpack(_parts(tmp_path, content=content), {"a.pt": out / "a.pt"})
        assert _names(out) == []
    with pytest.raises(UserError, match="cannot read absent"):
        _unpack([tmp_path / "absent"], {"a.pt": out / "a.pt"})
