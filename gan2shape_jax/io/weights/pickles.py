"""An unpickler that calls nothing beyond a closed list: what PyTorch's files and NVIDIA's network pickles need.

A pickle is a small program: it may name any function, have it called, and set the attributes of the result. Here every
name is looked up in `ALLOWED`, what is found there stands in for the real function or class and keeps its attributes,
and tensors are checked views of their storages. NVIDIA's records (stylegan2-ada-pytorch: torch_utils/persistence.py;
stylegan2: dnnlib/tflib/network.py) are data, and the source code in them stays text.

What this costs is not bounded here: files of strangers are read in a child process (`checkpoints`).
"""

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from gan2shape_jax.io.child import Record
from gan2shape_jax.io.weights.messages import Refused, short

__all__ = ["ALLOWED", "TENSORFLOW", "Storage", "StorageType", "Unpickler", "as_data", "read_legacy"]

TENSORFLOW = "dnnlib.tflib.network.Network"  # the class of records of TensorFlow's networks
_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file in PyTorch's older format
_VERSION = 1001
_DEPTH, _VALUES = 60, 1_000_000  # levels and values of a file; StyleGAN2 with its optimizers has 10 and 20,000
_EXPANDED = 2**20  # values that a tensor may have beyond those of its storage, which it repeats

# bfloat16 becomes float32 in `as_data`.
_STORAGES: dict[str, Any] = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "BFloat16Storage": ml_dtypes.bfloat16,
}


class _Fixed:
    """Instances whose attributes a pickle cannot set."""

    def __setstate__(self, state: Any) -> None:
        raise Refused(f"the state of a {type(self).__name__}")


class _Call(_Fixed):
    """A function of the closed list."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class StorageType(_Fixed):
    """The type of a storage's values."""

    def __init__(self, dtype: Any) -> None:
        """Takes the NumPy type."""
        self.dtype = np.dtype(dtype)


class Storage(_Fixed):
    """Bytes and their type, which tensors are views of."""

    def __init__(self, kind: StorageType, buffer: bytes | bytearray | memoryview) -> None:
        """Takes what is kept as it is: the bytes may be filled in later."""
        self.dtype, self.buffer = kind.dtype, buffer


class _Dictionary(dict[Any, Any]):
    """Stands in for `collections.OrderedDict`, whose state is torch's `_metadata`, and NVIDIA's `EasyDict`."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Attributes(_Fixed):
    """Stands in for an object that is only a set of attributes."""

    class_name = "argparse.Namespace"
    fields: dict[str, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or self.fields is not None:
            raise Refused(f"the state of a {self.class_name} that is none")
        self.fields = state


class _Network(_Attributes):
    """Stands in for a network of NVIDIA's TensorFlow code."""

    class_name = TENSORFLOW


class _DataType(_Fixed):
    """Stands in for a NumPy data type; numbers only."""

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or not re.fullmatch(r"[<|=]?(f[248]|[iu][1248]|b1)", text):
            raise Refused(f"numpy.dtype of {short(text)}, which is not a plain number")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise Refused("numpy.dtype of another byte order or with fields")


class _Array(_Fixed):
    """Stands in for a NumPy array of plain numbers."""

    values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("numpy.ndarray of other than plain numbers")
        _, shape, kind, fortran, data = state
        self.values = _array(data, kind, shape, "F" if fortran is True else "C")


def _array(data: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
    data = data.encode("latin1") if isinstance(data, str) else data  # as Python 2 wrote it
    if not isinstance(kind, _DataType) or not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise Refused("numpy.ndarray of other than plain numbers")
    size = _whole(shape)
    if math.prod(size) * kind.dtype.itemsize != len(data):
        raise Refused(f"numpy.ndarray of {math.prod(size)} values in {len(data)} bytes")
    return np.frombuffer(data, kind.dtype).reshape(size, order=order)


def _number(kind: Any, data: Any) -> Any:
    return _array(data, kind, ()).item()


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise Refused("numpy.core.multiarray._reconstruct of another class")
    return _Array()


def _whole(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(type(v) is int and v >= 0 for v in values):
        raise Refused("a tensor whose size, stride or offset is not made of whole numbers from 0 on")
    return tuple(values)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    (offset,), size, stride = _whole((offset,)), _whole(size), _whole(stride)
    width = storage.dtype.itemsize
    if math.prod(size) > max(len(storage.buffer) // width, _EXPANDED):
        raise Refused("a tensor of more values than its storage")
    try:
        # NumPy checks that all of it lies within the bytes.
        return np.ndarray(size, storage.dtype, storage.buffer, offset * width, tuple(side * width for side in stride))
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused(f"a tensor that reaches beyond its storage ({error})") from error


def _device(*args: Any) -> str:
    return ":".join(str(short(arg)) for arg in args)


def _persistent(meta: Any) -> Record:
    """Returns a module of NVIDIA's PyTorch code as data."""
    if (
        not isinstance(meta, dict)
        or meta.get("type") != "class"
        or not isinstance(meta.get("class_name"), str)
        or not isinstance(meta.get("state"), dict)
    ):
        raise Refused("torch_utils.persistence._reconstruct_persistent_obj of what is no record of a class")
    return Record(meta["class_name"], meta["state"])


def _nested_storage(data: Any) -> Storage:
    """Returns the storage in bytes of PyTorch's older format."""
    try:
        storage = read_legacy(io.BytesIO(data))
    except Refused as error:
        error.args = (f"{error} (inside torch.storage._load_from_bytes)",)
        raise
    if not isinstance(storage, Storage):
        raise Refused("torch.storage._load_from_bytes of what is no storage")
    return storage


def _encoded(text: Any, encoding: Any = None) -> bytes:
    """Returns the bytes that protocol 2 writes as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("_codecs.encode other than to latin1")
    return text.encode("latin1")


def _set(items: Any = ()) -> set[Any]:
    return set(items)


# What a pickle may name, by `module.name`.
ALLOWED: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _Call(_tensor),
    "torch._utils._rebuild_tensor_v2": _Call(_tensor),
    "torch._utils._rebuild_parameter": _Call(lambda data, *_: data),
    "torch.Size": _Call(_whole),
    "torch.device": _Call(_device),
    "torch.storage._load_from_bytes": _Call(_nested_storage),
    **{f"torch.{name}": StorageType(dtype) for name, dtype in _STORAGES.items()},
    "collections.OrderedDict": _Dictionary,
    "argparse.Namespace": _Attributes,
    "unsup3d.meters.MetricsTrace": _Attributes,  # the loss curves in Unsup3d's checkpoints
    "torch_utils.persistence._reconstruct_persistent_obj": _Call(_persistent),
    "dnnlib.util.EasyDict": _Dictionary,
    "dnnlib.EasyDict": _Dictionary,
    TENSORFLOW: _Network,
    "tfutil.Network": _Network,
    "builtins.set": _Call(_set),
    "__builtin__.set": _Call(_set),
    "_codecs.encode": _Call(_encoded),
    "numpy.dtype": _DataType,
    "numpy.ndarray": _Array,
    **{
        f"numpy.{core}.{name}": _Call(function)
        for core in ("core", "_core")  # NumPy 1 and 2
        for name, function in (
            ("multiarray.scalar", _number),
            ("multiarray._reconstruct", _reconstruct),
            ("numeric._frombuffer", _array),
        )
    },
}


def _no_storage(kind: StorageType, key: str, count: int) -> Storage:
    raise Refused("a storage outside of PyTorch's files")


class Unpickler(pickle.Unpickler):
    """Reads one pickle from a file, which is left after it; `load` returns what `as_data` takes."""

    def __init__(
        self, file: BinaryIO | io.BytesIO, storage: Callable[[StorageType, str, int], Storage] = _no_storage
    ) -> None:
        """Prepares to read.

        Args:
          file: positioned at the pickle's first byte.
          storage: returns a storage, given its type, key and number of values.
        """
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands in for a function or class; raises `Refused` if it is not in the closed list."""
        full = f"{module}.{name}"
        if full not in ALLOWED:
            raise Refused.call(full)
        return ALLOWED[full]

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the storage that a tensor refers to."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise Refused(f"an unknown persistent object of type {type(pid).__name__}")
        kind, key, (count,) = pid[1], pid[2], _whole(pid[4:5])
        if not isinstance(kind, StorageType) or not isinstance(key, str):
            raise Refused("a storage without a type or a name")
        storage = self._storage(kind, key, count)
        if len(pid) == 6 and pid[5] is not None:  # the older format's view of a storage
            if not isinstance(pid[5], (tuple, list)) or len(pid[5]) != 3:
                raise Refused("a view of a storage that is not three values")
            start, length = (kind.dtype.itemsize * number for number in _whole(pid[5][1:]))
            storage = Storage(kind, memoryview(storage.buffer)[start : start + length])
        return storage


def read_legacy(file: BinaryIO | io.BytesIO) -> Any:
    """Reads what PyTorch wrote before 1.6: three identifying pickles, the object, the storages' keys, their bytes.

    Raises:
      Refused: the file is anything else.
    """
    magic, version, _ = (Unpickler(file).load() for _ in range(3))
    if magic != _MAGIC or version != _VERSION:
        raise Refused("a pickle that PyTorch did not write")
    storages: dict[str, Storage] = {}

    def storage(kind: StorageType, key: str, count: int) -> Storage:
        if key not in storages:  # the bytes follow
            storages[key] = Storage(kind, bytearray(count * kind.dtype.itemsize))
        if storages[key].dtype != kind.dtype or len(storages[key].buffer) != count * kind.dtype.itemsize:
            raise Refused(f"a storage {key!r:.40} of two kinds")
        return storages[key]

    content = Unpickler(file, storage).load()
    keys = Unpickler(file).load()
    if not isinstance(keys, list) or len(keys) != len(storages) or set(keys) != storages.keys():
        raise Refused("storages that do not match its list of them")
    for key in keys:
        buffer = storages[key].buffer
        count = int.from_bytes(file.read(8), "little")
        if count * storages[key].dtype.itemsize != len(buffer) or file.readinto(buffer) != len(buffer):  # type: ignore[union-attr]
            raise Refused(f"a storage {key!r:.40} that is not there")
    return content


def as_data(content: Any) -> Any:
    """Returns what an unpickler has read as plain values, lists, tuples, dictionaries, sets, arrays and `Record`s.

    Raises:
      Refused: it is nested without end, or unfolds to more values than any checkpoint has.
    """
    left = _VALUES

    def plain(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or not depth:
            raise Refused(f"more than {_VALUES:,} values, or values nested in more than {_DEPTH} levels")
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value
        if isinstance(value, np.ndarray):
            return value.astype(np.float32) if value.dtype == ml_dtypes.bfloat16 else value
        if isinstance(value, _Array):
            return value.values
        if isinstance(value, dict):
            return {plain(key, depth - 1): plain(item, depth - 1) for key, item in value.items()}
        if type(value) in (list, tuple, set):
            return type(value)([plain(item, depth - 1) for item in value])
        if isinstance(value, (Record, _Attributes)):
            return Record(value.class_name, plain(value.fields or {}, depth - 1))
        return Record(type(value).__name__, {})

    return plain(content, _DEPTH)
