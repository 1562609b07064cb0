"""Zip archives that lie about their entries, and files of the older format about their parts."""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator

from helpers.hostile.forms import Legacy, Zip, legacy_file
from helpers.hostile.opcodes import BEGIN, integer, named, text

__all__ = ["legacy_cases", "zip_cases"]

_BODY = BEGIN + b"}."
_DATA = "archive/data.pkl"


def _archive(*entries: tuple[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def _listed(name: bytes, size: int, offset: int, crc: int = 0, extra: bytes = b"") -> bytes:
    """An entry of the directory."""
    numbers = (20, 20, 0, 0, 0, 0, crc, size, size, len(name), len(extra), 0, 0, 0, 0, offset)
    return struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", *numbers) + name + extra


def _local(name: bytes, content: bytes) -> bytes:
    """An entry with the head that stands before it."""
    numbers = (20, 0, 0, 0, 0, zlib.crc32(content), len(content), len(content), len(name), 0)
    return struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *numbers) + name + content


def _end(count: int, size: int, offset: int) -> bytes:
    return struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, min(count, 65535), min(count, 65535), size, offset, 0)


def _with_directory(body: bytes, directory: bytes, count: int) -> bytes:
    return body + directory + _end(count, len(directory), len(body))


def zip_cases() -> Iterator[tuple[str, bytes]]:
    honest = Zip()
    whole = honest.file(named({"a": honest.tensor((4,))}))
    yield from _entries(whole)
    yield from _directories(whole)
    yield from _places()
    for step in range(1, 10):
        yield f"cut-{step}", whole[: len(whole) * step // 10]
        yield f"cut-front-{step}", whole[len(whole) * step // 10 :]


def _entries(whole: bytes) -> Iterator[tuple[str, bytes]]:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"bomb-{method}", _archive((_DATA, b"N" * 10**6 + b"."), compress=method)
        yield f"bomb-beside-{method}", _archive((_DATA, _BODY), ("archive/data/0", bytes(10**6)), compress=method)
    for count in (11_000, 60_000):
        names = [f"a/{n}".encode() for n in range(count)]
        body = _local(b"archive/data.pkl", _BODY)
        listed = b"".join(_listed(name, 0, 0) for name in names)
        yield f"entries-{count}", _with_directory(body, listed, count)
    yield "million", _with_directory(b"PK\x03\x04" + bytes(26), _listed(b"", 0, 0) * 10**6, 10**6)
    for names in ([_DATA] * 2, [_DATA, "b/data.pkl"], ["archive/other"], ["data.pkl"], ["a/b/data.pkl"], [_DATA] * 500):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield f"names-{len(names)}-{names[-1]}", _archive(*((name, _BODY) for name in names))
    for name in ("../../escape", "/etc/passwd", "archive/../x", "C:\\x", "archive/data/../../x", "a\x00b"):
        yield f"path-{name!r}", _archive((_DATA, BEGIN + b"N."), (name, b"x"))
    for order in (b"big", b"", b"little " * 10**5):
        yield f"order-{len(order)}", _archive((_DATA, _BODY), ("archive/byteorder", order))


def _directories(whole: bytes) -> Iterator[tuple[str, bytes]]:
    at = whole.rindex(b"PK\x05\x06")
    for field, width, values in (
        (8, 2, (0, 1, 65535)),
        (10, 2, (0, 65535)),
        (12, 4, (0, 1, 2**31, 2**32 - 1)),
        (16, 4, (0, 1, 2**31, 2**32 - 1)),
        (20, 2, (1, 65535)),
    ):
        for value in values:
            changed = bytearray(whole)
            changed[at + field : at + field + width] = value.to_bytes(width, "little")
            yield f"end-{field}-{value}", bytes(changed)
    listed = whole.index(b"PK\x01\x02")
    for field, width, values in (
        (20, 4, (1, 2**31, 2**32 - 1)),
        (24, 4, (1, 2**31, 2**32 - 1)),
        (42, 4, (1, 2**31, 2**32 - 1)),
    ):
        for value in values:
            changed = bytearray(whole)
            changed[listed + field : listed + field + width] = value.to_bytes(width, "little")
            yield f"directory-{field}-{value}", bytes(changed)
    for size in (2**31, 2**40, 2**62, 2**64 - 1):
        body = _local(_DATA.encode(), _BODY)
        extra = struct.pack("<HHQQQ", 1, 24, size, size, 0)
        entry = _listed(_DATA.encode(), 2**32 - 1, 2**32 - 1, extra=extra)
        yield f"zip64-entry-{size}", _with_directory(body, entry, 1)
        end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, size, size, size, size)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(body), 1)
        yield f"zip64-end-{size}", body + end64 + locator + _end(65535, 2**32 - 1, 2**32 - 1)


def _places() -> Iterator[tuple[str, bytes]]:
    """Entries that share their bytes."""
    content = bytes(10**5)
    body = _local(_DATA.encode(), _BODY)
    shared = _local(b"archive/data/0", content)
    crc = zlib.crc32(content)
    for count in (2, 100, 5000):
        listed = _listed(_DATA.encode(), len(_BODY), 0, zlib.crc32(_BODY))
        listed += b"".join(_listed(f"archive/data/{n}".encode(), len(content), len(body), crc) for n in range(count))
        yield f"overlap-{count}", _with_directory(body + shared, listed, count + 1)
    nested = _listed(_DATA.encode(), len(_BODY), 0, zlib.crc32(_BODY))
    for shift in (1, 30, 60):
        entry = _listed(b"archive/data/0", len(content) - shift, len(body) + shift)
        yield (
            f"within-{shift}",
            _with_directory(body + shared, nested + _listed(b"x", len(content), len(body)) + entry, 3),
        )


def legacy_cases() -> Iterator[tuple[str, bytes]]:
    honest = Legacy()
    whole = honest.file(named({"a": honest.tensor((4,)), "b": honest.tensor((3,))}))
    for step in range(1, 20):
        yield f"cut-{step}", whole[: len(whole) * step // 20]
    for count in (3, 5, 2**31, 2**62, -1):
        changed = whole.replace(struct.pack("<q", 4), struct.pack("<q", count))
        yield f"count-{count}", changed
    for keys in (b"]", b"]" + text("0") + b"a", b"](" + (text("0") + b"2") * 500 + b"e", b"N", b"}", integer(1)):
        yield f"keys-{len(keys)}-{keys[:1].hex()}", whole.replace(b"]" + text("0") + b"a" + text("1") + b"a", keys)
    long = text("k" * 10**5)
    yield "keys-long", legacy_file(b"N", {})[: -len(BEGIN + b"].")] + BEGIN + b"](" + long + b"2" * 10**5 + b"e."
    for version in (0, 1002, 2**70):
        yield f"version-{version}", whole.replace(integer(1001), integer(version))
    for repeated in (2, 100):
        yield f"preambles-{repeated}", whole[: whole.index(BEGIN + b"}(")] * repeated
    yield "two-kinds", whole.replace(b"cpu", b"gpu").replace(text("1"), text("0"))
