"""PNG files that somebody made to do harm, and honest ones that went wrong; at most some hundred kilobytes each."""

import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

__all__ = ["chunk", "exif_bomb", "png", "png_files"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MIB = 2**20


def chunk(name: bytes, content: bytes = b"", *, length: int | None = None, crc: int | None = None) -> bytes:
    """Returns a part of a PNG file, of which the length and the checksum need not be true."""
    check = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content) if length is None else length) + name + content + struct.pack(">I", check)


def zeros(count: int) -> bytes:
    """Returns a zlib stream of so many zeros, made from repeated pieces: a thousandth of them."""
    packer = zlib.compressobj(9)
    start = packer.compress(bytes(_MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(_MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    if count < 2 * _MIB:
        return zlib.compress(bytes(count))
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = rest.compress(bytes(count % _MIB)) + rest.flush()
    return start + piece * (count // _MIB - 1) + end + struct.pack(">I", (count % 65521) << 16 | 1)


def header(width: int, height: int, depth: int = 8, colour: int = 2, *rest: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *(rest or (0, 0, 0))))


def png(*chunks: bytes) -> bytes:
    """Returns a file of these parts and an end."""
    return _SIGNATURE + b"".join(chunks) + chunk(b"IEND")


def black(width: int, height: int, depth: int = 8, colour: int = 2, *rest: int, extra: bytes = b"") -> bytes:
    """Returns a black picture; `extra` are parts before its pixels."""
    row = 1 + (width * depth * _CHANNELS[colour] + 7) // 8
    return png(header(width, height, depth, colour, *rest), extra, chunk(b"IDAT", zeros(row * height)))


def exif_bomb(entries: int, size: int) -> bytes:
    """Returns EXIF data whose entries all point at the same bytes."""
    table = b"".join(struct.pack("<HHII", 1 + i, 7, size, 8) for i in range(entries))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", entries) + table + bytes(4) + bytes(size)


def _honest(mode: str = "RGB", **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "PNG", **options)
    return stream.getvalue()


def _large() -> Iterator[tuple[str, bytes]]:
    """Black squares of 8192 pixels a side in all forms; honest, so they may be read."""
    yield "large RGB of 16 bits", black(8192, 8192, 16, 2)
    yield "large RGBA of 16 bits", black(8192, 8192, 16, 6)
    yield "large grey of 16 bits", black(8192, 8192, 16, 0)
    yield "large palette of 1 bit", black(8192, 8192, 1, 3, extra=chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", bytes(2)))
    yield "large RGB turned", black(8192, 8192, extra=chunk(b"eXIf", _turned(6)))
    yield "large and not square", black(8192, 8191)


def _turned(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, orientation, 0)


def _sizes() -> Iterator[tuple[str, bytes]]:
    sides = [
        (0, 0),
        (0, 64),
        (64, 0),
        (2**31 - 1, 2**31 - 1),
        (2**32 - 1, 1),
        (60_000, 60_000),
        (8193, 8193),
        (8193, 1),
    ]
    sides += [(1, 8193), (2**20, 2**10), (1, 1), (8192, 1), (1, 8192), (1, 2**31 - 1)]
    for width, height in sides:
        yield f"sides {width} {height}", png(header(width, height), chunk(b"IDAT", zeros(4096)))
    for width, colour, depth in ((8192, 2, 8), (8192, 6, 16), (8192, 0, 1), (8192, 6, 8)):
        yield f"short data {colour} {depth}", png(header(width, width, depth, colour), chunk(b"IDAT", zeros(99)))
    for depth in (0, 1, 3, 4, 16, 255):
        for colour in (0, 1, 2, 3, 5, 6, 255):
            yield f"form {depth} {colour}", png(header(64, 64, depth, colour), chunk(b"IDAT", zeros(70_000)))
    for rest in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2), (255, 255, 255)):
        yield f"methods {rest}", png(header(64, 64, 8, 2, *rest), chunk(b"IDAT", zeros(64 * 193)))


def _parts() -> Iterator[tuple[str, bytes]]:
    """Parts that are many, large, unpacked to more, or wrong."""
    whole = black(64, 64)
    body = whole[8:]
    beside = {
        "text bomb": chunk(b"zTXt", b"a\0\0" + zeros(400 * _MIB)),
        "international text bomb": chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(400 * _MIB)),
        "many text bombs": chunk(b"zTXt", b"a\0\0" + zeros(_MIB)) * 200,
        "profile bomb": chunk(b"iCCP", b"a\0\0" + zeros(400 * _MIB)),
        "long text": chunk(b"tEXt", b"a\0" + bytes(17 * _MIB)),
        "many texts": chunk(b"tEXt", b"a\0b") * 150_000,
        "many nothings": chunk(b"abCd") * 200_000,
        "empty text": chunk(b"tEXt"),
        "garbage in EXIF": chunk(b"eXIf", random.Random(0).randbytes(5000)),
        "EXIF bomb": chunk(b"eXIf", exif_bomb(1000, _MIB)),
        "EXIF of many entries": chunk(b"eXIf", exif_bomb(65_535, 60_000)),
        "EXIF in text": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n9\n" + exif_bomb(200, 60_000).hex().encode()),
        "EXIF in text that is none": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n9\nxyz"),
        "an orientation of 99": chunk(b"eXIf", _turned(99)),
        "orientation in XMP": chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation="9"'),
        "density of nothing": chunk(b"pHYs", bytes(9)),
        "short parts": chunk(b"gAMA") + chunk(b"cHRM", b"1") + chunk(b"sRGB") + chunk(b"pHYs", b"12"),
        "transparent in no way": chunk(b"tRNS", b"1"),
        "a palette of nothing": chunk(b"PLTE"),
        "a palette of too much": chunk(b"PLTE", bytes(3 * 70_000)),
        "a million frames": chunk(b"acTL", struct.pack(">II", 10**6, 0)),
        "no frames": chunk(b"acTL", bytes(8)),
        "half of a frame count": chunk(b"acTL", b"12"),
        "a frame without count": chunk(b"fcTL", bytes(26)) + chunk(b"fdAT", bytes(99)),
        "a second header": header(8192, 8192),
        "a critical part that nobody knows": chunk(b"ABCD", b"1"),
        "a name of zeros": chunk(bytes(4)),
        "a name of nothing readable": chunk(b"\xff\xfe\xfd\xfc"),
        "a wrong checksum": chunk(b"gAMA", bytes(4), crc=1),
        "a length of 2 GiB": chunk(b"tEXt", b"a\0b", length=2**31 - 1),
        "a length of 4 GiB": chunk(b"tEXt", b"a\0b", length=2**32 - 1),
    }
    for name, extra in beside.items():
        yield name, _SIGNATURE + body[:25] + extra + body[25:]
        if len(extra) < 10_000:
            yield f"{name}, after the pixels", whole[:-12] + extra + whole[-12:]
    pixels = {
        "no pixels": b"",
        "many empty pieces": chunk(b"IDAT") * 200_000,
        "pieces of a byte": b"".join(chunk(b"IDAT", bytes([byte])) for byte in zeros(64 * 193)),
        "pixels that go on": chunk(b"IDAT", zeros(900 * _MIB)),
        "pixels of no stream": chunk(b"IDAT", b"pixels"),
        "pixels of a wrong sum": chunk(b"IDAT", zeros(64 * 193)[:-4] + b"1234"),
        "a filter that nobody knows": chunk(b"IDAT", zlib.compress(b"\x09" * 64 * 193)),
        "a wrong checksum of pixels": chunk(b"IDAT", zeros(64 * 193), crc=1),
        "pixels of 4 GiB": chunk(b"IDAT", zeros(64 * 193), length=2**32 - 1),
        "a palette's pixels": chunk(b"IDAT", zeros(64 * 65)),
    }
    for name, content in pixels.items():
        yield name, png(header(64, 64), content)
    yield "a palette that is not there", png(header(64, 64, 8, 3), chunk(b"IDAT", zeros(64 * 65)))
    yield "an end at the beginning", png() + body
    yield "no header", _SIGNATURE + body[25:]
    yield "the signature alone", _SIGNATURE
    for cut in (7, 12, 20, 33, 40, 50, len(whole) - 12, len(whole) - 1):
        yield f"cut at {cut}", whole[:cut]


def png_files() -> dict[str, bytes]:
    """Returns files by a description."""
    files = dict((*_large(), *_sizes(), *_parts()))
    frames = [Image.new("RGB", (16, 16), (i % 256, i // 256, 0)) for i in range(300)]
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    files["300 frames"] = stream.getvalue()
    draw = random.Random(0)
    for index in range(60):
        raw = bytearray(_honest(draw.choice(("RGB", "RGBA", "L", "P", "LA", "1"))))
        for _ in range(draw.choice((1, 1, 4, 16))):
            raw[draw.randrange(min(len(raw), 400))] = draw.randrange(256)
        files[f"mutated {index}"] = bytes(raw)
    return files
