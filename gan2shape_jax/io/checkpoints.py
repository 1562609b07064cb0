"""Reads checkpoints of PyTorch and NVIDIA without either, and without running any code in them.

A torch file is a pickle and raw storages: in a zip archive (PyTorch 1.6 and later) or one after another (earlier
versions). NVIDIA's network pickles are pickles of records alone. A pickle names functions and classes: here it finds
what stands in for them in `_KNOWN`, which makes data, and nothing else. It never holds an object of NumPy's or of this
module's own: what it can hold, it can also call, take apart and change (`BUILD`), for all that is read later, too. So
all but plain values are stand-ins, and become arrays only in `_as_data`. NVIDIA's records (stylegan2-ada-pytorch:
torch_utils/persistence.py; stylegan2: dnnlib/tflib/network.py) are data, and the source code in them stays text.
Whatever a file does with these is done in a child process, whose memory and time are limited (`sandbox`).
"""

import functools
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from gan2shape_jax.errors import UserError, io_error, one_line
from gan2shape_jax.io.files import MIB, open_regular
from gan2shape_jax.io.sandbox import Record, run_limited
from gan2shape_jax.io.weights import LIMIT, refuse_stand_in, short

TENSORFLOW = "dnnlib.tflib.network.Network"  # the class of records of TensorFlow's networks
_MEMORY, _MULTIPLE = 512 * MIB, 6  # what reading may take: this, and a multiple of the file's size
_SECONDS, _BYTES_A_SECOND = 60, 10 * MIB
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # the first pickles of a file in PyTorch's older format
_VALUES = 200_000  # of a file, where what is shared counts each time; StyleGAN2 with its optimizers has 20,000


class _Refused(Exception):
    """A checkpoint holds what no honest file needs; the message says what."""


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Returns what a checkpoint of PyTorch or a network pickle of NVIDIA holds, whatever its file extension.

    Tensors become NumPy arrays (bfloat16 as float32), objects `sandbox.Record`s; the rest is as `sandbox` passes it on.
    Raises `UserError` for a file that is missing, truncated or of another kind, that names anything beside `_KNOWN`, or
    that takes more memory or time than such a file needs.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    memory, seconds = _MEMORY + _MULTIPLE * size, _SECONDS + size // _BYTES_A_SECOND
    return run_limited(parse_checkpoint, os.fspath(path), memory=memory, seconds=seconds, source=path)


def parse_checkpoint(path: str) -> Any:
    """Does what `read_checkpoint` does, in this process, without limits."""
    try:
        with open_regular(path, limit=LIMIT) as file:
            _check_start(path, file)
            if zipfile.is_zipfile(file):
                return _as_data(_read_zip(file))
            file.seek(0)
            return _as_data(_read_pickled(file))
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise io_error(error, f"{path} cannot be read") from error
    except _Refused as error:
        only = "Only tensors and plain values are read; if you trust its source, save it again as plain tensors"
        raise UserError(f"{path}: refused, because it holds {error}. {only}") from error
    except Exception as error:  # a damaged pickle can raise anything
        what = f"{type(error).__name__}: {one_line(str(error)[:100])}"
        raise UserError(f"{path}: damaged, truncated or not a PyTorch file ({what}); download it again") from error


def _check_start(path: str, file: BinaryIO) -> None:
    """Raises `UserError` if the first bytes show that this is not a checkpoint."""
    head = file.read(16)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 * MIB:  # a length, then JSON
        advice = "use it as it is (a StyleGAN2 as config.gan.checkpoint); PyTorch's and NVIDIA's files are converted"
        raise UserError(f"{path} is a safetensors file: {advice}")
    refuse_stand_in(path, head)
    file.seek(0)


class _Opaque:
    """Stands in for a function, a class of storages, or a storage: a pickle can neither take it apart nor change it."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content

    def __call__(self, *args: Any) -> Any:
        return self.content(*args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a change of what a file only names")


class _Storage(NamedTuple):
    """Bytes, which may be filled in later, and their type; tensors are views of them."""

    dtype: np.dtype
    buffer: Any


class _Dictionary(dict[Any, Any]):
    """Stands in for `collections.OrderedDict`, whose state is torch's `_metadata`, and NVIDIA's `EasyDict`."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Attributes:
    """Stands in for an object that is only a set of attributes."""

    class_name = "argparse.Namespace"
    fields: Any = None

    def __setstate__(self, state: Any) -> None:
        self.fields = dict(state)


class _Network(_Attributes):
    class_name = TENSORFLOW


class _DataType:
    """Stands in for a NumPy data type; numbers only."""

    def __init__(self, text: str, *_: Any) -> None:
        self.dtype = np.dtype(text)
        if self.dtype.kind not in "fiub":
            raise _Refused(f"numpy.dtype of {short(text)}, which is not a plain number")

    def __setstate__(self, state: Any) -> None:
        if state[1] == ">":
            raise _Refused("numpy.dtype of another byte order")


class _Array:
    """Stands in for an array of plain numbers."""

    def __init__(self, values: np.ndarray | None = None) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.values = _values(data, kind, shape, "F" if fortran is True else "C")


def _values(data: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
    data = data.encode("latin1") if isinstance(data, str) else data  # as Python 2 wrote it
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _tensor(storage: _Opaque, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> _Array:
    dtype, buffer = storage.content
    # NumPy checks that all of it lies within the bytes.
    steps = tuple(side * dtype.itemsize for side in stride)
    return _Array(np.ndarray(size, dtype, buffer, offset * dtype.itemsize, steps))


# Of storages; bfloat16 becomes float32 in `_as_data`.
_TYPES: dict[str, Any] = {
    **{"Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16, "Bool": "?"},
    **{"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"},
}
# What a pickle may name, by `module.name`.
_KNOWN: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.Size": tuple,
    "torch.device": lambda *args: ":".join(map(short, args)),
    "torch.storage._load_from_bytes": lambda data: _read_pickled(io.BytesIO(data)),
    **{f"torch.{name}Storage": np.dtype(dtype) for name, dtype in _TYPES.items()},
    "collections.OrderedDict": _Dictionary,
    "argparse.Namespace": _Attributes,
    "unsup3d.meters.MetricsTrace": _Attributes,  # the loss curves in Unsup3d's checkpoints
    "torch_utils.persistence._reconstruct_persistent_obj": lambda meta: Record(meta["class_name"], meta["state"]),
    "dnnlib.util.EasyDict": _Dictionary,
    "dnnlib.EasyDict": _Dictionary,
    TENSORFLOW: _Network,
    "tfutil.Network": _Network,
    "builtins.set": set,
    "__builtin__.set": set,
    "_codecs.encode": str.encode,
    "numpy.dtype": _DataType,
    "numpy.ndarray": "numpy.ndarray",  # only named, by `_reconstruct`
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")  # NumPy 1 and 2
        for name, function in (
            ("multiarray.scalar", lambda kind, data: _values(data, kind, ()).item()),
            ("multiarray._reconstruct", lambda *_: _Array()),
            ("numeric._frombuffer", lambda *args: _Array(_values(*args))),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    """Reads one pickle from a file, which is left after it; `load` returns what `_as_data` takes.

    `buffer` returns the bytes of a storage's type, key and number of values.
    """

    def __init__(self, file: Any, buffer: Callable[[np.dtype, str, int], Any] | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._buffer = buffer

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands in for a function or class."""
        if (full := f"{module}.{name}") not in _KNOWN:
            raise _Refused(one_line(full[:200]))
        known = _KNOWN[full]
        # Classes have no state that a pickle could set: their own `__setstate__` comes first, or Python refuses.
        return known if isinstance(known, type) else _Opaque(known)

    def persistent_load(self, pid: Any) -> _Opaque:
        """Returns the storage that a tensor refers to."""
        if self._buffer is None:
            raise _Refused("a storage outside of PyTorch's files")
        _, kind, key, _, count, *view = pid
        dtype = kind.content
        buffer = memoryview(self._buffer(dtype, key, count))
        if len(buffer) != count * dtype.itemsize:
            raise _Refused(f"a storage {key!r:.40} of {count} values that is missing")
        if any(view):  # the older format's view of a storage: its name, and where it begins and how long it is
            _, start, length = view[0]
            buffer = buffer[start * dtype.itemsize : (start + length) * dtype.itemsize]
        return _Opaque(_Storage(dtype, buffer))


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            raise _Refused("an archive without a single data.pkl")
        root = names[0].split("/")[0]
        if f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") != b"little":
            raise _Refused("big-endian storages")
        read = functools.cache(archive.read)  # tensors share storages
        with archive.open(names[0]) as pickled:
            return _Unpickler(pickled, lambda dtype, key, count: read(f"{root}/data/{key}")).load()


def _read_pickled(file: Any) -> Any:
    """Reads a pickle, or PyTorch's format before 1.6: three to identify it, the object, storages' keys, their bytes."""
    content = _Unpickler(file).load()
    if type(content) is not int or content != _MAGIC:
        return content
    version, _ = (_Unpickler(file).load() for _ in range(2))
    if version != _VERSION:
        raise _Refused("an unknown format of PyTorch")
    storages: dict[str, tuple[np.dtype, bytearray]] = {}

    def buffer(dtype: np.dtype, key: str, count: int) -> bytearray:
        return storages.setdefault(key, (dtype, bytearray(count * dtype.itemsize)))[1]  # the bytes follow

    content = _Unpickler(file, buffer).load()
    for key in _Unpickler(file).load():
        dtype, filled = storages.pop(key)
        count = int.from_bytes(file.read(8), "little")
        if count * dtype.itemsize != len(filled) or file.readinto(filled) != len(filled):
            raise _Refused(f"a storage {key!r:.40} that is missing")
    if storages:
        raise _Refused("storages that are missing")
    return content


def _as_data(content: Any) -> Any:
    """Returns what an unpickler has read as plain values, lists, tuples, dictionaries, sets, arrays and `Record`s."""
    left = _VALUES

    def plain(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Refused(f"more than {_VALUES:,} values")
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value
        if isinstance(value, _Array):
            if value.values is not None and value.values.dtype == ml_dtypes.bfloat16:
                return value.values.astype(np.float32)
            return value.values
        if isinstance(value, dict):
            return {plain(key): plain(item) for key, item in value.items()}
        if type(value) in (list, tuple, set):
            return type(value)([plain(item) for item in value])
        if isinstance(value, (Record, _Attributes)):
            return Record(str(value.class_name), plain(dict(value.fields or {})))
        return Record(type(value).__name__, {})

    return plain(content)
