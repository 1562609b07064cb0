"""Of an archive only the wanted plain files are written, under our own names; nothing in it takes memory for ever."""

import gzip
import io
import os
import tarfile

import pytest

from gan2shape_jax.apps.get.archive import unpack
from gan2shape_jax.errors import UserError


def _member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, io.BytesIO(content)


def _archive(*members, level=6):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, content)
    return gzip.compress(buffer.getvalue(), level)


def _cut(folder, content, count=4):
    """The archive's bytes as so many files."""
    step = -(-len(content) // count)
    paths = [folder / f"x{n:02}" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(content[n * step : (n + 1) * step])
    return paths


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


_A, _B = os.urandom(200_000), b"b" * 5000


@pytest.mark.parametrize("count", [1, 2, 4, 9])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_wanted_files_are_written_and_no_others(tmp_path, out, count, prefix):
    long = prefix + "checkpoints/" + "very/" * 40 + "long.pt"  # has a header of its own
    content = _archive(
        _member(f"{prefix}checkpoints", type=tarfile.DIRTYPE),
        _member(f"{prefix}checkpoints/a.pt", _A),
        _member(f"{prefix}checkpoints/other.pt", _B),
        _member(long, _B),
    )
    wanted = {"checkpoints/a.pt": out / "mine.pt", long.removeprefix("./"): out / "long.pt"}
    assert unpack(_cut(tmp_path, content, count), wanted, most=2**20) == []
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"mine.pt": _A, "long.pt": _B}


def test_what_it_lacks_is_returned_and_where_it_lacks_all_it_is_told(tmp_path, out):
    paths = _cut(tmp_path, _archive(_member("a.pt", _B)))
    assert unpack(paths, {"a.pt": out / "a.pt", "b.pt": out / "b.pt"}, most=2**20) == ["b.pt"]
    with pytest.raises(UserError, match="has none of b.pt; it has a.pt"):
        unpack(paths, {"b.pt": out / "b.pt"}, most=2**20)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.DIRTYPE},
    ],
)
def test_wanted_names_that_are_no_plain_files_are_refused(tmp_path, out, fields):
    paths = _cut(tmp_path, _archive(_member("a.pt", **fields)))
    with pytest.raises(UserError, match="a.pt: in the archive it is no plain file"):
        unpack(paths, {"a.pt": out / "a.pt"}, most=2**20)
    assert list(out.iterdir()) == []


def test_names_that_climb_write_nothing(tmp_path, out):
    content = _archive(_member("../climbed", _B), _member("/tmp/absolute-climbed", _B), _member("a.pt", _B))
    unpack(_cut(tmp_path, content), {"a.pt": out / "a.pt"}, most=2**20)
    assert not (tmp_path / "climbed").exists() and not os.path.exists("/tmp/absolute-climbed")


def test_files_beyond_the_limit_are_refused(tmp_path, out):
    paths = _cut(tmp_path, _archive(_member("a.pt", bytes(3 * 2**20))))
    with pytest.raises(UserError, match="no plain file of at most 2 MiB"):
        unpack(paths, {"a.pt": out / "a.pt"}, most=2 * 2**20)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE, b"Z"])
def test_headers_that_would_fill_the_memory_are_refused(tmp_path, out, kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 2**40
    content = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    with pytest.raises(UserError, match="the archive is refused"):
        unpack(_cut(tmp_path, content), {"a.pt": out / "a.pt"}, most=2**20)


def test_maps_of_holes_are_refused(tmp_path, out):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info, content = _member("a.pt", b"9\n" * 300)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.pt"}
        archive.addfile(info, content)
    with pytest.raises(UserError, match="a file with holes"):
        unpack(_cut(tmp_path, gzip.compress(buffer.getvalue())), {"a.pt": out / "a.pt"}, most=2**20)


def test_an_archive_without_an_end_is_given_up(tmp_path, out):
    info = tarfile.TarInfo("huge")
    info.size = 2**50
    content = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    with pytest.raises(UserError, match="unpacks to more than any archive of weights has"):
        unpack(_cut(tmp_path, content), {"a.pt": out / "a.pt"}, most=2**20)


def test_damage_is_told_and_leaves_no_half_file(tmp_path, out):
    content = _archive(_member("a.pt", _A))
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 0xFF
    for broken in (content[: len(content) // 2], bytes(damaged), b"no archive", b"", _A, gzip.compress(_A)):
        with pytest.raises(UserError, match="x00.*(damaged, truncated|has none of)"):
            unpack(_cut(tmp_path, broken), {"a.pt": out / "a.pt"}, most=2**20)
        assert not [path for path in out.iterdir() if path.name != "a.pt"]
    (out / "a.pt").unlink(missing_ok=True)
    with pytest.raises(UserError, match="cannot read|No such file|damaged"):
        unpack([tmp_path / "absent"], {"a.pt": out / "a.pt"}, most=2**20)
