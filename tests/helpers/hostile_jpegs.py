"""JPEG files that somebody made to do harm, and honest ones that went wrong."""

import io
import random
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from helpers.hostile_pngs import exif_bomb

__all__ = ["jpeg", "jpeg_files", "segment"]

_MIB = 2**20


def segment(code: int, content: bytes, *, length: int | None = None) -> bytes:
    """Returns a part of a JPEG file, whose length need not be true."""
    return bytes((0xFF, code)) + struct.pack(">H", len(content) + 2 if length is None else length) + content


def jpeg(mode: str = "RGB", side: int = 64, **options) -> bytes:
    """Returns an honest file, grey in grey where it is large."""
    if side > 1000:
        picture = Image.new(mode, (side, side), "gray")
    else:
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **options)
    return stream.getvalue()


def _with(whole: bytes, *parts: bytes) -> bytes:
    """Puts parts after the first marker."""
    return whole[:2] + b"".join(parts) + whole[2:]


def _resized(whole: bytes, width: int, height: int, code: int | None = None, precision: int = 8) -> bytes:
    """Overwrites what the frame's header says."""
    raw = bytearray(whole)
    at = next(whole.index(bytes((0xFF, c, 0))) for c in (0xC0, 0xC2) if bytes((0xFF, c, 0)) in whole)
    raw[at + 4 : at + 9] = struct.pack(">BHH", precision, height, width)
    if code is not None:
        raw[at + 1] = code
    return bytes(raw)


def _scan(whole: bytes) -> tuple[int, int]:
    """Returns where the last scan begins and ends."""
    return whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")


def _sizes() -> Iterator[tuple[str, bytes]]:
    base, progressive = jpeg(), jpeg(progressive=True)
    for name, whole in (("", base), ("progressive ", progressive)):
        for width, height in (
            (0, 0),
            (0, 64),
            (64, 0),
            (65_535, 65_535),
            (8193, 8193),
            (8192, 8192),
            (1, 65_535),
            (1, 1),
        ):
            yield f"{name}sides {width} {height}", _resized(whole, width, height)
    yield "large", jpeg(side=8192, quality=20)
    yield "large in many scans", jpeg(side=8192, quality=20, progressive=True)
    yield "large in many scans, whole colours", jpeg(side=8192, quality=20, progressive=True, subsampling=0)
    for code in (0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
        yield f"frame {code:x}", _resized(base, 64, 64, code)
    for precision in (0, 1, 12, 16, 255):
        yield f"{precision} bits", _resized(base, 64, 64, precision=precision)


def _scans() -> Iterator[tuple[str, bytes]]:
    progressive = jpeg(progressive=True)
    start, end = _scan(progressive)
    for count in (50, 70, 5000):
        yield f"{count} scans", progressive[:end] + progressive[start:end] * count + progressive[end:]
    empty = segment(0xDA, b"\x01\x01\x00\x05\x05\x01")
    yield "100000 empty scans", progressive[:end] + empty * 100_000 + progressive[end:]
    yield "empty scans of a large picture", _resized(progressive, 8192, 8192)[:end] + empty * 60 + b"\xff\xd9"
    base = jpeg()
    start, end = _scan(base)
    for name, content in {
        "no components": b"\x00\x00\x3f\x00",
        "one component of three": b"\x01\x01\x00\x00\x3f\x00",
        "a component that is not there": b"\x01\x09\x00\x00\x3f\x00",
        "255 components": b"\xff" + bytes(600),
        "nothing": b"",
    }.items():
        yield f"a scan of {name}", base[:start] + segment(0xDA, content) + base[start + 14 :]
    yield "a second frame", _with(base, segment(0xC0, b"\x08\xff\xff\xff\xff\x01\x01\x11\x00"))
    yield "a second frame after the scan", base[:end] + segment(0xC0, b"\x08\xff\xff\xff\xff\x01\x01\x11\x00") + base
    yield "a frame of nothing", _with(base, segment(0xC0, b""))
    yield "sampled by 15", base.replace(b"\x01\x22\x00", b"\x01\xff\x00")
    yield "sampled by 0", base.replace(b"\x01\x22\x00", b"\x01\x00\x00")
    yield "restarts everywhere", _with(base, segment(0xDD, b"\x00\x01"))


def _parts() -> Iterator[tuple[str, bytes]]:
    base = jpeg()
    exif = b"Exif\0\0"
    parts = {
        "garbage in EXIF": segment(0xE1, exif + random.Random(0).randbytes(5000)),
        "EXIF of nothing": segment(0xE1, exif),
        "EXIF cut": segment(0xE1, exif + b"II*\0"),
        "an EXIF bomb": segment(0xE1, exif + exif_bomb(1000, 50_000)),
        "EXIF that points at itself": segment(0xE1, exif + b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x8769, 4, 1, 8)),
        "EXIF that points outside": segment(0xE1, exif + b"II*\0" + struct.pack("<I", 2**32 - 1)),
        "MPF garbage": segment(0xE2, b"MPF\0" + random.Random(1).randbytes(500)),
        "an MPF bomb": segment(0xE2, b"MPF\0" + exif_bomb(1000, 50_000)),
        "a profile of nothing": segment(0xE2, b"ICC_PROFILE\0\x01\x09"),
        "256 profiles": segment(0xE2, b"ICC_PROFILE\0\x01\xff" + bytes(60_000)) * 255,
        "Photoshop's resources": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\x00\x00\xff\xff\xff\xff"),
        "Adobe's of nothing": segment(0xEE, b"Adobe"),
        "JFIF of nothing": segment(0xE0, b"JFIF"),
        "a long comment": segment(0xFE, bytes(65_000)),
        "100000 comments": segment(0xFE, b"") * 110_000,
        "20 MiB of comments": segment(0xFE, bytes(65_000)) * 330,
        "junk": bytes(3_000_000),
        "filling": b"\xff" * 3_000_000,
        "markers without content": b"\xff\xd8" * 200_000,
        "tables of nothing": segment(0xC4, b"") + segment(0xDB, b""),
        "tables of too much": segment(0xC4, b"\x00" + b"\xff" * 16 + bytes(5000)),
        "a table that nobody knows": segment(0xC4, b"\xff" + bytes(40)) + segment(0xDB, b"\xff" + bytes(64)),
        "a length of nothing": segment(0xFE, b"", length=0),
        "a length of one": segment(0xFE, b"", length=1),
        "a length beyond the end": segment(0xFE, b"", length=65_535),
        "arithmetic": segment(0xCC, b"\x00\x10"),
        "a height to come": segment(0xDC, b"\x00\x40"),
    }
    for name, content in parts.items():
        yield name, _with(base, content)
    bomb = exif_bomb(1000, _MIB)
    pieces = [bomb[i : i + 60_000] for i in range(0, len(bomb), 60_000)]
    yield "an EXIF bomb in pieces", _with(base, *(segment(0xE1, exif + piece) for piece in pieces))
    for cut in (2, 3, 4, 20, 100, 300, 623, 700, len(base) // 2, len(base) - 3, len(base) - 2):
        yield f"cut at {cut}", base[:cut]
    yield "only an end", b"\xff\xd8\xff\xd9"
    yield "two files", base + base
    yield "junk behind", base + bytes(3_000_000)


def jpeg_files() -> dict[str, bytes]:
    """Returns files by a description."""
    files = dict((*_sizes(), *_scans(), *_parts()))
    draw = random.Random(0)
    kinds = [jpeg(), jpeg(progressive=True), jpeg("L"), jpeg("CMYK"), jpeg(subsampling=0, optimize=True)]
    for index in range(60):
        raw = bytearray(draw.choice(kinds))
        for _ in range(draw.choice((1, 1, 4, 16))):
            raw[draw.randrange(min(len(raw), draw.choice((30, 700, 4000))))] = draw.randrange(256)
        files[f"mutated {index}"] = bytes(raw)
    return files
