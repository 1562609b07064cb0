"""The individual files of a saved result: its description as JSON and its arrays, checked for damage when read."""

import json
import pathlib
import zlib
from typing import Any

import numpy as np

from gan2shape_jax.io import json_files
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.npy_files import Header, read_npy
from gan2shape_jax.results import folder_record, record_checks
from gan2shape_jax.io.records import Damaged
from gan2shape_jax.io.regular_files import read_bytes

__all__ = ["checksum", "read_array", "read_record", "write_json"]


def write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Writes indented JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def checksum(value: np.ndarray) -> int:
    """Returns the CRC-32 of an array's numbers, whatever their order in memory."""
    return zlib.crc32(np.ascontiguousarray(value, "<f4").tobytes())


def read_record(folder: pathlib.Path, version: int) -> dict[str, Any]:
    """Returns the contents of `result.json`.

    Raises:
      Damaged: it is unreadable, or differs from what the folder's record says.
      UserError: it is missing, or of another version of the format.
    """
    path = folder / "result.json"
    try:
        content = read_bytes(path, limit=json_files.LARGEST)
        record = record_checks.of_type(dict, json_files.parse_json(content, path, "a result", nan_is_none=True))
        found = record["format"]
    except FileNotFoundError as error:
        raise UserError(f"{folder} is not a results folder: {path} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError) as error:
        raise Damaged(f"{path} is damaged or not a result ({error}); reconstruct again") from error
    if found != version:
        raise UserError(
            f"{path} has format version {str(found)[:20]}, this program reads {version}: "
            "reconstruct again or use the version that wrote it"
        )
    folder_record.require_listed(path, content)
    return record


def read_array(path: pathlib.Path, shape: tuple[int, ...], expected: Any) -> np.ndarray:
    """Returns the float32 array of an `.npy` file.

    Args:
      path: the file.
      shape: the array's.
      expected: its checksum.

    Raises:
      Damaged: the file is missing or holds anything else.
    """

    def accept(header: Header) -> None:
        if header.dtype != np.float32 or header.shape != shape:
            raise UserError(
                f"{path} is damaged: expected float32 of shape {shape}, found {header.dtype} {header.shape}"
            )

    try:
        value = read_npy(path, accept)
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing from the result; reconstruct again") from error
    except UserError as error:
        raise Damaged(f"{error}; reconstruct again") from error
    if expected != checksum(value):
        raise Damaged(f"{path} is damaged: its checksum differs from the one in result.json; reconstruct again")
    return value
