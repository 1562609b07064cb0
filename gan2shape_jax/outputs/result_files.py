"""The single files of a saved result: its description as JSON, and its arrays, each read with a look for damage."""

import dataclasses
import io
import json
import math
import pathlib
import zlib
from typing import Any

import numpy as np

from gan2shape_jax import json_files
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.outputs import folder_record
from gan2shape_jax.records import Damaged
from gan2shape_jax.regular_files import read_bytes

__all__ = ["camera_of", "checksum", "metrics_of", "of_type", "read_array", "read_record", "write_json"]

_LARGEST_FIELD = 1e6  # of a camera: no side, angle or depth comes near
_LARGEST_METRIC = 1e300
_LONGEST_HEADER = 4096  # of an `.npy` file, bytes


def write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    """Writes indented JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def checksum(value: np.ndarray) -> int:
    """Returns the CRC-32 of an array's numbers, whatever their order in memory."""
    return zlib.crc32(np.ascontiguousarray(value, "<f4").tobytes())


def of_type(kind: type, value: Any, name: str) -> Any:
    """Returns the value; raises `TypeError` where it is of another type."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def camera_of(fields: Any) -> Camera:
    """Returns the camera of a record; raises `TypeError` or `ValueError` where its fields are no camera's."""
    camera = Camera(**of_type(dict, fields, "camera"))
    for name, value in dataclasses.asdict(camera).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LARGEST_FIELD:
            raise ValueError(f"camera.{name} is {value!r}")
    if not isinstance(camera.image_size, int) or camera.image_size < 1 or not 0 < camera.fov_deg < 180:
        raise ValueError(f"the camera has {camera.image_size!r} pixels and {camera.fov_deg!r} degrees")
    return camera


def metrics_of(value: Any) -> dict[str, Any]:
    """Returns the metrics of a record; raises `TypeError` or `ValueError` where they are no numbers by name."""
    for name, entry in of_type(dict, value, "metrics").items():
        if isinstance(entry, dict):
            metrics_of(entry)
        elif entry is not None and not (isinstance(entry, (int, float)) and abs(entry) < _LARGEST_METRIC):
            raise ValueError(f"{name} is {str(entry)[:40]!r}, which is no number")
    return value


def read_record(folder: pathlib.Path, version: int) -> dict[str, Any]:
    """Returns what `result.json` says.

    Raises:
      Damaged: it is unreadable, or not what the folder's record says.
      UserError: it is missing, or of another version of the format.
    """
    path = folder / "result.json"
    try:
        content = read_bytes(path, limit=json_files.LARGEST)
        # Versions before 0.2 wrote NaN for errors of which nothing could be measured.
        record = of_type(dict, json.loads(content.decode("utf-8"), parse_constant=lambda _: None), "its content")
        found = record["format"]
    except FileNotFoundError as error:
        raise UserError(f"{folder} is not a results folder: {path} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError) as error:
        raise Damaged(f"{path} is damaged or not a result ({error}); reconstruct again") from error
    if found != version:
        raise UserError(
            f"{path} has format version {found}, this program reads {version}: "
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
    try:
        value = _parse_array(read_bytes(path, limit=_LONGEST_HEADER + 4 * math.prod(shape)))
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing from the result; reconstruct again") from error
    except Exception as error:  # whatever NumPy's parsers raise at bytes that are no array
        raise Damaged(f"{path} is damaged ({error}); reconstruct again") from error
    if value.dtype != np.float32 or value.shape != shape:
        raise Damaged(f"{path} is damaged: expected float32 of shape {shape}, found {value.dtype} {value.shape}")
    if expected != checksum(value):
        raise Damaged(f"{path} is damaged: its checksum differs from the one in result.json; reconstruct again")
    return value


def _parse_array(content: bytes) -> np.ndarray:
    """Returns the array of an `.npy` file; raises whatever NumPy does where it is none.

    No memory is taken for a shape that the bytes do not fill.
    """
    file = io.BytesIO(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    value = np.frombuffer(file.read(), dtype)
    return value.reshape(shape[::-1]).transpose() if fortran else value.reshape(shape)
