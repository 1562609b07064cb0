"""Records whose damage is detected: JSON objects with a checksum of their own, and the checksums of files.

Checksums are CRC-32: they detect every flipped bit and practically all other damage by disks, networks and incomplete
copies. They do not protect against tampering.
"""

import json
import math
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import json_files, regular_files
from gan2shape_jax.io.atomic_files import atomic_text

__all__ = [
    "Damaged",
    "checksum",
    "checksums_below",
    "finite",
    "harm_below",
    "measure",
    "read",
    "seal",
    "unseal",
    "write",
]

_CHUNK = 4 * regular_files.MIB
_SEAL = "checksum"
# Sizes and checksums of files by their paths relative to a folder, with `/`.
Files = dict[str, list[Any]]


class Damaged(UserError):
    """A file that the program wrote has changed since."""


def checksum(content: bytes | bytearray | memoryview) -> str:
    """Returns the CRC-32 of bytes as 8 hex digits."""
    return f"{zlib.crc32(content):08x}"


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with its checksum; `content` survives JSON unchanged (text keys, no tuples)."""
    return dict(content) | {_SEAL: _checksum_of(content)}


def unseal(record: Any, source: object) -> dict[str, Any]:
    """Returns the content of a sealed record.

    Args:
      record: as read from JSON, of any type.
      source: where it comes from, for messages.

    Raises:
      Damaged: it is not a record with the right checksum.
    """
    if not isinstance(record, Mapping) or not isinstance(record.get(_SEAL), str):
        raise Damaged(f"{source} is damaged: it holds no record with a checksum")
    content = {key: value for key, value in record.items() if key != _SEAL}
    if _checksum_of(content) != record[_SEAL]:
        raise Damaged(f"{source} is damaged: its content has another checksum than it says")
    return content


def read(path: pathlib.Path, kind: str, *, limit: int = json_files.LARGEST) -> dict[str, Any]:
    """Returns the JSON object in a file that the program wrote, sealed or not.

    Args:
      path: the file.
      kind: what it is read as, for messages: "a run's configuration".
      limit: the largest size accepted, bytes.

    Raises:
      Damaged: it is not a regular file with a JSON object.
      FileNotFoundError: there is no such file.
    """
    try:
        return json_files.read_object(path, kind, limit=limit)
    except UserError as error:
        raise Damaged(str(error)) from error


def write(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a sealed record, completely or not at all; raises `UserError` if it cannot be written."""
    atomic_text(path, json.dumps(seal(content), indent=2) + "\n")


def finite(value: Any) -> Any:
    """Returns a value as JSON can hold it: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def checksums_below(folder: pathlib.Path) -> Files:
    """Returns the size and checksum of every file below a folder, by its relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): measure(path) for path in paths}


def measure(path: pathlib.Path) -> list[Any]:
    """Returns the size and checksum of a file, as listed by `checksums_below`."""
    size, sum_so_far = 0, 0
    with regular_files.open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            size, sum_so_far = size + len(chunk), zlib.crc32(chunk, sum_so_far)
    return [size, f"{sum_so_far:08x}"]


def harm_below(folder: pathlib.Path, files: Any) -> str:
    """Returns a description of what is wrong with a folder's files; '' if all match their size and checksum.

    Args:
      folder: the folder; files in it that are not listed are ignored.
      files: as returned by `checksums_below`. Any other form counts as damage.
    """
    if not isinstance(files, dict):
        return "its record lists no files"
    try:
        for name, (size, _) in files.items():
            if os.stat(folder / name).st_size != size:  # costs nothing: before any file is read
                return f"{name} has {os.stat(folder / name).st_size} bytes instead of {size}"
        for name, (size, expected) in files.items():
            if measure(folder / name) != [size, expected]:
                return f"{name} has another checksum than when it was written"
    except FileNotFoundError as error:
        return f"{pathlib.Path(error.filename).name} is missing"
    except OSError as error:
        return f"{error.filename}: {error.strerror or error}"
    except UserError as error:
        return str(error)
    except (TypeError, ValueError):
        return "its record lists files in another form"
    return ""


def _checksum_of(content: Mapping[str, Any]) -> str:
    return checksum(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
