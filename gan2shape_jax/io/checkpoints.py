"""Reads checkpoints of PyTorch and NVIDIA without either, and without running any code in them.

A torch file is a pickle and raw storages: in a zip archive (PyTorch 1.6 and later) or one after another (earlier
versions). NVIDIA's network pickles are pickles of records alone. A pickle is a small program: it may name any function,
have it called, and set the attributes of the result. Here every name is looked up in `ALLOWED`, what is found there
stands in for the real function or class and keeps its attributes, and tensors are checked views of their storages.
NVIDIA's records (stylegan2-ada-pytorch: torch_utils/persistence.py; stylegan2: dnnlib/tflib/network.py) are data, and
the source code in them stays text. What this costs is bounded by parsing files in a child process (`sandbox`).
"""

import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from gan2shape_jax.errors import UserError, one_line, refused
from gan2shape_jax.io.files import MIB, open_regular
from gan2shape_jax.io.sandbox import Record, run_limited
from gan2shape_jax.io.weights import LIMIT, short

TENSORFLOW = "dnnlib.tflib.network.Network"  # the class of records of TensorFlow's networks
_MEMORY, _MULTIPLE = 512 * MIB, 6  # what reading may take: this, and a multiple of the file's size
_SECONDS, _BYTES_A_SECOND = 60, 10 * MIB
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # the first pickles of a file in PyTorch's older format
_DEPTH, _VALUES = 60, 200_000  # levels and values of a file; StyleGAN2 with its optimizers has 10 and 20,000


class Refused(Exception):
    """A checkpoint asks for something that no honest file needs; the message says for what."""


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Returns what a checkpoint of PyTorch or a network pickle of NVIDIA holds, whatever its file extension.

    Tensors become NumPy arrays (bfloat16 as float32), objects `sandbox.Record`s; the rest is as `sandbox` passes it on.
    Raises `UserError` for a file that is missing, truncated or of another kind, that asks for something outside the
    closed list, which the message names, or that takes more memory or time than such a file needs.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    return run_limited(
        parse_checkpoint,
        os.fspath(path),
        memory=_MEMORY + _MULTIPLE * size,
        seconds=_SECONDS + size // _BYTES_A_SECOND,
        source=path,
    )


def parse_checkpoint(path: str) -> Any:
    """Does what `read_checkpoint` does in this process, without limits: only for files of one's own."""
    try:
        with open_regular(path, limit=LIMIT) as file:
            _check_start(path, file)
            if zipfile.is_zipfile(file):
                return as_data(_read_zip(file))
            file.seek(0)
            return as_data(_read_pickled(file))
    except (UserError, MemoryError):
        raise
    except OSError as error:
        raise refused(error, f"{path} cannot be read") from error
    except Refused as error:
        raise UserError(
            f"{path}: refused, because it holds {error}. Only tensors and plain values in lists and dictionaries are "
            "read, and no code is run; if you trust its source, save it again as plain tensors"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        what = f"{type(error).__name__}: {one_line(str(error)[:100])}"
        raise UserError(f"{path}: damaged, truncated or not a PyTorch file ({what}); download it again") from error


def _check_start(path: str, file: BinaryIO) -> None:
    """Raises `UserError` if the first bytes show that this is not a checkpoint."""
    head = file.read(16)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 * MIB:  # a length, then JSON
        raise UserError(
            f"{path} is a safetensors file: use it as it is (a StyleGAN2 as config.gan.checkpoint); only files "
            "of PyTorch and NVIDIA are converted"
        )
    if head.startswith(b"version https://"):
        raise UserError(
            f"{path} is a pointer of Git LFS, not the checkpoint itself: fetch that with `git lfs pull`, or download it"
        )
    if head.lstrip().startswith(b"<"):
        raise UserError(f"{path} is a web page (HTML), not a checkpoint: its download failed; download it again")
    file.seek(0)


class _Fixed:
    """Instances whose attributes a pickle cannot set."""

    def __setstate__(self, state: Any) -> None:
        raise Refused(f"the state of a {type(self).__name__}")


class _Call(_Fixed):
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _StorageType(_Fixed):
    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)


class _Storage(_Fixed):
    """Bytes, which may be filled in later, and their type; tensors are views of them."""

    def __init__(self, kind: _StorageType, buffer: bytes | bytearray | memoryview) -> None:
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
        self.fields = dict(state)


class _Network(_Attributes):
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
        _, shape, kind, fortran, data = state
        self.values = _array(data, kind, shape, "F" if fortran is True else "C")


def _array(data: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
    data = data.encode("latin1") if isinstance(data, str) else data  # as Python 2 wrote it
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _whole(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(type(v) is int and v >= 0 for v in values):
        raise Refused("a tensor whose size, stride or offset is not made of whole numbers from 0 on")
    return tuple(values)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    (offset,), size, stride = _whole((offset,)), _whole(size), _whole(stride)
    width = storage.dtype.itemsize
    # NumPy checks that all of it lies within the bytes.
    return np.ndarray(size, storage.dtype, storage.buffer, offset * width, tuple(side * width for side in stride))


# Of storages; bfloat16 becomes float32 in `as_data`.
_TYPES: dict[str, Any] = {
    **{"Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16, "Bool": "?"},
    **{"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"},
}
# What a pickle may name, by `module.name`.
ALLOWED: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _Call(_tensor),
    "torch._utils._rebuild_tensor_v2": _Call(_tensor),
    "torch._utils._rebuild_parameter": _Call(lambda data, *_: data),
    "torch.Size": _Call(_whole),
    "torch.device": _Call(lambda *args: ":".join(map(short, args))),
    "torch.storage._load_from_bytes": _Call(lambda data: _read_pickled(io.BytesIO(data))),
    **{f"torch.{name}Storage": _StorageType(dtype) for name, dtype in _TYPES.items()},
    "collections.OrderedDict": _Dictionary,
    "argparse.Namespace": _Attributes,
    "unsup3d.meters.MetricsTrace": _Attributes,  # the loss curves in Unsup3d's checkpoints
    "torch_utils.persistence._reconstruct_persistent_obj": _Call(
        lambda meta: Record(str(meta["class_name"]), dict(meta["state"]))
    ),
    "dnnlib.util.EasyDict": _Dictionary,
    "dnnlib.EasyDict": _Dictionary,
    TENSORFLOW: _Network,
    "tfutil.Network": _Network,
    "builtins.set": _Call(lambda items=(): set(items)),
    "__builtin__.set": _Call(lambda items=(): set(items)),
    "_codecs.encode": _Call(str.encode),
    "numpy.dtype": _DataType,
    "numpy.ndarray": _Array,
    **{
        f"numpy.{core}.{name}": _Call(function)
        for core in ("core", "_core")  # NumPy 1 and 2
        for name, function in (
            ("multiarray.scalar", lambda kind, data: _array(data, kind, ()).item()),
            ("multiarray._reconstruct", lambda *_: _Array()),
            ("numeric._frombuffer", _array),
        )
    },
}


class Unpickler(pickle.Unpickler):
    """Reads one pickle from a file, which is left after it; `load` returns what `as_data` takes.

    `storage` returns the storage of a type, key and number of values.
    """

    def __init__(
        self, file: BinaryIO | io.BytesIO, storage: Callable[[_StorageType, str, int], _Storage] | None = None
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands in for a function or class; raises `Refused` if it is not in the closed list."""
        full = f"{module}.{name}"
        if full not in ALLOWED:
            raise Refused(one_line(full[:200]))
        return ALLOWED[full]

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that a tensor refers to."""
        if self._storage is None:
            raise Refused("a storage outside of PyTorch's files")
        _, kind, key, _, count, *view = pid
        storage = self._storage(kind, key, count)
        if any(view):  # the older format's view of a storage: its name, and where it begins and how long it is
            start, length = (kind.dtype.itemsize * number for number in _whole(view[0][1:]))
            storage = _Storage(kind, memoryview(storage.buffer)[start : start + length])
        return storage


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        names = [name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            raise Refused("an archive without a single data.pkl")
        root = names[0].split("/")[0]
        if f"{root}/byteorder" in sizes and archive.read(f"{root}/byteorder") != b"little":
            raise Refused("big-endian storages")
        storages: dict[tuple[str, _StorageType], _Storage] = {}

        def storage(kind: _StorageType, key: str, count: int) -> _Storage:
            name = f"{root}/data/{key}"
            if sizes.get(name) != count * kind.dtype.itemsize:
                raise Refused(f"a storage {key!r:.40} of {count} values that is missing")
            if (key, kind) not in storages:
                storages[key, kind] = _Storage(kind, archive.read(name))
            return storages[key, kind]

        with archive.open(names[0]) as pickled:
            return Unpickler(pickled, storage).load()  # type: ignore[arg-type]


def _read_pickled(file: BinaryIO | io.BytesIO) -> Any:
    """Reads a pickle, or PyTorch's format before 1.6: three to identify it, the object, storages' keys, their bytes."""
    content = Unpickler(file).load()
    if type(content) is not int or content != _MAGIC:
        return content
    version, _ = (Unpickler(file).load() for _ in range(2))
    if version != _VERSION:
        raise Refused("an unknown format of PyTorch")
    storages: dict[str, _Storage] = {}

    def storage(kind: _StorageType, key: str, count: int) -> _Storage:
        if key not in storages:  # the bytes follow
            storages[key] = _Storage(kind, bytearray(count * kind.dtype.itemsize))
        if storages[key].dtype != kind.dtype or len(storages[key].buffer) != count * kind.dtype.itemsize:
            raise Refused(f"a storage {key!r:.40} of two kinds")
        return storages[key]

    content = Unpickler(file, storage).load()
    keys = Unpickler(file).load()
    if set(keys) != storages.keys():
        raise Refused("storages that do not match its list of them")
    for key in keys:
        buffer = storages[key].buffer
        count = int.from_bytes(file.read(8), "little")
        if count * storages[key].dtype.itemsize != len(buffer) or file.readinto(buffer) != len(buffer):  # type: ignore[union-attr]
            raise Refused(f"a storage {key!r:.40} that is missing")
    return content


def as_data(content: Any) -> Any:
    """Returns what an unpickler has read as plain values, lists, tuples, dictionaries, sets, arrays and `Record`s.

    Raises `Refused`: it is nested without end, or unfolds to more values than any checkpoint has.
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
