"""Reads PyTorch's .pt and .pth files without PyTorch, and without running anything that they hold.

A torch file is a pickle, a small program that may name any function to call, plus raw storages: in
a zip archive (PyTorch 1.6 and later) or one after the other (before). The reader here knows a
closed list of names: tensors, their storages, containers, and `argparse.Namespace` as an inert
record. Anything else is refused by its name. Sizes, strides and offsets are checked against the
bytes that are there, so a small file cannot claim a large memory.
"""

import io
import os
import pathlib
import struct
import zipfile
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.torch_unpickler import Record, Refused, Storage, StorageType, Unpickler

__all__ = ["Record", "read_torch"]

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file of the older format
_PICKLE_LIMIT = 64 * 2 ** 20  # bytes; checkpoints of thousands of tensors have under 1 MiB


def _values(kind: StorageType, data: bytes) -> np.ndarray:
    values = np.frombuffer(data, kind.dtype)
    if kind.name == "BFloat16Storage":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _read_zip(file) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        size = file.seek(0, io.SEEK_END)
        # PyTorch does not compress, nor does it name the same bytes twice.
        if any(i.compress_type != zipfile.ZIP_STORED or i.file_size != i.compress_size
               for i in archive.infolist()) or sum(
                   i.file_size for i in archive.infolist()) > size:
            raise Refused("compressed or overlapping entries")
        names = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            raise Refused("an archive without a single data.pkl")
        root = names[0].split("/")[0]
        if entries.get(f"{root}/byteorder") and archive.read(f"{root}/byteorder") != b"little":
            raise Refused("big-endian storages")
        if entries[names[0]].file_size > _PICKLE_LIMIT:
            raise Refused("a pickle of unreasonable length")
        cache: dict[str, Storage] = {}

        def storage(kind: StorageType, key: str, count: int) -> Storage:
            name = f"{root}/data/{key}"
            if name not in entries or entries[name].file_size != count * kind.dtype.itemsize:
                raise Refused(f"a storage {key!r:.40} of {count} values that is not there")
            mark = f"{kind.name}/{key}"
            if mark not in cache:
                cache[mark] = Storage(count, _values(kind, archive.read(name)))
            return cache[mark]

        return Unpickler(io.BytesIO(archive.read(names[0])), storage).load()


def _read_legacy(file) -> Any:
    """The format before PyTorch 1.6: three pickles that identify, the object, keys, storages."""

    def none(kind: StorageType, key: str, count: int) -> Storage:
        raise Refused("a storage in the preamble")

    magic, version, _ = (Unpickler(file, none).load() for _ in range(3))
    if magic != _MAGIC or version != 1001:
        raise Refused("a pickle that PyTorch did not write")
    start, kinds = file.tell(), dict[str, tuple[StorageType, int]]()

    def collect(kind: StorageType, key: str, count: int) -> Storage:
        if kinds.setdefault(key, (kind, count)) != (kind, count):
            raise Refused(f"a storage {key!r:.40} of two kinds")
        return Storage(count, None)

    # The object comes before its storages: a first pass collects their types and sizes, a second
    # builds.
    Unpickler(file, collect).load()
    keys = Unpickler(file, none).load()
    if not isinstance(keys, list) or not all(type(k) is str for k in keys) or (
            sorted(keys) != sorted(kinds)):
        raise Refused("storages that do not match its list of them")
    storages = {}
    for key in keys:
        kind, count = kinds[key]
        (stored,) = struct.unpack("<q", file.read(8))
        length = count * kind.dtype.itemsize
        if stored != count or length > _left(file):
            raise Refused(f"a storage of {count} values that is not there")
        storages[key] = Storage(count, _values(kind, file.read(length)))
    file.seek(start)
    return Unpickler(file, lambda kind, key, count: storages[key]).load()


def _left(file) -> int:
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


def read_torch(path: str | os.PathLike) -> Any:
    """Reads what `torch.save` wrote, with NumPy arrays for tensors (bfloat16 as float32).

    Dictionaries, lists, tuples and plain values stay what they are; an `argparse.Namespace` becomes
    a `Record`. Raises UserError, naming the file, where it is absent, truncated or not PyTorch's,
    or where it asks for anything outside the closed list, naming that.
    """
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as file:
            if _left(file) == 0:
                raise UserError(f"{path}: the file is empty")
            return _read_zip(file) if zipfile.is_zipfile(file) else _rewound_legacy(file)
    except UserError:
        raise
    except Refused as error:
        raise UserError(f"{path}: refused, for it holds {error}. Only tensors in lists and "
                        "dictionaries are read, and nothing is ever run; save it anew as plain "
                        "tensors if you trust where it came from") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path}: damaged, truncated or not a PyTorch file "
                        f"({type(error).__name__}: {str(error)[:100]})") from error


def _rewound_legacy(file) -> Any:
    file.seek(0)
    return _read_legacy(file)
