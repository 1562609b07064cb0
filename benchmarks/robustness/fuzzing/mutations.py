"""Mutations of files that are likely to reach new code: bytes, pieces, and the words of each format."""

import random
import struct
import zlib
from collections.abc import Sequence

__all__ = ["mutated"]

_LARGEST = 256 * 1024  # bytes of what is made

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 8191, 8192, 8193, 16_384, 32_767, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = {
    "picture": [b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"zTXt", b"iCCP", b"IEND"]
    + [bytes((0xFF, code)) for code in (0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xD8, 0xD9, 0xE0, 0xE1, 0xE2, 0xFE)]
    + [b"Exif\0\0", b"MPF\0", b"II*\0", b"MM\0*", b"VP8X", b"VP8L", b"VP8 ", b"ANMF", b"!\xfe", b"!\xf9", b",", b"P6 "],
    "npy": [
        b"'<f4'",
        b"'>f8'",
        b"'|O'",
        b"'<c8'",
        b"(512,)",
        b"(1, 512)",
        b"()",
        b"True",
        b"False",
        b"{",
        b"}",
        b"'shape': ",
    ],
    "npz": [
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"mean.npy",
        b"cov.npy",
        b"\x08\x00",
        b"\x63\x00",
    ],
    "text": [
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b'"',
        b"'",
        b"&a",
        b"*a",
        b"<<",
        b"!!int",
        b"- ",
        b"? ",
        b"|",
        b">",
        b"#",
    ]
    + [
        b"\n",
        b" ",
        b"1e999",
        b"NaN",
        b"0x",
        b"1:1",
        b"null",
        b"true",
        b"\\u0000",
        b"\xff",
        b"\xef\xbb\xbf",
        b".png",
        b"../",
    ],
}


def mutated(content: bytes, kind: str, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns a file with one or more changes.

    Args:
        content: the file to start from.
        kind: the format whose words are inserted: picture, npy, npz or text.
        others: files from which pieces are inserted.
        draw: the random number generator.
    """
    raw = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5, 10))):
        _change(raw, kind, others, draw)
    del raw[_LARGEST:]
    if raw[:8] == b"\x89PNG\r\n\x1a\n" and draw.random() < 0.8:
        return _with_checksums(bytes(raw))
    return bytes(raw)


def _change(raw: bytearray, kind: str, others: Sequence[bytes], draw: random.Random) -> None:
    at = draw.randrange(len(raw) + 1)
    if draw.random() < 0.5:  # headers matter most
        at = min(at, draw.randrange(1, 200))
    length = min(len(raw) - at, draw.choice((1, 2, 4, 8, 30, 300)))
    match draw.randrange(9):
        case 0:
            raw[at : at + 1] = bytes((draw.randrange(256),))
        case 1:
            raw[at : at + 1] = bytes(byte ^ 1 << draw.randrange(8) for byte in raw[at : at + 1])
        case 2:
            form = draw.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
            size = struct.calcsize(form)
            raw[at : at + size] = struct.pack(form, draw.choice(_NUMBERS) % 2 ** (8 * size))
        case 3:
            del raw[at : at + length]
        case 4:
            raw[at:at] = raw[at : at + length] * draw.choice((1, 2, 50, 1000))
        case 5:
            word = draw.choice(_WORDS[kind])
            raw[at : at + draw.choice((0, len(word)))] = word
        case 6:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            raw[at : at + draw.choice((0, length))] = other[start : start + length]
        case 7:
            del raw[at:]
        case _:
            raw[at:at] = draw.randbytes(length)


def _with_checksums(raw: bytes) -> bytes:
    """Returns a PNG file whose chunks have valid checksums, so that the decoder reads them."""
    whole, at = bytearray(raw), 8
    while at + 12 <= len(whole):
        end = at + 8 + int.from_bytes(whole[at : at + 4], "big")
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = struct.pack(">I", zlib.crc32(whole[at + 4 : end]))
        at = end + 4
    return bytes(whole)
