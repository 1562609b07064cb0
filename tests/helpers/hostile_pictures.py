"""Pictures made to do harm, and files of other kinds under the name of a picture, by a description of each."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(trace) (w) file closefile showpage\n%%EOF\n"
_NOISE = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


def _saved(kind: str, frames: int = 1, **options) -> bytes:
    stream, pictures = io.BytesIO(), [Image.fromarray(pixels) for pixels in _NOISE]
    several = {"save_all": True, "append_images": pictures[1:frames]} if frames > 1 else {}
    pictures[0].save(stream, kind, **several, **options)
    return stream.getvalue()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def black(width: int, height: int, *beside: bytes) -> bytes:
    """A PNG that says it is of that size, and has no pixels."""
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *beside]
    parts += [_chunk(b"IDAT", zlib.compress(bytes(99))), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _exif(count: int, size: int) -> bytes:
    """Metadata whose entries all point at the same bytes."""
    entries = b"".join(struct.pack("<HHII", 0x9286, 7, size, 8) for _ in range(count))
    return b"Exif\0\0II*\0" + struct.pack("<I", 8 + size) + bytes(size) + struct.pack("<H", count) + entries + bytes(4)


def pictures() -> dict[str, bytes]:
    """Returns files by a description; none of them is a picture that can be used."""
    files = {
        "EPS": EPS,
        "EPS with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(EPS)) + bytes(18) + EPS,
        "PDF": b"%PDF-1.7\n1 0 obj\n",
        "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "a web page": b"<!DOCTYPE html><html>404</html>",
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(90),
        "HEIC of zeros": b"\x00\x00\x00\x18ftypheic" + bytes(90),
        "AVIF of zeros": b"\x00\x00\x00\x1cftypmif1\0\0\0\0mif1avif" + bytes(90),
        "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(90),
        "an array": b"\x93NUMPY\x01\x00" + bytes(90),
        "text as PPM": b"P3 64 64 255\n" + b"0 " * 64 * 64 * 3,
        "TGA": b"\x00\x00\x02" + bytes(9) + b"\x40\x00\x40\x00\x18\x00" + bytes(64 * 64 * 3),
        "a pickle": b"\x80\x04cos\nsystem\n.",
        "nothing": b"",
        "zeros": bytes(100_000),
        "PNG of 60000 x 60000": black(60_000, 60_000),
        "PNG of 0 x 64": black(0, 64),
        "PNG of 8192 x 8192 without pixels": black(8192, 8192),
        "PNG with long text": black(64, 64, *[_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))] * 9),
        "PNG of 100000 parts": black(64, 64, *[_chunk(b"tEXt", b"")] * 100_000),
        "PNG animated": _saved("PNG", 3),
        "GIF animated": _saved("GIF", 3),
        "GIF of 65535 x 65535": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"," + bytes(99),
        "WebP animated": _saved("WEBP", 3),
        "TIFF of 3 pages": _saved("TIFF", 3),
        "BMP of 2147483647 pixels": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, *[2**31 - 1] * 2, 1, *[24] + [0] * 6),
        "PPM of 9999999999": b"P6 9999999999 9999999999 255\n" + bytes(99),
        "JPEG with an EXIF bomb, cut": _saved("JPEG", exif=_exif(900, 30_000))[:-3000],
    }
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM"):
        whole = _saved(kind)
        files[f"{kind} cut in the middle"] = whole[: len(whole) // 2]
        files[f"{kind} of its first bytes"] = whole[:20]
    return files
