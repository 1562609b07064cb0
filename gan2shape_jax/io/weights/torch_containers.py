"""The two ways in which PyTorch stores a pickle and its storages in a file.

Since PyTorch 1.6 this is a zip archive (`zip_entries`); before (and still inside other pickles) it is three identifying
pickles, the object, the list of its storages, and their bytes. Lengths are checked against the available bytes before
anything is read, and reads are charged to the file's budget.
"""

import struct
from typing import Any

from gan2shape_jax.io.weights.budget import Budget, Refused
from gan2shape_jax.io.weights.dictionary_keys import check_key
from gan2shape_jax.io.weights.pickle_source import Binary, bytes_left
from gan2shape_jax.io.weights.torch_storages import Storage, StorageType
from gan2shape_jax.io.weights.torch_unpickler import Unpickler
from gan2shape_jax.io.weights.zip_entries import ZipEntries

__all__ = ["MAGIC", "read_legacy", "read_zip"]

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file in the older format
_PICKLE_LIMIT = 64 * 2**20  # bytes; checkpoints of thousands of tensors have under 1 MiB


def read_zip(file: Binary, budget: Budget, unpickler: type[Unpickler] = Unpickler) -> Any:
    """Reads what PyTorch wrote as a zip archive; raises `Refused` for anything else."""
    with ZipEntries(file, budget) as entries:
        names = [name for name in entries.sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            raise Refused("an archive without a single data.pkl")
        root = names[0].split("/")[0]
        if f"{root}/byteorder" in entries.sizes and entries.read(f"{root}/byteorder") != b"little":
            raise Refused("big-endian storages")
        if entries.sizes[names[0]] > _PICKLE_LIMIT:
            raise Refused("a pickle of unreasonable length")
        cache: dict[str, Storage] = {}

        def storage(kind: StorageType, key: str, count: int) -> Storage:
            name = f"{root}/data/{key}"
            if entries.sizes.get(name) != count * kind.dtype.itemsize:
                raise Refused(f"a storage {key!r:.40} of {count} values that is not there")
            mark = f"{kind.name}/{key}"
            if mark not in cache:
                cache[mark] = Storage(count, kind.values(entries.read(name), budget), budget)
            return cache[mark]

        return unpickler(entries.open(names[0]), storage, budget).load()


def read_legacy(file: Binary, budget: Budget, unpickler: type[Unpickler] = Unpickler) -> Any:
    """Reads what PyTorch wrote before 1.6: three identifying pickles, the object, keys, storages.

    The object may be a storage itself.

    Raises:
      Refused: the file is anything else.
    """

    def none(kind: StorageType, key: str, count: int) -> Storage:
        raise Refused("a storage in the preamble")

    magic, version, _ = (Unpickler(file, none, budget).load() for _ in range(3))
    if magic != MAGIC or version != 1001:
        raise Refused("a pickle that PyTorch did not write")
    start, kinds = file.tell(), dict[str, tuple[StorageType, int]]()

    def collect(kind: StorageType, key: str, count: int) -> Storage:
        if kinds.setdefault(key, (kind, count)) != (kind, count):
            raise Refused(f"a storage {key!r:.40} of two kinds")
        return Storage(count, None, budget)

    # The object precedes its storages: a first pass collects their types and sizes, a second builds the object.
    content = unpickler(file, collect, budget).load()
    keys = _keys(Unpickler(file, none, budget).load())
    if len(keys) != len(kinds) or set(keys) != kinds.keys():
        raise Refused("storages that do not match its list of them")
    if not kinds:
        return content
    storages = {key: _storage(file, *kinds[key], budget) for key in keys}
    file.seek(start)
    return unpickler(file, lambda kind, key, count: storages[key], budget).load()


def _keys(content: Any) -> list[str]:
    """Returns the list of storage names, which are short; raises `Refused` if it is not such a list."""
    if not isinstance(content, list) or not all(type(key) is str for key in content):
        raise Refused("storages that do not match its list of them")
    for key in content:
        check_key(key)
    return content


def _storage(file: Binary, kind: StorageType, count: int, budget: Budget) -> Storage:
    (stored,) = struct.unpack("<q", file.read(8))
    length = count * kind.dtype.itemsize
    if stored != count or length > bytes_left(file):
        raise Refused(f"a storage of {count} values that is not there")
    budget.take(length)
    return Storage(count, kind.values(file.read(length), budget), budget)
