"""Tensors by name: safetensors files, how tensors differ from those expected, and how messages quote them.

What messages quote from a file is truncated and never expanded.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from gan2shape_jax.errors import UserError, one_line
from gan2shape_jax.io.files import MIB, open_regular

LIMIT = 4096 * MIB  # maximum bytes of a weight file; StyleGAN2 for 1024 pixels with its optimizers has 830 MB
_LARGEST_HEADER = 8 * MIB  # of a safetensors file: the names and places of some 100,000 tensors
_TYPES = ("F16", "F32", "F64")
_LENGTH = 80  # characters of a name or value in a message


def safetensors_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Returns a safetensors file; the same arguments give the same bytes: the library writes metadata in any order."""
    content = safetensors.numpy.save(dict(tensors), dict(metadata))
    start = 8  # the header's length comes first
    end = start + int.from_bytes(content[:start], "little")
    header = json.loads(content[start:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:start] + text.ljust(end - start) + content[end:]


def listed(names: Iterable[str], count: int = 40) -> str:
    """Returns the first `count` names, joined by commas, and how many more there are."""
    every: Sequence[str] = list(names)
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(_cut(name) for name in every[:count]) + more


def short(value: Any) -> str:
    """Returns the truncated `repr` of a plain value; for any other value, only its type."""
    if isinstance(value, (str, bytes)):
        return _cut(repr(value[:_LENGTH]))
    if value is None or isinstance(value, (bool, int, float)):
        return _cut(repr(value))
    return f"a {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= 2 * _LENGTH else f"{text[:_LENGTH]}...{text[-_LENGTH // 2 :]}"


def misfits(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Returns how tensors, or their shapes, differ from those expected, or are not finite; '' if they do not."""
    shape_of = {name: tuple(getattr(value, "shape", value)) for name, value in tensors.items()}
    fitting = [name for name, shape in shapes.items() if shape_of.get(name) == shape]
    faults = {
        "missing": [name for name in shapes if name not in tensors],
        "unknown": [name for name in tensors if name not in shapes],
        "misshapen": [
            f"{name} is {shape_of[name]} instead of {shape}"
            for name, shape in shapes.items()
            if shape_of.get(name, shape) != shape
        ],
        "without numbers": [name for name in fitting if 0 in shapes[name]],
        "with NaN or infinity": [
            name for name in fitting if hasattr(tensors[name], "dtype") and not np.isfinite(tensors[name]).all()
        ],
    }
    return "; ".join(f"{what}: {listed(names)}" for what, names in faults.items() if names)


class TensorFile:
    """An open safetensors file."""

    def __init__(self, file: Any, path: str | os.PathLike[str]) -> None:
        """Takes what `safetensors.safe_open` returns; refuses tensors of other types than floats by `UserError`."""
        self._file = file
        self.metadata: Mapping[str, str] = file.metadata() or {}  # the header's, all text
        self.shapes: dict[str, tuple[int, ...]] = {}  # the tensors', by name
        for name in file.keys():  # it is no dictionary
            entry = file.get_slice(name)
            if entry.get_dtype() not in _TYPES:
                raise UserError(
                    f"{path} holds the tensor {short(name)} of type {short(entry.get_dtype())}, and only "
                    f"{', '.join(_TYPES)} are read: save it with one of these types"
                )
            self.shapes[name] = tuple(entry.get_shape())

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor."""
        return self._file.get_tensor(name)

    def read_all(self, shapes: Mapping[str, tuple[int, ...]], fault: str) -> dict[str, np.ndarray]:
        """Returns all tensors; a `UserError` begins with `fault` and lists how they differ, see `misfits`."""
        tensors: dict[str, Any] = {
            name: self.read(name) if shapes.get(name) == shape else shape for name, shape in self.shapes.items()
        }
        if differing := misfits(tensors, shapes):
            raise UserError(f"{fault}: {differing}")
        return tensors


@contextlib.contextmanager
def open_safetensors(path: str | os.PathLike[str], advice: str = "") -> Iterator[TensorFile]:
    """Opens a safetensors file of 16, 32 or 64-bit floating point numbers.

    Raises `UserError` for a file that is missing, damaged, of other types or larger than any weight file; `advice` is
    what the message says to do.
    """
    then = f"; {advice}" if advice else ""
    try:
        with open_regular(path, limit=LIMIT) as start:
            if (header := int.from_bytes(start.read(8), "little")) > _LARGEST_HEADER:
                raise safetensors.SafetensorError(f"its header has {header:,} bytes, which no weights need")
        with safetensors.safe_open(path, framework="np") as file:
            yield TensorFile(file, path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{then}") from error
    except (OSError, safetensors.SafetensorError) as error:
        why = one_line(str(error)[:200])
        raise UserError(f"{path} cannot be read as a safetensors file ({why}){then}") from error
