"""Files of other kinds under the name of a picture: GIF, WebP, BMP and PPM made to do harm, and no pictures."""

import struct
import warnings
from collections.abc import Iterator

from helpers.hostile_pngs import exif_bomb
from helpers.hostile_tiffs import tiffs as _tiffs
from helpers.saved_pictures import mutated as _mutated
from helpers.saved_pictures import saved as _saved

__all__ = ["EPS", "other_files"]

_MIB = 2**20
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(trace) (w) file closefile showpage\n%%EOF\n"


def _no_pictures() -> Iterator[tuple[str, bytes]]:
    heads = {
        "EPS": EPS,
        "EPS with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(EPS)) + bytes(18) + EPS,
        "PDF": b"%PDF-1.7\n1 0 obj\n",
        "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "SVG alone": b'<svg width="9" height="9"/>',
        "a web page": b"<!DOCTYPE html><html>404</html>",
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(90),
        "EMF": b"\x01\x00\x00\x00" + bytes(36) + b" EMF" + bytes(90),
        "HEIC": b"\x00\x00\x00\x18ftypheic" + bytes(90),
        "HEIC by another name": b"\x00\x00\x00\x18ftypmif1\0\0\0\0mif1heic" + bytes(90),
        "AVIF": b"\x00\x00\x00\x1cftypavif" + bytes(90),
        "AVIF by another name": b"\x00\x00\x00\x1cftypmif1\0\0\0\0mif1avif" + bytes(90),
        "JPEG XL": b"\xff\x0a" + bytes(90),
        "JPEG XL in a box": b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(90),
        "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(90),
        "Photoshop": b"8BPS\x00\x01" + bytes(90),
        "an icon": b"\x00\x00\x01\x00\x01\x00" + bytes(90),
        "Apple's icon": b"icns\x00\x00\x00\x64" + bytes(90),
        "DDS": b"DDS |\x00\x00\x00" + bytes(90),
        "OpenEXR": b"v/1\x01" + bytes(90),
        "Radiance": b"#?RADIANCE\n" + bytes(90),
        "an array": b"\x93NUMPY\x01\x00" + bytes(90),
        "an archive": b"PK\x03\x04" + bytes(90),
        "gzip": b"\x1f\x8b\x08" + bytes(90),
        "TGA": b"\x00\x00\x02" + bytes(9) + b"\x40\x00\x40\x00\x18\x00" + bytes(64 * 64 * 3),
        "XBM": b"#define im_width 9\n#define im_height 9\nstatic char im_bits[] = {\n0x00};",
        "XPM": b"/* XPM */\nstatic char *a[] = {};",
        "FITS": b"SIMPLE  =                    T" + bytes(2880),
        "MPEG": b"\x00\x00\x01\xb3" + bytes(90),
        "text as PPM": b"P3 64 64 255\n" + b"0 " * 64 * 64 * 3,
        "text as PBM": b"P1 8192 8192\n" + b"0 " * 1000,
        "PFM": b"PF\n64 64\n-1.0\n" + bytes(64 * 64 * 12),
        "PAM": b"P7\nWIDTH 64\nHEIGHT 64\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n",
        "text": b"no picture",
        "a byte": b"\x00",
        "nothing": b"",
        "zeros": bytes(100_000),
        "a pickle": b"\x80\x04cos\nsystem\n.",
    }
    yield from heads.items()


def _gif_head(width: int = 64, height: int = 64, flags: int = 0x80) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, flags, 0, 0) + (bytes(6) if flags & 0x80 else b"")


def _gifs() -> Iterator[tuple[str, bytes]]:
    whole = _saved("GIF", "P")
    one = b"," + struct.pack("<HHHHB", 0, 0, 64, 64, 0) + b"\x02\x02\x4c\x01\x00"
    yield "GIF 3000 frames", _gif_head() + one * 3000 + b";"
    yield "GIF 2 frames", _saved("GIF", "P", frames=2)
    for width, height in ((0, 0), (0, 9), (65_535, 65_535), (8192, 8192), (8193, 1), (1, 1)):
        yield f"GIF sides {width} {height}", _gif_head(width, height) + one + b";"
    yield "GIF a picture outside", _gif_head() + b"," + struct.pack("<HHHHB", 60_000, 60_000, 5000, 5000, 0) + one[10:]
    yield "GIF a picture of nothing", _gif_head() + b"," + bytes(9) + one[10:]
    yield "GIF a long comment", _gif_head() + b"!\xfe" + (b"\xff" + bytes(255)) * 40_000 + b"\x00" + one + b";"
    yield "GIF a comment of bytes", _gif_head() + b"!\xfe" + b"\x01a" * 200_000 + b"\x00" + one + b";"
    yield "GIF many comments", _gif_head() + b"!\xfe\x01a\x00" * 200_000 + one + b";"
    yield "GIF pixels by the byte", _gif_head() + one[:11] + b"\x01\x4c" * 200_000 + b"\x00;"
    yield "GIF pixels without end", _gif_head() + one[:11] + (b"\xff" + bytes(255)) * 9000
    yield "GIF codes of 12 bits", _gif_head() + one[:10] + b"\x0c" + one[11:]
    yield "GIF codes of 255 bits", _gif_head() + one[:10] + b"\xff" + one[11:]
    yield "GIF no picture", _gif_head() + b";"
    yield "GIF a palette cut", _gif_head(flags=0xF7)
    yield "GIF only a head", b"GIF89a"
    yield "GIF extensions without end", _gif_head() + b"!" * 5000
    yield "GIF a control of nothing", _gif_head() + b"!\xf9\x00" + one + b";"
    yield "GIF an application of nothing", _gif_head() + b"!\xff\x0bNETSCAPE2.0\x00" + one + b";"
    yield from _mutated("GIF", whole, 25)


def _webps() -> Iterator[tuple[str, bytes]]:
    whole = _saved("WEBP", "RGBA", lossless=True)
    yield "WebP 200 frames", _saved("WEBP", side=16, frames=200)
    for width, height in ((1, 1), (8192, 8192), (16_384, 16_384), (2**24, 2**24), (5000, 5000)):
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + canvas + whole[12:]
        yield f"WebP canvas {width} {height}", b"RIFF" + struct.pack("<I", len(body)) + body
    for kind, exif in (("an EXIF bomb", exif_bomb(1000, 2 * _MIB)), ("EXIF of garbage", bytes(99))):
        yield f"WebP {kind}", _saved("WEBP", exif=exif)
    yield "WebP of a length that is not true", whole[:4] + b"\xff\xff\xff\xff" + whole[8:]
    yield "WebP of 40 MiB", whole + bytes(40 * _MIB)
    yield "WebP without parts", b"RIFF\x04\0\0\0WEBP"
    for cut in (13, 20, 30, 100, len(whole) - 9):
        yield f"WebP cut at {cut}", whole[:cut]
    yield from _mutated("WebP", whole, 20)
    yield from _mutated("WebP with loss", _saved("WEBP"), 20)


def _bmp(
    width: int = 64, height: int = 64, bits: int = 24, method: int = 0, colours: int = 0, pixels: bytes = b""
) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, method, len(pixels), 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + info + pixels


def _bmps() -> Iterator[tuple[str, bytes]]:
    pixels = bytes(64 * 64 * 4)
    for width, height in (
        (0, 0),
        (-64, 64),
        (64, -64),
        (2**31 - 1, 2**31 - 1),
        (-(2**31), 1),
        (8192, 8192),
        (8192, -8192),
        (8193, 9),
    ):
        yield f"BMP sides {width} {height}", _bmp(width, height, pixels=pixels)
    for bits in (0, 1, 2, 4, 7, 8, 16, 32, 48, 65_535):
        yield f"BMP {bits} bits", _bmp(bits=bits, pixels=pixels)
    for method in (1, 2, 3, 4, 5, 6, 11, 99):
        yield f"BMP method {method}", _bmp(bits=8, method=method, pixels=b"\x01\x00" * 50_000)
    yield "BMP a slow one", _bmp(8192, 8192, 8, 1, 256, bytes(1024) + b"\x01\x00" * 3_000_000)
    for colours in (1, 257, 65_536, 65_537, 2**32 - 1):
        yield f"BMP {colours} colours", _bmp(bits=8, colours=colours, pixels=pixels)
    whole = _bmp(pixels=pixels)
    for size in (0, 12, 16, 39, 64, 108, 124, 2**32 - 1):
        yield f"BMP a header of {size}", whole[:14] + struct.pack("<I", size) + whole[18:]
    yield "BMP pixels elsewhere", whole[:10] + b"\xff\xff\xff\xff" + whole[14:]
    yield "BMP only a head", b"BM"
    yield from _mutated("BMP", _saved("BMP"), 15, 60)


def _ppms() -> Iterator[tuple[str, bytes]]:
    heads = [
        b"64 64",
        b"0 0",
        b"-1 -1",
        b"8192 8192",
        b"8193 1",
        b"99999999999 1",
        b"64",
        b"a b",
        b"64 64 255 9",
        b"6 4" + b"#" * 9,
    ]
    for index, head in enumerate(heads):
        yield f"PPM sides {index}", b"P6\n" + head + b"\n255\n" + bytes(64 * 64 * 3)
    for largest in (b"0", b"1", b"254", b"256", b"65535", b"65536", b"-1", b"", b"9" * 5000):
        yield f"PPM up to {largest[:9]!r}", b"P5\n64 64\n" + largest + b"\n" + bytes(64 * 64 * 2)
    yield "PPM slow colours", b"P6 8192 8192 65535\n" + bytes(4096)
    yield "PPM a long comment", b"P6\n#" + bytes(3_000_000)
    yield "PPM a comment inside a number", b"P6 6#\n4 64 25#" + b"a" * 3_000_000
    yield "PPM a comment after the kind", b"P6#" + b"a" * 3_000_000
    yield "PPM many comments", b"P6 " + b"#\n" * 2_000_000
    yield "PPM spaces", b"P6" + b" " * 3_000_000
    yield "PPM bits", b"P4 8192 8192 " + bytes(99)
    yield from _mutated("PPM", _saved("PPM"), 10, 14)


def other_files() -> dict[str, bytes]:
    """Returns files by a description, which begins with their kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of metadata that it is given
        makers = (_no_pictures, _gifs, _webps, _bmps, _tiffs, _ppms)
        return {name: content for make in makers for name, content in make()}
