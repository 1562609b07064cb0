"""Files of NumPy's that somebody made to do harm, and honest ones that went wrong; small on disk, all of them."""

import io
import pathlib
import random
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

__all__ = ["announced", "npy", "npy_files", "npz", "npz_files", "write_files"]


def _header(text: str | bytes, *, version=(1, 0), length: int | None = None) -> bytes:
    """Returns the beginning of a `.npy` file with any text in it."""
    raw = text.encode("latin-1") if isinstance(text, str) else text
    form = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, len(raw) if length is None else length) + raw


def npy(array, **options) -> bytes:
    """Returns an array as NumPy writes it."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), **options)
    return stream.getvalue()


def npz(members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    """Returns an archive as NumPy writes it, of members by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def announced(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    """Returns the header of an array, of which nothing has to be true."""
    return _header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n")


def _headers() -> Iterator[tuple[str, bytes]]:
    """Headers that announce what no reader wants, or that are none."""
    sides = ["(2**63,)", f"({2**63},)", f"({2**62}, {2**62})", "(10000000000,)", "(-512,)", "(1, -1, 512)", "(0,)"]
    sides += ["(512, 0)", "(1, 512000000)", f"({10**17}, 0)", f"(0, {10**17}, {10**17})", "(512.0,)", "(True,)"]
    sides += ["(None,)", "'512'", "512", "[512]", "(512, (1,))", "(" * 90 + "512" + ")" * 90, "(1e3,)", "()", "(,)"]
    sides += [f"({'9' * 3000},)", "(1,) * 10**9", "(0x200,)", "(512L,)"]
    for index, shape in enumerate(sides):
        yield f"shape {index} {shape[:20]}", announced(shape) + bytes(2048)
    kinds = ["'|O'", "'O'", "'<U1000000000'", "'|S0'", "'|V4'", "'<c8'", "'<c16'", "'?'", "'<M8[s]'", "'<m8'", "'<f16'"]
    kinds += [
        "'<f3'",
        "'<i7'",
        "'f4,f4'",
        "''",
        "None",
        "4",
        "[('a', '<f4')]",
        "[('a', '<f4', (10**9,))]",
        "'<f4' * 99",
    ]
    kinds += [
        "{'names': ['a'], 'formats': ['O']}",
        "('<f4', (1000000000,))",
        "'=f4x'",
        "'>f4 '",
        "'" + "f" * 3000 + "'",
    ]
    for index, descr in enumerate(kinds):
        yield f"type {index} {descr[:20]}", announced("(512,)", descr) + bytes(4096)
    texts = [
        "",
        "{",
        "}",
        "{}",
        "[]",
        "()" * 30_000,
        "[" * 60_000,
        "-" * 60_000 + "1",
        "{'shape': (512,)}",
        "\x00" * 99,
    ]
    texts += ["__import__('os').system('touch trace')", "{'descr': '<f4', 'fortran_order': 0, 'shape': (512,)}"]
    texts += ["{'descr': '<f4', 'fortran_order': False, 'shape': (512,), 'more': 1}", "{'descr': '<f4', " * 200]
    texts += ["{'descr': '<f4', 'descr': '|O', 'fortran_order': False, 'shape': (512,)}", "{" + " " * 60_000 + "}"]
    texts += [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (512,)",
        "{'descr':'<f4'}" * 1000,
        "1_0" * 9999,
        "('a'" * 99,
    ]
    for index, text in enumerate(texts):
        yield f"text {index} {text[:20]!r}", _header(text) + bytes(2048)


def _containers() -> Iterator[tuple[str, bytes]]:
    """Lengths, formats and beginnings that do not fit what follows."""
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (512,), }"
    whole = npy(np.zeros(512, np.float32))
    yield "empty", b""
    yield "no magic", b"\x93NUMPX" + whole[6:]
    for version in ((0, 0), (1, 1), (4, 0), (9, 9), (255, 255)):
        yield f"format {version}", b"\x93NUMPY" + bytes(version) + whole[8:]
    yield "a header of 4 GiB", _header(text, version=(2, 0), length=2**32 - 1) + bytes(9000)
    yield "a header of 100 MB", _header(b" " * 100_000_000, version=(2, 0))
    yield "a header of 60 KB", _header(text.ljust(60_000))
    yield "a header of no bytes", _header("") + bytes(2048)
    for cut in (1, 5, 6, 7, 8, 9, 10, 11, 50, 127, 128, 129, 1000, len(whole) - 1):
        yield f"cut at {cut}", whole[:cut]
    yield "a pickle", b"\x80\x04cos\nsystem\n(S'touch trace'\ntR."
    yield "an archive", npz({"latent.npy": whole, "mean.npy": whole})
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(999)
    yield "zeros", bytes(5000)


def _values() -> Iterator[tuple[str, bytes]]:
    """Honest forms of what nothing can be done with."""
    floats: list = [np.full(512, value) for value in (np.nan, np.inf, -np.inf, 1e39, -1e300, 1e30, -3e38)]
    floats += [np.full(512, value, np.float16) for value in (np.nan, np.inf)]
    others = [np.zeros(512, complex), np.zeros(512, bool), np.full(512, "a"), np.full(512, b"a"), np.zeros(())]
    others += [np.zeros((0,)), np.zeros((0, 512)), np.zeros((1, 0, 512)), np.zeros((2, 512)), np.zeros((1, 512, 1))]
    others += [
        np.zeros((1, 1, 1, 512)),
        np.zeros((512, 1)),
        np.zeros((1, 65, 512), np.float16),
        np.zeros(511),
        np.zeros(513),
    ]
    others += [
        np.zeros(512, "M8[s]"),
        np.zeros(512, [("a", "f4")]),
        np.zeros((64, 65)),
        np.zeros((64, 64, 1)),
        np.zeros(0),
    ]
    others += [np.full((64, 64), value) for value in (-1.0, 0.0, np.nan, np.inf, 1e300, 3.0)]
    others += [
        np.full((64, 64), 2**63, np.uint64),
        np.full((64, 64), -5, np.int8),
        np.eye(64) * np.nan,
        np.eye(64) == 1,
    ]
    for index, array in enumerate(floats + others):
        yield f"values {index} {array.dtype} {array.shape}", npy(array)
    yield "objects", npy(np.array([{}, []], dtype=object), allow_pickle=True)


def _mutated(whole: bytes, rounds: int, seed: int) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(seed)
    for index in range(rounds):
        raw = bytearray(whole)
        for _ in range(draw.choice((1, 1, 2, 8))):
            raw[draw.randrange(min(len(raw), 256))] = draw.randrange(256)
        yield f"mutated {index}", bytes(raw)


def npy_files() -> dict[str, bytes]:
    """Returns what is not, or hardly, a latent of 512 numbers or a depth of 64 x 64, by a description."""
    files = dict((*_headers(), *_containers(), *_values()))
    return files | dict(_mutated(npy(np.zeros((1, 512), np.float32)), 60, 0))


def _bomb(size: int) -> bytes:
    """Zeros behind a header of that many bytes of values: thousandths of them on disk."""
    return announced(f"({size // 4},)") + bytes(size)


def _flagged(archive: bytes, offset: int, value: bytes) -> bytes:
    """Overwrites a field of the first member in the list of contents, counted from its signature."""
    start = archive.index(b"PK\x01\x02") + offset
    return archive[:start] + value + archive[start + len(value) :]


def npz_files() -> dict[str, bytes]:
    """Returns what is not, or hardly, statistics of 6 numbers, by a description."""
    mean, cov = npy(np.zeros(6, np.float32)), npy(np.eye(6, dtype=np.float32))
    good = npz({"mean.npy": mean, "cov.npy": cov})
    files = {"a bomb": npz({"mean.npy": _bomb(2**28), "cov.npy": cov})}
    files["bombs beside"] = npz({"mean.npy": mean, "cov.npy": cov, **{f"{i}.npy": _bomb(2**26) for i in range(3)}})
    files["values after the array"] = npz({"mean.npy": mean + bytes(2**26), "cov.npy": cov})
    files["a large archive"] = npz({"mean.npy": mean, "cov.npy": cov, "more": random.Random(0).randbytes(2**21)})
    files["a million bytes of names"] = npz({f"{i}": b"" for i in range(9000)})
    files["other names"] = npz({"means.npy": mean, "cov.npy": cov})
    files["no endings"] = npz({"mean": mean, "cov": cov})
    files["no members"] = npz({})
    files["folders"] = npz({"mean.npy/": b"", "cov.npy": cov})
    files["a .npy"] = mean
    files["a .npy of its own inside"] = npz({"mean.npy": good, "cov.npy": cov})
    for name, method in (("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):
        files[name] = npz({"mean.npy": mean, "cov.npy": cov}, method)
    files["encrypted"] = _flagged(good, 8, b"\x01\x00")
    files["unknown method"] = _flagged(good, 10, b"\x63\x00")
    files["stored, it says"] = _flagged(good, 10, b"\x00\x00")
    files["wrong checksum"] = _flagged(good, 16, b"\x01\x02\x03\x04")
    files["larger than it is"] = _flagged(good, 24, b"\xff\xff\xff\x7f")
    files["offset outside"] = _flagged(good, 42, b"\xff\xff\xff\x7f")
    files["twice"] = good + good
    for cut in (0, 1, 4, 30, 100, len(good) // 2, len(good) - 22, len(good) - 1):
        files[f"cut at {cut}"] = good[:cut]
    for index, (name, content) in enumerate((*_headers(), *_containers())):
        if len(content) < 10**6 and index % 2:
            files[f"inside: {name}"] = npz({"mean.npy": content, "cov.npy": cov})
    for index, value in enumerate((np.nan, np.inf, 1e38, 1e300, -1e7)):
        files[f"means {index}"] = npz({"mean.npy": npy(np.full(6, value)), "cov.npy": cov})
    scales = [np.where(np.eye(6), value, 0) for value in (np.nan, np.inf, 3e38, 1e300, -1.0, 1e7)]
    scales += [
        np.triu(np.ones((6, 6))),
        np.ones((6, 6)) - 2,
        np.eye(6) == 1,
        np.eye(6) * 1j,
        np.eye(4),
        np.zeros(36),
        np.full((6, 6), "a"),
    ]
    for index, array in enumerate(scales):
        files[f"covariances {index}"] = npz({"mean.npy": mean, "cov.npy": npy(array)})
    draw = random.Random(1)
    for index in range(40):
        raw = bytearray(good)
        for _ in range(draw.choice((1, 2, 8))):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        files[f"mutated {index}"] = bytes(raw)
    return files


def write_files(files: dict[str, bytes], folder: pathlib.Path, ending: str) -> dict[str, pathlib.Path]:
    """Writes files and returns their paths by the same descriptions."""
    paths = {name: folder / f"{index:04}{ending}" for index, name in enumerate(files)}
    for name, content in files.items():
        paths[name].write_bytes(content)
    return paths
