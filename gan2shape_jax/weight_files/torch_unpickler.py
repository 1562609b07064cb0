"""An unpickler that calls nothing beyond a closed list: tensors, containers, an inert record.

A pickle is a small program: it may name any function, have it called, and set the attributes of
what comes out. Here names are looked up in a closed list, attributes are set on records alone,
dictionary keys are plain values, and instructions that PyTorch's files do not need are refused.
Sizes, strides and offsets of tensors are checked against their storages, so that a file cannot
claim a large memory.
"""

import collections
import dataclasses
import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar

import numpy as np

__all__ = ["ALLOWED", "PLAIN", "Record", "Refused", "Storage", "StorageType", "Unpickler"]

_EXPANDED_LIMIT = 2**20  # elements that an expanded (stride 0) tensor may have beyond its storage
PLAIN = (str, int, float, bool, bytes, type(None))

_STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "BFloat16Storage": np.dtype("<u2"),
}


class Record:
    """An object whose class is not run, read as data: its attributes are in `fields`."""

    fields: dict[str, Any]

    def __new__(cls) -> Any:  # not __init__, which a pickle may leave out
        """Makes a record without attributes."""
        record = super().__new__(cls)
        record.fields = {}
        return record


class Refused(Exception):
    """The file asks for something outside the closed list.

    Attributes:
      name: of the function or class that it asks for, or "".
    """

    name: str = ""

    @classmethod
    def call(cls, name: str) -> "Refused":
        """Returns the error for a file that names a function or class outside the list."""
        error = cls(name[:200])
        error.name = name
        return error


@dataclasses.dataclass(frozen=True)
class StorageType:
    """The type of a storage's values, by PyTorch's name for it."""

    name: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of the values as they are stored; bfloat16 is stored as integers."""
        return _STORAGES[self.name]


@dataclasses.dataclass(frozen=True)
class Storage:
    """The values that tensors are views of."""

    count: int
    values: np.ndarray | None  # None while sizes are being collected


def _counts(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(type(v) is int and v >= 0 for v in values):
        raise Refused("a tensor whose size, stride or offset is not a whole number from 0 on")
    return tuple(values)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray | None:
    """Returns a strided view of a storage as an array, after checking that it stays inside."""
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    (offset,), size, stride = _counts((offset,)), _counts(size), _counts(stride)
    if len(size) != len(stride) or len(size) > 32:
        raise Refused(f"a tensor of {len(size)} axes with {len(stride)} strides")
    # Python's integers: the products below cannot overflow.
    count = int(np.prod(np.array(size, dtype=object))) if size else 1
    end = offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if count else offset
    if end > storage.count or count > max(storage.count, _EXPANDED_LIMIT):
        raise Refused("a tensor that reaches beyond its storage")
    if storage.values is None:
        return None
    values = storage.values
    strides = tuple(s * values.itemsize for s in stride)
    view = np.lib.stride_tricks.as_strided(values[offset:], size, strides)
    return view.copy() if 0 in stride else np.ascontiguousarray(view).reshape(size)


def _ordered_dict(*args: Any) -> collections.OrderedDict[Any, Any]:
    pairs = args[0] if args else []
    if len(args) > 1 or not isinstance(pairs, (list, tuple)):
        raise Refused("collections.OrderedDict with arguments other than pairs")
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or type(pair[0]) not in PLAIN:
            raise Refused("collections.OrderedDict with arguments other than pairs")
    return collections.OrderedDict(pairs)


ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.Size": lambda sizes: _counts(sizes),
    "torch.device": lambda *args: ":".join(str(a) for a in args if type(a) in (str, int)),
    "argparse.Namespace": Record,
    "unsup3d.meters.MetricsTrace": Record,  # the loss curves in Unsup3d's checkpoints
    **{f"torch.{name}": StorageType(name) for name in _STORAGES},
}


class Unpickler(pickle._Unpickler):  # the Python one: its opcodes can be narrowed
    """Calls nothing but the closed list, and sets attributes of nothing but records."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    allowed: ClassVar[dict[str, Any]] = ALLOWED
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: IO[bytes], storage: Callable[[StorageType, str, int], Storage]) -> None:
        """Reads a pickle.

        Args:
          file: at the pickle's first byte.
          storage: gives a storage by type, key and number of values.
        """
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a function or class of the closed list; raises `Refused` for any other."""
        if f"{module}.{name}" not in self.allowed:
            raise Refused.call(f"{module}.{name}")
        return self.allowed[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the storage that a tensor refers to; raises `Refused` where it is none or does not fit."""
        if (
            not isinstance(pid, tuple)
            or len(pid) not in (5, 6)
            or pid[0] != "storage"
            or not (isinstance(pid[1], StorageType) and isinstance(pid[2], str))
        ):
            raise Refused(f"an unknown persistent object of type {type(pid).__name__}")
        (count,) = _counts(pid[4:5])
        storage = self._storage(pid[1], pid[2], count)
        if len(pid) == 6 and pid[5] is not None:  # the older format's view of a storage
            offset, size = _counts(tuple(pid[5])[1:3])
            values = None if storage.values is None else storage.values[offset : offset + size]
            if offset + size > storage.count:
                raise Refused("a view that reaches beyond its storage")
            storage = Storage(size, values)
        return storage

    def _load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            target.fields.update(state)
        elif type(target) is not collections.OrderedDict:  # whose state is torch's `_metadata`
            raise Refused(f"the state of a {type(target).__name__}")

    def _load_unknown(self) -> None:
        raise Refused("an instruction that PyTorch's files do not need")

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise Refused(f"items set in a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            if type(key) not in PLAIN:  # hashing what is nested deeply ends the process
                raise Refused(f"a dictionary key of type {type(key).__name__}")
            target[key] = value


# Neither PyTorch's files nor records need these; the keys of "DICT" and of sets would go unchecked.
for _opcode in (
    pickle.DICT,
    pickle.EMPTY_SET,
    pickle.ADDITEMS,
    pickle.FROZENSET,
    pickle.INST,
    pickle.OBJ,
    pickle.NEWOBJ_EX,
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
):
    Unpickler.dispatch[_opcode[0]] = Unpickler._load_unknown
Unpickler.dispatch[pickle.BUILD[0]] = Unpickler._load_build
Unpickler.dispatch[pickle.SETITEM[0]] = Unpickler._load_setitem
Unpickler.dispatch[pickle.SETITEMS[0]] = Unpickler._load_setitems
