"""Checks what picture files declare before Pillow opens them: what would take long, or excessive memory.

A file is walked through part by part without decoding any. Errors are `ValueError`s whose text continues
"image PATH is refused: ". What is merely damaged is left to the decoder.
"""

import dataclasses
import os
import re
from collections.abc import Callable
from typing import BinaryIO

from gan2shape_jax.io import tiff_directory
from gan2shape_jax.io.regular_files import MIB

__all__ = ["Announced", "announced"]

_LARGEST_FILE = 208 * MIB  # 8192 x 8192 pixels of 24 bits take 192 MiB uncompressed
_LARGEST_READ_WHOLE = 32 * MIB  # WebP files, which Pillow reads whole
_LARGEST_BESIDE = 16 * MIB  # metadata
_LARGEST_EXIF = MIB
_LARGEST_COMMENT = MIB // 4  # of a GIF
_MOST_PARTS = 100_000  # each takes Pillow a few microseconds; 200 MiB in parts of 8 KiB are 25,000
_MOST_JUNK = 64 * 1024  # bytes between the parts of a JPEG, which Pillow skips one by one
_MOST_SCANS = 64  # of a JPEG; normal ones have 10
_MOST_WORK = 20 * 8192**2  # pixels times scans
_MOST_STRIPS = 65_536  # of a TIFF
_LARGEST_TILE = 4096**2  # pixels
# Codes of a JPEG's parts.
_WITHOUT_CONTENT = b"\x00\x01\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xff"
_FRAMES = b"\xc0\xc1\xc2\xc3\xc5\xc6\xc7\xc9\xca\xcb\xcd\xce\xcf"
_SINGLE = (256, 257, 259, 277, 278, 322, 323)  # sides, compression, samples, rows of a strip, sides of a tile
# Of TIFF: none, LZW, JPEG, deflate by its two names, PackBits.
_COMPRESSIONS = (1, 5, 7, 8, 32946, 32773)


@dataclasses.dataclass(frozen=True)
class Announced:
    """What matters about a file before it is decoded.

    Attributes:
      buffered: numbers per pixel, 2 bytes each, that the decoder keeps besides the picture: for JPEG in several scans.
      pages: whether there is more than one, as far as this was checked.
    """

    buffered: float = 0.0
    pages: bool = False


def announced(file: BinaryIO, kind: str) -> Announced:
    """Returns what a file of one of Pillow's formats declares, and rewinds the file.

    Raises:
      ValueError: it would take more than any picture needs.
    """
    size, largest = os.fstat(file.fileno()).st_size, _LARGEST_READ_WHOLE if kind == "WEBP" else _LARGEST_FILE
    if size > largest:
        raise ValueError(f"it has {size / MIB:.0f} MiB: at most {largest / MIB:g} of a {kind} file are read")
    walk = _WALKS.get(kind)
    file.seek(0)
    found = walk(file) if walk else Announced()
    file.seek(0)
    return found


def _png(file: BinaryIO) -> Announced:
    beside, position = 0, 8
    for _ in range(_MOST_PARTS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return Announced()
        length = int.from_bytes(head[:4], "big")
        beside += 0 if head[4:] == b"IDAT" else length
        if beside > _LARGEST_BESIDE:
            raise ValueError(f"more than {_LARGEST_BESIDE / MIB:g} MiB of it are no picture")
        position += 12 + length
    raise ValueError(f"it has more than {_MOST_PARTS} parts")


def _jpeg(file: BinaryIO) -> Announced:
    """Returns how many coefficients per pixel are kept: all of them, if there is more than one scan."""
    head = file.read(_LARGEST_BESIDE)
    exif, frames, position = b"", list[bytes](), 2
    for _ in range(_MOST_PARTS):
        marker_at = head.find(b"\xff", position)
        if marker_at - position > _MOST_JUNK:
            raise ValueError("it has long stretches that are no part of a JPEG")
        code = head[marker_at + 1 : marker_at + 2]
        if marker_at < 0 or not code or code == b"\xd9":
            break
        position = marker_at + 1
        if code in _WITHOUT_CONTENT:
            continue
        length = max(int.from_bytes(head[position + 1 : position + 3], "big"), 2)
        content = head[position + 3 : position + 1 + length]
        position += 1 + length
        if code == b"\xe1" and content.startswith(b"Exif\0\0"):
            exif += content[6:]
            _require_exif(exif)
        elif code == b"\xe2" and content.startswith(b"MPF\0"):
            _require_exif(content[4:])
        elif code in _FRAMES:
            frames.append(code + content)
        elif code == b"\xda":
            return _scans(file, frames, in_scan=content[0] if content else 0)
    else:
        raise ValueError(f"it has more than {_MOST_PARTS} parts")
    if len(head) == _LARGEST_BESIDE:
        raise ValueError(f"more than {_LARGEST_BESIDE / MIB:g} MiB of it are no picture")
    return Announced()


def _require_exif(content: bytes) -> None:
    if len(content) > _LARGEST_EXIF:
        raise ValueError("it has more metadata than any picture")
    tiff_directory.require_modest(content)


def _scans(file: BinaryIO, frames: list[bytes], *, in_scan: int) -> Announced:
    """Returns what `_jpeg` does, from the frame's header (code, precision, sides, components) and the first scan."""
    if len(frames) != 1 or frames[0][0] not in (0xC0, 0xC1, 0xC2):
        raise ValueError("it is a JPEG of a rare kind: save it anew as a baseline JPEG or PNG")
    frame = frames[0]
    height, width, components = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big"), frame[6:7]
    factors = [(byte >> 4) * (byte & 15) for byte in frame[8::3]]
    if not components or len(factors) != components[0] or not factors or not max(factors):
        return Announced()
    if frame[0] != 0xC2 and in_scan >= components[0]:
        return Announced()
    count = _count(file, b"\xff\xda")
    if count > _MOST_SCANS or count * min(width * height, 8192**2) > _MOST_WORK:
        raise ValueError(f"it is drawn in {count} scans: save it anew as a baseline JPEG or PNG")
    return Announced(buffered=sum(factors) / max(factors))


def _count(file: BinaryIO, mark: bytes) -> int:
    file.seek(0)
    count, last = 0, b""
    while block := file.read(MIB):
        count += (last + block).count(mark)
        last = block[-1:]
    return count


def _gif(file: BinaryIO) -> Announced:
    """Returns whether there is a second picture; comments, which Pillow joins one by one, count as metadata."""
    head = file.read(13)
    file.seek(13 + _palette(head[10:11]))
    pictures = parts = beside = 0
    while True:
        block = file.read(1)
        if block == b"," and pictures:
            return Announced(pages=True)
        if block not in (b",", b"!"):
            return Announced()
        # A picture's position, colours and code size, or an extension's kind; then both continue in parts.
        file.seek(_palette(file.read(9)[8:]) + 1 if block == b"," else 1, os.SEEK_CUR)
        pictures += block == b","
        while length := int.from_bytes(file.read(1), "big"):
            file.seek(length, os.SEEK_CUR)
            parts += 1
            beside += 0 if block == b"," else length
            if parts > _MOST_PARTS or beside > _LARGEST_COMMENT:
                raise ValueError("it has more parts, or longer comments, than any picture: save it as PNG")


def _palette(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 128 else 0


def _tiff(file: BinaryIO) -> Announced:
    def fetch(offset: int, size: int) -> bytes:
        file.seek(min(offset, _LARGEST_FILE))
        return file.read(size)

    found = tiff_directory.read_directory(fetch)
    if found is None:
        return Announced()
    numbers, counts = found.numbers, found.counts
    if found.nbytes > tiff_directory.LARGEST or max(counts.get(273, 0), counts.get(324, 0)) > _MOST_STRIPS:
        raise ValueError("its table of contents is larger than that of any picture")
    plain = all(tag in numbers and counts[tag] == 1 for tag in _SINGLE if tag in counts)
    if found.twice or not plain or numbers.get(259, 1) not in _COMPRESSIONS:
        raise ValueError("it is a TIFF of a rare kind: save it anew with LZW compression or as PNG")
    if numbers.get(322, 1) * numbers.get(323, 1) > _LARGEST_TILE:
        raise ValueError(f"its tiles are {numbers[322]} x {numbers[323]} pixels: save it as PNG")
    return Announced(pages=found.next)


def _ppm(file: BinaryIO) -> Announced:
    head = re.sub(rb"#[^\r\n]*[\r\n]", b"", file.read(4096))  # comments dropped, as by Pillow
    if not re.match(rb"P[56]\s+\d+\s+\d+\s+(255|65535)\s|P4\s+\d+\s+\d+\s", head):
        raise ValueError("its header is none of PPM, PGM or PBM with 8 or 16 bits: save it as PNG")
    return Announced()


_WALKS: dict[str, Callable[[BinaryIO], Announced]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "TIFF": _tiff,
    "PPM": _ppm,
}
