"""Reads NumPy files that somebody else may have written: the header first, then no more than it may declare.

A header is 100 bytes of text that can claim any shape, and an archive (`.npz`) of a few megabytes can unpack to
gigabytes. So callers say what they accept before memory is allocated, and headers are matched, never evaluated. Arrays
hold real numbers of at most 8 bytes: no objects (which could run code), no structures, no text.
"""

import dataclasses
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import regular_files

__all__ = ["Header", "read_npy", "read_npz"]

_MAGIC = b"\x93NUMPY"
_ARCHIVE = b"PK"
_LONGEST = 4096  # bytes of a header: NumPy's own are padded to 128
_DIGITS = 18  # of an axis length
_LARGEST_ARCHIVE = regular_files.MIB  # its table of contents is read whole
_ITEM = re.compile(
    r"""\s*['"](?P<key>descr|fortran_order|shape)['"]\s*:\s*"""
    r"""(?:['"](?P<descr>[^'"\\]*)['"]|(?P<flag>True|False)|\((?P<shape>[0-9L,\s]*)\))\s*(?:,\s*|$)"""
)
_NUMBER = re.compile(r"[<>|=]?(?:f[248]|[iu][1248])")

# Reads that many bytes, or what is left.
_Read = Callable[[int], bytes]


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file declares about its array.

    Attributes:
      shape: not negative, but of any size.
      dtype: floating-point or integer, in any byte order.
      fortran: whether the first axis changes fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def nbytes(self) -> int:
        """The array's size, bytes; may be more than any machine has."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: str | os.PathLike[str], accept: Callable[[Header], None]) -> np.ndarray:
    """Returns the array in a `.npy` file.

    Args:
      path: the file.
      accept: raises `UserError` for a header that is not acceptable; what it lets pass is read into memory.

    Raises:
      UserError: the file cannot be opened, is not a `.npy` file, is truncated or not accepted; the message names it.
      FileNotFoundError: there is no such file.
    """
    try:
        with regular_files.open_regular(path) as file:
            header = _read_header(file.read)
            accept(header)
            _require_size(file, header)
            return _read_values(file.read, header)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no usable .npy file: {error}") from error


def read_npz(
    path: str | os.PathLike[str], names: Sequence[str], accept: Callable[[str, Header], None]
) -> dict[str, np.ndarray]:
    """Returns arrays in an `.npz` file by name; those it lacks are left out, others are ignored.

    Args:
      path: the file.
      names: names of the arrays, without `.npy`.
      accept: raises `UserError` for an array's name and header that are not acceptable.

    Raises:
      UserError: as for `read_npy`, or the archive is larger than 1 MiB, damaged, encrypted or compressed in a way that
        NumPy does not use.
      FileNotFoundError: there is no such file.
    """
    try:
        with regular_files.open_regular(path, limit=_LARGEST_ARCHIVE) as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise ValueError("it is a .npy file, an array by itself, under another name")
            with zipfile.ZipFile(file) as archive:
                present = set(archive.namelist())
                found = [name for name in names if f"{name}.npy" in present]
                return {name: _member(archive, name, accept) for name in found}
    except FileNotFoundError:
        raise
    # Also what zipfile raises, with RuntimeError and NotImplementedError for encrypted and unusual archives.
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error) as error:
        raise UserError(f"{path} is no usable .npz file: {error}") from error


def _member(archive: zipfile.ZipFile, name: str, accept: Callable[[str, Header], None]) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in another way than NumPy does")
    with archive.open(info) as file:
        header = _read_header(file.read)
        accept(name, header)
        values = _read_values(file.read, header)
        if file.read(1):  # also triggers the checksum check
            raise ValueError(f"{name} goes on after its array")
    return values


def _read_header(read: _Read) -> Header:
    """Returns the header and leaves the file at the first value; raises `ValueError` for anything unusual."""
    start = read(8)
    if start.startswith(_ARCHIVE):
        raise ValueError("it is an archive (.npz) under another name")
    if start[:6] != _MAGIC or len(start) < 8:
        raise ValueError("it does not begin as NumPy's files do")
    if start[6] not in (1, 2, 3) or start[7] != 0:
        raise ValueError(f"its format is {start[6]}.{start[7]}: 1.0, 2.0 and 3.0 are read")
    form = "<H" if start[6] == 1 else "<I"
    size = read(struct.calcsize(form))
    if len(size) < struct.calcsize(form):
        raise ValueError("it ends in its header")
    (length,) = struct.unpack(form, size)
    if length > _LONGEST:
        raise ValueError(f"its header has {length} bytes: at most {_LONGEST} are read")
    text = read(length)
    if len(text) < length:
        raise ValueError("it ends in its header")
    return _header_of(text.decode("latin-1").strip())


def _header_of(text: str) -> Header:
    """Returns the meaning of NumPy's header text: "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"."""
    found: dict[str, str] = {}
    inside, position = text[1:-1], 0
    while match := _ITEM.match(inside, position):
        value = match[{"descr": "descr", "fortran_order": "flag", "shape": "shape"}[match["key"]]]
        if value is None or match["key"] in found:
            break
        found[match["key"]], position = value, match.end()
    if text[:1] + text[-1:] != "{}" or position < len(inside) or len(found) < 3:
        raise ValueError("its header is not that of an array of plain numbers")
    if not _NUMBER.fullmatch(found["descr"]):
        raise ValueError(f"it holds {found['descr'][:20]!r} instead of numbers")
    sides = [side.strip(" \t\n\rL") for side in found["shape"].split(",")]
    if any(len(side) > _DIGITS for side in sides):
        raise ValueError("the shape in its header is impossible")
    shape = tuple(int(side) for side in sides if side)
    return Header(shape, np.dtype(found["descr"]), found["fortran_order"] == "True")


def _require_size(file: BinaryIO, header: Header) -> None:
    left = os.fstat(file.fileno()).st_size - file.tell()
    if left < header.nbytes:
        raise ValueError(f"it is truncated: {header.nbytes} bytes of values are announced, {left} are there")


def _read_values(read: _Read, header: Header) -> np.ndarray:
    content = read(header.nbytes)
    if len(content) < header.nbytes:
        raise ValueError(f"it is truncated: {header.nbytes} bytes of values are announced, {len(content)} are there")
    flat = np.frombuffer(content, header.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
