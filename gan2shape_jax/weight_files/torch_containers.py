"""The two ways in which PyTorch lays a pickle and its storages into a file.

Since PyTorch 1.6 a zip archive, before (and still for what is inside another pickle) three
identifying pickles, the object, the list of its storages and their bytes. Lengths are checked
against the bytes that are there before anything is read.
"""

import io
import struct
import zipfile
from typing import Any

import numpy as np

from gan2shape_jax.weight_files.torch_unpickler import Refused, Storage, StorageType, Unpickler

__all__ = ["MAGIC", "bytes_left", "read_legacy", "read_zip"]

_Binary = io.BufferedReader | io.BytesIO

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file of the older format
_PICKLE_LIMIT = 64 * 2**20  # bytes; checkpoints of thousands of tensors have under 1 MiB


def bytes_left(file: _Binary) -> int:
    """Returns how many bytes follow the file's position, which stays."""
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


def _values(kind: StorageType, data: bytes) -> np.ndarray:
    values = np.frombuffer(data, kind.dtype)
    if kind.name == "BFloat16Storage":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def read_zip(file: _Binary, unpickler: type[Unpickler] = Unpickler) -> Any:
    """Reads what PyTorch wrote as a zip archive; raises `Refused` where it is anything else."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        size = file.seek(0, io.SEEK_END)
        # PyTorch does not compress, nor does it name the same bytes twice.
        if (
            any(i.compress_type != zipfile.ZIP_STORED or i.file_size != i.compress_size for i in archive.infolist())
            or sum(i.file_size for i in archive.infolist()) > size
        ):
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

        return unpickler(io.BytesIO(archive.read(names[0])), storage).load()


def read_legacy(file: _Binary, unpickler: type[Unpickler] = Unpickler) -> Any:
    """Reads what PyTorch wrote before 1.6: three identifying pickles, the object, keys, storages.

    The object may be a storage itself.

    Raises:
      Refused: the file is anything else.
    """

    def none(kind: StorageType, key: str, count: int) -> Storage:
        raise Refused("a storage in the preamble")

    magic, version, _ = (Unpickler(file, none).load() for _ in range(3))
    if magic != MAGIC or version != 1001:
        raise Refused("a pickle that PyTorch did not write")
    start, kinds = file.tell(), dict[str, tuple[StorageType, int]]()

    def collect(kind: StorageType, key: str, count: int) -> Storage:
        if kinds.setdefault(key, (kind, count)) != (kind, count):
            raise Refused(f"a storage {key!r:.40} of two kinds")
        return Storage(count, None)

    # The object comes before its storages: a first pass collects their types and sizes, a second builds.
    unpickler(file, collect).load()
    keys = Unpickler(file, none).load()
    if not isinstance(keys, list) or not all(type(k) is str for k in keys) or (sorted(keys) != sorted(kinds)):
        raise Refused("storages that do not match its list of them")
    storages = {}
    for key in keys:
        kind, count = kinds[key]
        (stored,) = struct.unpack("<q", file.read(8))
        length = count * kind.dtype.itemsize
        if stored != count or length > bytes_left(file):
            raise Refused(f"a storage of {count} values that is not there")
        storages[key] = Storage(count, _values(kind, file.read(length)))
    file.seek(start)
    return unpickler(file, lambda kind, key, count: storages[key]).load()
