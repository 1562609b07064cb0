"""Downloads go on where they ended, take no more than they may, and leave what can be gone on with."""

import json
import threading
import time
import types

import pytest

from gan2shape_jax.apps.get import parts, transfer
from gan2shape_jax.apps.get.transfer import Patience, Wanted, download
from gan2shape_jax.errors import DiskFullError, UserError

_CONTENT = bytes(range(1, 256)) * 4000  # a megabyte
_CHUNK = 2**14  # bytes; what has come of a chunk when a connection breaks is lost
_HASTE = Patience(connect=2, silence=0.4, pauses=(0.01, 0.01))


@pytest.fixture
def part(tmp_path):
    return tmp_path / "file.pkl.part"


def _download(url, part, *, size=None, most=2**22, checked=True, patience=_HASTE, **options):
    download(Wanted(url, part, size, most, checked), patience=patience, **options)
    return part.read_bytes()


def test_a_file_comes_as_it_is_and_progress_is_told(server, part):
    told = []
    url = server.add("/a.pkl", _CONTENT)
    assert _download(url, part, size=len(_CONTENT), report=lambda *done: told.append(done)) == _CONTENT
    assert told[0] == (0, len(_CONTENT)) and told[-1] == (len(_CONTENT), len(_CONTENT))
    assert server.ranges() == [""]
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("announced", ["true", None])
@pytest.mark.parametrize("checked", [True, False])
def test_cut_connections_are_taken_up_by_range(server, part, announced, checked):
    url = server.add("/a.pkl", _CONTENT, cuts=[18 * _CHUNK, 0, _CHUNK, 6 * _CHUNK], announced=announced)
    size = len(_CONTENT) if announced is None else None  # where nothing is announced, somebody has to know the length
    assert _download(url, part, size=size, checked=checked) == _CONTENT
    assert server.ranges() == ["", *(f"bytes={n * _CHUNK}-" for n in (18, 18, 19, 25))]
    assert all(headers["If-Range"] == '"one"' for _, headers in server.asked[1:])


def test_a_server_without_ranges_starts_anew(server, part):
    url = server.add("/a.pkl", _CONTENT, ranges=False, cuts=[18 * _CHUNK])
    assert _download(url, part) == _CONTENT
    assert server.ranges() == ["", f"bytes={18 * _CHUNK}-"]


def test_a_part_of_an_earlier_process_is_gone_on_with(server, part):
    url = server.add("/a.pkl", _CONTENT, cuts=[18 * _CHUNK, 0, 0, 0])
    with pytest.raises(UserError, match="0.3 MiB of it are kept"):
        _download(url, part)
    assert part.read_bytes() == _CONTENT[: 18 * _CHUNK]
    server.files["/a.pkl"].cuts.clear()
    assert _download(url, part) == _CONTENT
    assert server.ranges()[-1] == f"bytes={18 * _CHUNK}-"
    asked = len(server.asked)
    assert _download(url, part) == _CONTENT and len(server.asked) == asked  # whole: nothing is asked for


def test_another_version_of_the_file_is_not_put_behind_the_first(server, part):
    url = server.add("/a.pkl", _CONTENT, cuts=[18 * _CHUNK, 0, 0, 0])
    with pytest.raises(UserError):
        _download(url, part)
    other = bytes(reversed(_CONTENT))
    server.add("/a.pkl", other, etag='"two"')
    assert _download(url, part) == other


def test_a_longer_version_without_marks_is_noticed(server, part):
    url = server.add("/a.pkl", _CONTENT, cuts=[18 * _CHUNK, 0, 0, 0], etag="")
    with pytest.raises(UserError):
        _download(url, part)
    server.add("/a.pkl", b"x" * 2_000_000, etag="")
    assert _download(url, part) == b"x" * 2_000_000


def test_without_marks_and_hash_nothing_is_gone_on_with(server, part):
    url = server.add("/a.pkl", _CONTENT, cuts=[18 * _CHUNK], etag="")
    assert _download(url, part, checked=False) == _CONTENT
    assert server.ranges() == ["", ""]
    weak = server.add("/b.pkl", _CONTENT, cuts=[18 * _CHUNK], etag='W/"one"')
    parts.discard(part)
    assert _download(weak, part, checked=False) == _CONTENT
    assert server.ranges()[2:] == ["", ""]


def test_a_part_of_another_address_or_without_its_record_is_dropped(server, part):
    url, other = server.add("/a.pkl", _CONTENT), server.add("/b.pkl", _CONTENT[::-1])
    _download(url, part)
    assert _download(other, part) == _CONTENT[::-1]
    for record in ("{", "[]", '{"url": 3}', json.dumps({"url": url, "etag": "é\n", "modified": "", "total": None})):
        part.write_bytes(b"x" * 100)
        part.with_name(f"{part.name}.json").write_text(record)
        assert _download(url, part) == _CONTENT
    part.write_bytes(b"x" * 100)
    part.with_name(f"{part.name}.json").unlink()
    assert _download(url, part) == _CONTENT


def test_more_bytes_than_the_file_has_are_dropped(server, part):
    url = server.add("/a.pkl", _CONTENT)
    _download(url, part)
    part.write_bytes(_CONTENT + b"more")
    assert _download(url, part) == _CONTENT


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_is_told_at_once(server, part, status):
    url = server.add("/a.pkl", b"gone", status=status)
    with pytest.raises(UserError, match=f"no such file .status {status}"):
        _download(url, part)
    assert len(server.asked) == 1 and not part.exists()


@pytest.mark.parametrize("status, told", [(403, "refuses .status 403"), (400, "status 400"), (204, "status 204")])
def test_other_refusals_are_told_at_once(server, part, status, told):
    with pytest.raises(UserError, match=told):
        _download(server.add("/a.pkl", b"", status=status), part)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [503, 500, 429])
def test_busy_servers_are_asked_again(server, part, status):
    with pytest.raises(UserError, match=f"just now .status {status}"):
        _download(server.add("/a.pkl", b"", status=status), part)
    assert len(server.asked) == 3


def test_no_server_is_told_with_what_to_do(part):
    with pytest.raises(UserError, match="127.0.0.1 cannot be reached .*refused.*--from"):
        _download("http://127.0.0.1:1/a.pkl", part)


@pytest.mark.parametrize("announced", [5_000_000, None])
def test_no_more_than_the_limit_is_taken(server, part, announced):
    url = server.add("/a.pkl", b"x" * 5_000_000, announced=announced)
    with pytest.raises(UserError, match="announces 5,000,000 bytes|sends more than the 3,000,000 bytes"):
        _download(url, part, most=3_000_000)
    assert not part.exists()


def test_another_length_than_published_is_refused_before_it_comes(server, part):
    url = server.add("/a.pkl", _CONTENT)
    with pytest.raises(UserError, match="a file of 1,020,000 bytes, where 999 are expected"):
        _download(url, part, size=999)
    assert not part.exists()


def test_a_server_that_announces_less_than_it_sends_gives_what_it_announced(server, part):
    url = server.add("/a.pkl", _CONTENT, announced=500_000)
    assert _download(url, part) == _CONTENT[:500_000]  # whose hash is then another
    parts.discard(part)
    with pytest.raises(UserError, match="a file of 500,000 bytes"):
        _download(url, part, size=len(_CONTENT))


def test_a_server_that_announces_more_than_it_sends_is_given_up(server, part):
    url = server.add("/a.pkl", _CONTENT, announced=len(_CONTENT) + 5)
    with pytest.raises(UserError, match="another than the one that was begun|are kept"):
        _download(url, part, most=2**22)
    assert len(server.asked) < 10


def test_silence_counts_as_a_cut(server, part):
    begin = time.monotonic()
    url = server.add("/a.pkl", _CONTENT, stall=20)
    with pytest.raises(UserError, match="of it are kept|timed out"):
        _download(url, part, patience=Patience(2, 0.2, (0.01,)))
    assert time.monotonic() - begin < 10


def test_slow_servers_are_waited_for(server, part):
    url = server.add("/a.pkl", _CONTENT, stall=0.3)
    assert _download(url, part, patience=Patience(2, 5, ())) == _CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "content, headers",
    [
        (b"\n <!DOCTYPE html><html>Google Drive can't scan this file", {}),
        (b"<html>", {"Content-Type": "application/octet-stream"}),
        (b"\x80\x04.", {"Content-Type": "text/html; charset=utf-8"}),
    ],
)
def test_web_pages_in_place_of_the_file_are_told(server, part, content, headers):
    with pytest.raises(UserError, match="a web page .HTML. in place of the file.*browser.*--from"):
        _download(server.add("/a.pkl", content, headers=headers), part)
    assert not part.exists()


def test_compressed_answers_are_refused(server, part):
    with pytest.raises(UserError, match="compressed"):
        _download(server.add("/a.pkl", _CONTENT, headers={"Content-Encoding": "gzip"}), part)


def test_another_rest_than_was_asked_for_is_refused(server, part):
    url = server.add("/a.pkl", _CONTENT, cuts=[18 * _CHUNK], shift=7)
    with pytest.raises(UserError, match="another part of the file"):
        _download(url, part)


def test_redirections_are_followed_and_looked_at(server, part):
    target = server.add("/b.pkl", _CONTENT)
    for n, location in enumerate((target, "/b.pkl", "b.pkl")):
        url = server.add(f"/{n}", status=302, headers={"Location": location})
        assert _download(url, part) == _CONTENT
        parts.discard(part)


@pytest.mark.parametrize(
    "location, told",
    [
        ("file:///etc/passwd", "only https"),
        ("ftp://127.0.0.1/a", "only https"),
        ("http://example.invalid/a", "only https"),
        ("https://user:secret@example.invalid/a", "name or password"),
        ("data:,x", "only https"),
        ("/round", "more than 10 times"),
    ],
)
def test_redirections_elsewhere_are_refused(server, part, location, told):
    server.add("/round", status=301, headers={"Location": "/round"})
    with pytest.raises(UserError, match=told):
        _download(server.add("/a.pkl", status=302, headers={"Location": location}), part)
    assert not part.exists()


def test_a_full_disk_is_told_before_and_while_it_is_written(server, part, monkeypatch):
    url = server.add("/a.pkl", _CONTENT)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=2**20))
    with pytest.raises(DiskFullError, match="1 MiB are to come and 1 MiB are free.*--folder"):
        _download(url, part)
    monkeypatch.undo()
    written = []

    def full(file, chunk):
        if written:
            raise OSError(28, "No space left on device")
        written.append(file.write(chunk[:1000]))

    monkeypatch.setattr(transfer, "_write", full)
    with pytest.raises(DiskFullError, match="the disk is full"):
        _download(server.add("/b.pkl", _CONTENT * 2), part)
    assert part.read_bytes() == _CONTENT[:1000]  # what there is of it is kept


def test_ctrl_c_leaves_what_has_come(server, part):
    url = server.add("/a.pkl", _CONTENT)

    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _download(url, part, report=interrupt)
    begun = part.read_bytes()
    assert 0 < len(begun) and _CONTENT.startswith(begun)
    assert _download(url, part) == _CONTENT


def test_a_file_of_no_bytes(server, part):
    assert _download(server.add("/a.pkl", b""), part) == b""


def test_many_connections_that_bring_little_each_end(server, part, monkeypatch):
    monkeypatch.setattr(transfer, "_CONNECTIONS", 12)
    url = server.add("/a.pkl", _CONTENT, cuts=[_CHUNK] * 50)
    with pytest.raises(UserError, match="after 12 connections it is not whole"):
        _download(url, part)


def test_nothing_of_this_stays_running(server, part):
    _download(server.add("/a.pkl", _CONTENT), part)
    assert not [thread for thread in threading.enumerate() if "pooch" in thread.name.lower()]
