"""Reads PyTorch's .pt and .pth files without PyTorch, and without running anything that they hold.

A torch file is a pickle, a small program that may name any function to call, plus raw storages: in a zip archive
(PyTorch 1.6 and later) or one after the other (before). The reader here knows a closed list of names: tensors,
their storages, containers, and `argparse.Namespace` as an inert record. Anything else is refused by its name.
Sizes, strides and offsets are checked against the bytes that are there, so a small file cannot claim a large memory.
"""

import collections
import dataclasses
import io
import os
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError

__all__ = ["Record", "read_torch"]

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file of the older format
_PICKLE_LIMIT = 64 * 2 ** 20  # bytes; checkpoints of thousands of tensors have under 1 MiB
_EXPANDED_LIMIT = 2 ** 20  # elements that an expanded (stride 0) tensor may have beyond its storage
_PLAIN = (str, int, float, bool, bytes, type(None))

_STORAGES = {
    "FloatStorage": np.dtype("<f4"), "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"), "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"), "BFloat16Storage": np.dtype("<u2")}


class Record:
    """What is read in place of an object whose class is not run: its attributes are in `fields`."""

    fields: dict[str, Any]

    def __new__(cls):  # not __init__, which a pickle may leave out
        record = super().__new__(cls)
        record.fields = {}
        return record


class _Refused(Exception):
    """The file asks for something outside the closed list."""


@dataclasses.dataclass(frozen=True)
class _StorageType:
    name: str

    @property
    def dtype(self) -> np.dtype:
        return _STORAGES[self.name]


@dataclasses.dataclass(frozen=True)
class _Storage:
    count: int
    values: np.ndarray | None  # None while sizes are being collected


def _counts(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(
            type(v) is int and v >= 0 for v in values):
        raise _Refused(f"a tensor of size or stride {values!r:.80}")
    return tuple(values)


def _rebuild_tensor(storage, offset, size, stride, *_) -> np.ndarray | None:
    """A strided view of a storage as an array, after checking that it stays inside."""
    if not isinstance(storage, _Storage):
        raise _Refused("a tensor without a storage")
    (offset,), size, stride = _counts((offset,)), _counts(size), _counts(stride)
    if len(size) != len(stride) or len(size) > 32:
        raise _Refused(f"a tensor of size {size!r:.80} and stride {stride!r:.80}")
    # Python's integers: the products below cannot overflow.
    count = int(np.prod(np.array(size, dtype=object))) if size else 1
    end = offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if count else offset
    if end > storage.count or count > max(storage.count, _EXPANDED_LIMIT):
        raise _Refused(f"a tensor of size {size} that reaches beyond its storage of "
                       f"{storage.count} values")
    if storage.values is None:
        return None
    values = storage.values
    strides = tuple(s * values.itemsize for s in stride)
    view = np.lib.stride_tricks.as_strided(values[offset:], size, strides)
    return view.copy() if 0 in stride else np.ascontiguousarray(view).reshape(size)


def _ordered_dict(*args) -> collections.OrderedDict:
    pairs = args[0] if args else []
    if len(args) > 1 or not isinstance(pairs, (list, tuple)):
        raise _Refused("collections.OrderedDict with arguments other than pairs")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or type(pair[0]) not in _PLAIN:
            raise _Refused("collections.OrderedDict with arguments other than pairs")
    return collections.OrderedDict(pairs)


_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.Size": lambda sizes: _counts(sizes),
    "torch.device": lambda *args: ":".join(str(a) for a in args if type(a) in (str, int)),
    "argparse.Namespace": Record,
    **{f"torch.{name}": _StorageType(name) for name in _STORAGES},
}


class _Unpickler(pickle._Unpickler):  # the Python one: its opcodes can be narrowed
    """An unpickler that calls nothing but the closed list, and sets attributes of nothing but records."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file, storage: Callable[[_StorageType, str, int], _Storage]):
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self._views: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or not (
                isinstance(pid[1], _StorageType) and isinstance(pid[2], str)):
            raise _Refused(f"an unknown persistent object {str(type(pid))}")
        (count,) = _counts(pid[4:5])
        storage = self._storage(pid[1], pid[2], count)
        if len(pid) == 6 and pid[5] is not None:  # the older format's view of a storage
            offset, size = _counts(tuple(pid[5])[1:3])
            values = None if storage.values is None else storage.values[offset:offset + size]
            if offset + size > storage.count:
                raise _Refused(f"a view of {size} values from {offset} in {storage.count}")
            storage = _Storage(size, values)
        return storage

    def _load_build(self) -> None:
        state = self.stack.pop()  # pyright: ignore[reportAttributeAccessIssue]
        target = self.stack[-1]  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(target, Record) and isinstance(state, dict):
            target.fields.update(state)
        elif type(target) is not collections.OrderedDict:  # whose state is torch's `_metadata`
            raise _Refused(f"the state of a {type(target).__name__}")

    def _load_unknown(self) -> None:
        raise _Refused("an instruction that PyTorch's files do not need")

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()  # pyright: ignore
        self._set_items([key, value])

    def _load_setitems(self) -> None:
        self._set_items(self.pop_mark())  # pyright: ignore[reportAttributeAccessIssue]

    def _set_items(self, items: list) -> None:
        target = self.stack[-1]  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(target, dict):
            raise _Refused(f"items set in a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            if type(key) not in _PLAIN:  # hashing what is nested deeply ends the process
                raise _Refused(f"a dictionary key of type {type(key).__name__}")
            target[key] = value


# Neither PyTorch's files nor records need these; the keys of "DICT" and of sets would go unchecked.
for _opcode in (pickle.DICT, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.INST,
                pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4):
    _Unpickler.dispatch[_opcode[0]] = _Unpickler._load_unknown
_Unpickler.dispatch[pickle.BUILD[0]] = _Unpickler._load_build
_Unpickler.dispatch[pickle.SETITEM[0]] = _Unpickler._load_setitem
_Unpickler.dispatch[pickle.SETITEMS[0]] = _Unpickler._load_setitems


def _values(kind: _StorageType, data: bytes) -> np.ndarray:
    values = np.frombuffer(data, kind.dtype)
    if kind.name == "BFloat16Storage":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _read_zip(file) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        size = file.seek(0, io.SEEK_END)
        # PyTorch stores without compression; whoever compresses, or counts bytes twice, is not PyTorch.
        if any(i.compress_type != zipfile.ZIP_STORED or i.file_size != i.compress_size
               for i in archive.infolist()) or sum(
                   i.file_size for i in archive.infolist()) > size:
            raise _Refused("compressed or overlapping entries")
        names = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            raise _Refused("an archive without a single data.pkl")
        root = names[0].split("/")[0]
        if entries.get(f"{root}/byteorder") and archive.read(f"{root}/byteorder") != b"little":
            raise _Refused("big-endian storages")
        if entries[names[0]].file_size > _PICKLE_LIMIT:
            raise _Refused("a pickle of unreasonable length")
        cache: dict[str, _Storage] = {}

        def storage(kind: _StorageType, key: str, count: int) -> _Storage:
            name = f"{root}/data/{key}"
            if name not in entries or entries[name].file_size != count * kind.dtype.itemsize:
                raise _Refused(f"a storage {key!r:.40} of {count} values that is not there")
            mark = f"{kind.name}/{key}"
            if mark not in cache:
                cache[mark] = _Storage(count, _values(kind, archive.read(name)))
            return cache[mark]

        return _Unpickler(io.BytesIO(archive.read(names[0])), storage).load()


def _read_legacy(file) -> Any:
    """The format before PyTorch 1.6: three pickles of identification, the object, keys, storages."""

    def none(kind: _StorageType, key: str, count: int) -> _Storage:
        raise _Refused("a storage in the preamble")

    magic, version, _ = (_Unpickler(file, none).load() for _ in range(3))
    if magic != _MAGIC or version != 1001:
        raise _Refused("a pickle that PyTorch did not write")
    start, kinds = file.tell(), {}

    def collect(kind: _StorageType, key: str, count: int) -> _Storage:
        if kinds.setdefault(key, (kind, count)) != (kind, count):
            raise _Refused(f"a storage {key!r:.40} of two kinds")
        return _Storage(count, None)

    # The object comes before its storages: a first pass collects their types and sizes, a second builds.
    _Unpickler(file, collect).load()
    keys = _Unpickler(file, none).load()
    if not isinstance(keys, list) or not all(type(k) is str for k in keys) or (
            sorted(keys) != sorted(kinds)):
        raise _Refused("storages that do not match its list of them")
    storages = {}
    for key in keys:
        kind, count = kinds[key]
        (stored,) = struct.unpack("<q", file.read(8))
        length = count * kind.dtype.itemsize
        if stored != count or length > _left(file):
            raise _Refused(f"a storage of {count} values that is not there")
        storages[key] = _Storage(count, _values(kind, file.read(length)))
    file.seek(start)
    return _Unpickler(file, lambda kind, key, count: storages[key]).load()


def _left(file) -> int:
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


def read_torch(path: str | os.PathLike) -> Any:
    """Reads what `torch.save` wrote, with NumPy arrays for tensors (bfloat16 as float32).

    Dictionaries, lists, tuples and plain values stay what they are; an `argparse.Namespace` becomes a `Record`.
    Raises UserError, naming the file, where it is absent, truncated or not PyTorch's, or where it asks for anything
    outside the closed list, naming that.
    """
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as file:
            if _left(file) == 0:
                raise UserError(f"{path}: the file is empty")
            return _read_zip(file) if zipfile.is_zipfile(file) else _rewound_legacy(file)
    except UserError:
        raise
    except _Refused as error:
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
