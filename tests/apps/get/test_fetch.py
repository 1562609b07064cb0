"""What is downloaded: the table is in order, no other file is left in place, of archives only what is needed."""

import gzip
import hashlib
import io
import os
import pathlib
import re
import tarfile
import zlib

import pytest

from gan2shape_jax.apps.get import ENTRIES, FOUND, MEMBERS, SOURCES, Source, fetch, unpack
from gan2shape_jax.config import flatten, load_config, names
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
    path = fetch(source, tmp_path / "new")
    assert path.read_bytes() == _CONTENT and _names(path.parent) == ["a.pkl"]
    assert fetch(source, path.parent) == path and len(servers.requested) == 2
    assert "downloading a.pkl" in capsys.readouterr().err


def test_another_file_than_published_is_not_kept_and_the_right_one_is_then_fetched(servers, tmp_path):
    source = Source(servers.add(_URL, _CONTENT[::-1]), "a.pkl", "A", _HASH)
    with pytest.raises(UserError, match=f"not the published file.*{_HASH}.*nothing of it is kept"):
        fetch(source, tmp_path)
    assert _names(tmp_path) == []
    servers.add(_URL, _CONTENT)
    fetch(source, tmp_path).write_bytes(b"changed")
    assert fetch(source, tmp_path).read_bytes() == _CONTENT


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_a_server_is_said(servers, tmp_path, status):
    with pytest.raises(UserError, match=f"{status}.*have never tried this address: .*name it with --from"):
        fetch(Source(servers.add(_URL, status=status), "a.pkl", "A"), tmp_path)


def test_what_servers_do_not_give_is_said_and_nothing_is_left(servers, tmp_path):
    with pytest.raises(UserError, match="file:///etc/passwd"):
        fetch(Source(servers.add(_URL, status=302, Location="file:///etc/passwd"), "a.pkl", "A"), tmp_path)
    assert _names(tmp_path) == []


_A, _B = os.urandom(200_000), b"b" * 5000


def _archive(folder, *members, count=4):
    """Returns the paths of an archive's parts, with files of (name, content, type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    content = gzip.compress(buffer.getvalue())
    step = -(-len(content) // count)
    paths = [folder / f"x{n:02}" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(content[n * step : (n + 1) * step])
    return [str(path) for path in paths]


@pytest.mark.parametrize("count, prefix", [(1, ""), (4, "./"), (9, "")])
def test_only_the_named_files_of_an_archive_are_written_under_our_names(tmp_path, count, prefix):
    out = tmp_path / "out"
    out.mkdir()
    long = "checkpoints/" + "very/" * 40 + "long.pt"  # has a header of its own
    members = [(f"{prefix}checkpoints/a.pt", _A), (f"{prefix}checkpoints/other.pt", _B), (prefix + long, _B)]
    members += [("../climbed", _B), (str(tmp_path / "absolute"), _B)]
    parts = _archive(tmp_path, *((name, content, tarfile.REGTYPE) for name, content in members), count=count)
    unpack(parts, ["checkpoints/a.pt", long], str(out))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"a.pt": _A, "long.pt": _B}
    assert not (tmp_path / "climbed").exists() and not (tmp_path / "absolute").exists()
    with pytest.raises(UserError, match="lacks b.pt; it has "):
        unpack(parts, ["b.pt", long], str(out))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_devices_and_folders_in_an_archive_are_refused(tmp_path, kind):
    with pytest.raises(UserError, match="a.pt: it is not a plain file in the archive"):
        unpack(_archive(tmp_path, ("a.pt", b"", kind)), ["a.pt"], str(tmp_path))


def test_links_devices_folders_and_damaged_archives_are_refused(tmp_path):
    (path,) = _archive(tmp_path, ("a.pt", _A, tarfile.REGTYPE), count=1)
    whole = pathlib.Path(path).read_bytes()
    wrong = bytearray(whole)
    wrong[-6] ^= 0xFF  # of the checksum
    for content in (whole[: len(whole) // 2], bytes(wrong), b"no archive", b"", _A, gzip.compress(_A)):
        pathlib.Path(path).write_bytes(content)
        with pytest.raises((UserError, OSError, EOFError, tarfile.TarError, zlib.error)):
            unpack([path], ["a.pt"], str(tmp_path))


def test_entries_are_in_order():
    fields, addresses = flatten(load_config("base")), dict[str, str]()
    for name, entry in ENTRIES.items():
        assert entry.name == name and re.fullmatch(r"[a-z0-9-]+", name) and entry.title
        for source in entry.sources:
            assert source.url.startswith("https://") and re.fullmatch(r"[\w.-]+", source.file)
            assert re.fullmatch(r"[0-9a-f]{64}|", source.sha256) and 0 < (source.size or 1) < 2**32
            assert set(source.found.split(", ")) <= set(FOUND)
            assert addresses.setdefault(source.file, source.url) == source.url
        there = set(MEMBERS) if entry.archived else {source.file for source in entry.sources}
        for product in entry.gives:
            assert product.field in fields and set(product.made_of) <= there
            assert product.file.endswith((".safetensors", ".pth"))
            assert pathlib.PurePath(product.file).name == product.file
        assert len({product.file for product in entry.gives}) == len(entry.gives)
        assert entry.config in ("", *(f"{name}:published" for name in names())) and set(entry.also) <= set(ENTRIES)
        assert entry.licence["url"].startswith("https://")
    used = {letter for entry in ENTRIES.values() for source in entry.sources for letter in source.found.split(", ")}
    assert used == set(FOUND)
    assert set(SOURCES) == {source.file for entry in ENTRIES.values() for source in entry.sources}
    assert len({pathlib.PurePosixPath(member).name for member in MEMBERS}) == len(MEMBERS)


@pytest.mark.parametrize("name", ["celeba", "cat", "car", "church", "synface"])
def test_a_configuration_names_the_files_that_get_writes(name):
    entry, config = ENTRIES[name], flatten(load_config(f"{name}:published"))
    product = {product.field: product.file for product in entry.gives}
    product |= {product.field: product.file for other in entry.also for product in ENTRIES[other].gives}
    needed = {field: path for field, path in config.items() if str(path).startswith("checkpoints/")}
    assert {field: pathlib.PurePosixPath(path).name for field, path in needed.items()} == product


def test_what_a_configuration_calls_its_files_is_what_it_gets():
    horse = load_config("horse:published").gan.checkpoint
    assert pathlib.PurePosixPath(horse).name == ENTRIES["horse"].gives[0].file
