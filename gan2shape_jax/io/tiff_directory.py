"""The TIFF directory that TIFF files, EXIF data and multi-picture JPEG share; its sizes are summed before reading.

Each of up to 65,535 entries may point at the same megabytes, which a reader copies for each: a small file can then take
any amount of memory.
"""

import dataclasses
import struct
from collections.abc import Callable

__all__ = ["LARGEST", "Directory", "of_bytes", "read_directory", "require_modest"]

LARGEST = 16 * 2**20  # bytes of all entries together: colour profiles and previews take a few MiB
_MOST_ENTRIES = 1024
_INSIDE = (0x8769, 0x8825, 0xA005)  # entries that point at further tables: EXIF, GPS, interoperability
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # types of whole numbers

# Maps an offset and a size to that many bytes from there, fewer at the end.
Fetch = Callable[[int, int], bytes]


@dataclasses.dataclass(frozen=True)
class Directory:
    """One table.

    Attributes:
      numbers: the first value of integer entries stored in the table itself, by tag.
      counts: how many values each entry has, by tag.
      nbytes: total size of the values of all entries, including those of nested tables.
      next: whether another table follows, which is another page.
      twice: whether a tag occurs more than once, which readers interpret differently.
    """

    numbers: dict[int, int]
    counts: dict[int, int]
    nbytes: int
    next: bool
    twice: bool


def of_bytes(content: bytes | memoryview) -> Fetch:
    """Returns the function with which `read_directory` reads bytes in memory."""
    view = memoryview(content)
    return lambda offset, size: bytes(view[offset : offset + size])


def require_modest(content: bytes | memoryview) -> Directory | None:
    """Returns the first table of EXIF data (without its prefix), or None if it is damaged.

    Raises:
      ValueError: it has more entries, or larger ones, than a picture's may have.
    """
    found = read_directory(of_bytes(content))
    if found is not None and found.nbytes > LARGEST:
        raise ValueError(f"its metadata announce {found.nbytes / 2**20:.0f} MiB: at most {LARGEST / 2**20:g} are read")
    return found


def read_directory(fetch: Fetch) -> Directory | None:
    """Returns the first table; None if there is none that can be read.

    Raises:
      ValueError: it has more entries than a picture's may have.
    """
    head = fetch(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    large = 43 in head[2:4]
    if large and len(head) < 16:
        return None
    (start,) = struct.unpack(f"{order}{'Q' if large else 'I'}", head[8:16] if large else head[4:8])
    return _table(fetch, start, order, large=large, depth=0)


def _table(fetch: Fetch, start: int, order: str, *, large: bool, depth: int) -> Directory | None:
    count_form, entry_form, inline = ("Q", "HHQ8s", 8) if large else ("H", "HHI4s", 4)
    head = fetch(start, struct.calcsize(order + count_form))
    if start >= 2**62 or len(head) < struct.calcsize(order + count_form):
        return None
    (count,) = struct.unpack(order + count_form, head)
    if count > _MOST_ENTRIES:
        raise ValueError(f"its metadata have {count} entries: at most {_MOST_ENTRIES} are read")
    size = struct.calcsize(order + entry_form)
    table = fetch(start + len(head), count * size + inline)
    numbers: dict[int, int] = {}
    counts: dict[int, int] = {}
    nbytes = 0
    for at in range(0, min(len(table) // size, count) * size, size):
        tag, kind, length, value = struct.unpack_from(order + entry_form, table, at)
        first = tag not in counts
        counts[tag] = length
        taken = length * _BYTES.get(kind, 0)
        nbytes += taken if taken > inline else 0
        if kind in _WHOLE and 0 < taken <= inline:
            (numbers[tag],) = struct.unpack_from(order + _WHOLE[kind], value)
        if first and tag in _INSIDE and tag in numbers and depth < 2:
            inside = _table(fetch, numbers[tag], order, large=large, depth=depth + 1)
            nbytes += inside.nbytes if inside is not None else 0
    return Directory(numbers, counts, nbytes, any(table[count * size :]), len(counts) < count)
