"""TIFF files made to do harm: sides, methods, tables and entries that announce what is not there, or too much."""

import struct
from collections.abc import Iterator

from helpers.hostile_pngs import zeros
from helpers.saved_pictures import mutated as _mutated
from helpers.saved_pictures import saved as _saved

__all__ = ["tiffs"]

_MIB = 2**20


def tiff(entries: dict[int, tuple[int, int, int]], pixels: bytes = b"", *, next: int = 0, more: bytes = b"") -> bytes:
    """Returns a TIFF file: type, count and value of entries by tag; pixels from offset 8 on, then the table."""
    table = b"".join(
        struct.pack("<HHII", tag, kind, count, value & 0xFFFFFFFF)
        for tag, (kind, count, value) in sorted(entries.items())
    )
    at = 8 + len(pixels)
    count = struct.pack("<H", len(entries) + len(more) // 12)
    return b"II*\0" + struct.pack("<I", at) + pixels + count + table + more + struct.pack("<I", next)


def _form(width: int = 64, height: int = 64, method: int = 1, samples: int = 1, length: int = 4096, **more) -> dict:
    return {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, method),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, samples),
        278: (4, 1, height),
        279: (4, 1, length),
    }


def tiffs() -> Iterator[tuple[str, bytes]]:
    """Yields files by a description."""
    plain = bytes(4096)
    for width, height in ((0, 0), (0, 64), (2**32 - 1, 2**32 - 1), (8193, 1), (8192, 8192), (2**31, 1)):
        yield f"TIFF sides {width} {height}", tiff(_form(width, height), plain)
    for method in (
        0,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        99,
        32_773,
        32_946,
        34_661,
        34_712,
        34_887,
        34_925,
        50_000,
        50_001,
        50_002,
        65_535,
    ):
        yield f"TIFF method {method}", tiff(_form(method=method), plain)
    black = zeros(8192 * 8192)
    colours = zeros(6100 * 6100 * 3)
    yield (
        "TIFF large RGB in a strip",
        tiff(_form(6100, 6100, 8, 3, len(colours)) | {258: (3, 1, 8), 262: (3, 1, 2)}, colours),
    )
    yield "TIFF large", tiff(_form(8192, 8192, 8, 1, len(black)), black)
    yield "TIFF unpacked to more", tiff(_form(method=8, length=len(black)), black)
    tiled = {tag: entry for tag, entry in _form(method=8).items() if tag not in (273, 278, 279)}
    tiled |= {324: (4, 1, 8), 325: (4, 1, len(black))}
    for side, kind, count in (
        (2**20, 4, 1),
        (65_520, 4, 1),
        (32_768, 16, 1),
        (8192, 9, 1),
        (64, 3, 2),
        (1, 4, 1),
        (0, 4, 1),
    ):
        yield f"TIFF tiles {side} {kind}", tiff(tiled | {322: (kind, count, side), 323: (kind, count, side)}, black)
    yield "TIFF 3 pages", _saved("TIFF", frames=3)
    yield "TIFF a second table", tiff(_form(), plain, next=8)
    yield "TIFF a table after itself", tiff(_form(), plain, next=8 + 4096)
    for count in (10, 1000, 60_000):
        bomb = b"".join(struct.pack("<HHII", 1000 + i, 7, 4 * _MIB, 8) for i in range(count))
        yield f"TIFF {count} large entries", tiff(_form(), bytes(4 * _MIB), more=bomb)
    yield "TIFF an entry of 4 GiB", tiff(_form() | {700: (1, 2**32 - 1, 8)}, plain)
    yield "TIFF tables inside", tiff(_form() | {0x8769: (4, 1, 4104), 0x8825: (4, 1, 4104)}, plain)
    yield (
        "TIFF a million strips",
        tiff(_form() | {273: (4, 10**6, 8), 279: (4, 10**6, 8), 278: (4, 1, 1)}, bytes(4 * 10**6)),
    )
    yield "TIFF an entry twice", tiff(_form(), plain, more=struct.pack("<HHII", 256, 4, 1, 60_000))
    for tag, entry in {
        "bits 0": (258, (3, 1, 0)),
        "bits 64": (258, (3, 1, 64)),
        "bits 65535": (258, (3, 1, 65_535)),
        "many bits": (258, (3, 60_000, 8)),
        "samples 0": (277, (3, 1, 0)),
        "samples 65535": (277, (3, 1, 65_535)),
        "float sides": (256, (11, 1, 0x42800000)),
        "sides as text": (256, (2, 4, 0x34343434)),
        "negative sides": (256, (9, 1, -64)),
        "two widths": (256, (3, 2, 0x00400040)),
        "no rows": (278, (4, 1, 0)),
        "all rows": (278, (4, 1, 2**32 - 1)),
        "pixels outside": (273, (4, 1, 2**32 - 1)),
        "no pixels": (279, (4, 1, 0)),
        "turned": (274, (3, 1, 6)),
        "turned by 99": (274, (3, 1, 99)),
        "in planes": (284, (3, 1, 2)),
        "predicted": (317, (3, 1, 99)),
        "float pixels": (339, (3, 1, 3)),
        "a palette": (262, (3, 1, 3)),
        "YCbCr": (262, (3, 1, 6)),
        "a type that nobody knows": (300, (99, 1, 0)),
    }.items():
        yield f"TIFF {tag}", tiff(_form() | {entry[0]: entry[1]}, plain)
    yield "TIFF no table", b"II*\0" + struct.pack("<I", 2**32 - 1)
    yield "TIFF nothing", b"II*\0"
    yield "TIFF large form, nothing", b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**64 - 1)
    yield "TIFF large form, 2^60 entries", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60) + bytes(99)
    for cut in (9, 100, 4000, 4110, 4150):
        yield f"TIFF cut at {cut}", tiff(_form(), plain)[:cut]
    yield from _mutated("TIFF", tiff(_form(), plain)[:8] + tiff(_form(), plain)[8:], 25, 4200, 4100)
    yield from _mutated("TIFF packed", _saved("TIFF", compression="tiff_lzw"), 25)
