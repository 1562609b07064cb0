"""Reads NVIDIA's network pickles without PyTorch, and without running any code in them.

Such a pickle (stylegan2-ada-pytorch, stylegan3: `torch_utils/persistence.py`) is not written by `torch.save`: it holds
records of modules (type, version, source code of their module, class name, state), with their tensors embedded as bytes
in PyTorch's older format. Pickles from the TensorFlow repositories (stylegan2, stylegan2-ada) hold networks
(`tensorflow_pickle`) of NumPy arrays. Here a record is data: its source code stays text. The closed list of names is
that of `torch_unpickler` plus what these records also contain: settings (`EasyDict`), sets of names, and NumPy numbers
and arrays.
"""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, ClassVar

from gan2shape_jax.io.weights.budget import Budget, Refused
from gan2shape_jax.io.weights.dictionary_keys import check_key
from gan2shape_jax.io.weights.numpy_pickle import CALLS, DataType, NumpyArray
from gan2shape_jax.io.weights.pickle_source import Binary
from gan2shape_jax.io.weights.tensorflow_pickle import TensorFlowNetwork
from gan2shape_jax.io.weights.torch_containers import MAGIC, read_legacy, read_zip
from gan2shape_jax.io.weights.torch_reader import opened
from gan2shape_jax.io.weights.torch_storages import Storage, StorageType
from gan2shape_jax.io.weights.torch_unpickler import ALLOWED, Record, Unpickler

__all__ = ["NumpyArray", "PersistentRecord", "PersistenceUnpickler", "read_checkpoint"]


class PersistentRecord(Record):
    """A module as data: `class_name`, and its state in `fields`."""

    class_name: str


class _Settings(dict[str, Any]):
    """Stands in for `dnnlib.util.EasyDict`; starts empty, like a dictionary that a pickle fills."""

    def __init__(self) -> None:
        super().__init__()


def _persistent_record(meta: Any = None) -> PersistentRecord:
    if (
        not isinstance(meta, dict)
        or meta.get("type") != "class"
        or not isinstance(meta.get("class_name"), str)
        or not isinstance(meta.get("state"), dict)
    ):
        raise Refused("torch_utils.persistence._reconstruct_persistent_obj of what is no record of a class")
    check_key(meta["class_name"])
    record = PersistentRecord()
    record.class_name = meta["class_name"]
    record.fields = meta["state"]
    return record


def _plain_set(items: Any = ()) -> set[Any]:
    if not isinstance(items, (list, tuple)):
        raise Refused("a set of other than plain values")
    for item in items:
        check_key(item)
    return set(items)


class PersistenceUnpickler(Unpickler):
    """Reads records of NVIDIA's persistent classes in addition to what PyTorch files hold."""

    dispatch: ClassVar[dict[int, Any]] = dict(Unpickler.dispatch)
    copying: ClassVar[dict[str, str]] = Unpickler.copying | {
        "torch.storage._load_from_bytes": "_storage_of_bytes",
        "_codecs.encode": "_bytes",
    }
    allowed: ClassVar[dict[str, Any]] = (
        ALLOWED
        | {
            "torch_utils.persistence._reconstruct_persistent_obj": _persistent_record,
            "dnnlib.util.EasyDict": _Settings,
            "dnnlib.EasyDict": _Settings,
            "dnnlib.tflib.network.Network": TensorFlowNetwork,
            "tfutil.Network": TensorFlowNetwork,
            "builtins.set": _plain_set,
            "__builtin__.set": _plain_set,
        }
        | CALLS
    )

    def __init__(self, file: Binary, storage: Callable[[StorageType, str, int], Storage], budget: Budget) -> None:
        super().__init__(file, storage, budget)
        self._nested: dict[int, tuple[bytes, Storage]] = {}

    def _storage_of_bytes(self, data: Any) -> Storage:
        """Returns the storage in bytes of PyTorch's older format; the same bytes are read only once."""
        if not isinstance(data, bytes):
            raise Refused("torch.storage._load_from_bytes of what is no bytes")
        if id(data) not in self._nested:
            try:
                storage = read_legacy(io.BytesIO(data), self.budget)
            except Refused as error:
                error.args = (f"{error} (inside torch.storage._load_from_bytes)",)
                raise
            if not isinstance(storage, Storage):
                raise Refused("torch.storage._load_from_bytes of what is no storage")
            self._nested[id(data)] = data, storage  # keeps the bytes too, so that their id is not reused
        return self._nested[id(data)][1]

    def _bytes(self, text: Any, encoding: Any = None) -> bytes:
        """Returns the bytes that protocol 2 writes as text; each call creates and charges a new copy."""
        if not isinstance(text, str) or encoding != "latin1":
            raise Refused("_codecs.encode other than to latin1")
        self.budget.take(len(text))
        return text.encode("latin1")

    def _load_build(self) -> None:
        target, state = self.stack[-2], self.stack[-1]
        if isinstance(target, (DataType, NumpyArray)):
            target.set_state(state)
            self.stack.pop()
        elif isinstance(target, TensorFlowNetwork):
            target.set_state(state, self.budget)
            self.stack.pop()
        elif isinstance(target, PersistentRecord):  # it already has its state
            raise Refused("the state of a PersistentRecord")
        else:
            super()._load_build()

    def _load_empty_set(self) -> None:
        self.stack.append(set())

    def _load_additems(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise Refused(f"items added to a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(_plain_set(items))


PersistenceUnpickler.dispatch[pickle.BUILD[0]] = PersistenceUnpickler._load_build
PersistenceUnpickler.dispatch[pickle.EMPTY_SET[0]] = PersistenceUnpickler._load_empty_set
PersistenceUnpickler.dispatch[pickle.ADDITEMS[0]] = PersistenceUnpickler._load_additems


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Reads a PyTorch checkpoint (zip or older format) or an NVIDIA pickle, whatever its file extension.

    Tensors become NumPy arrays, modules `PersistentRecord`s, and everything else is as in `read_torch`.

    Raises:
      UserError: the file is missing, truncated or of another kind, or it asks for something outside the closed list,
        which the message names.
    """
    with opened(path) as (file, budget):
        if zipfile.is_zipfile(file):
            return read_zip(file, budget, PersistenceUnpickler)
        file.seek(0)
        preamble = file.read(32)
        file.seek(0)
        if MAGIC.to_bytes(10, "little") in preamble:
            return read_legacy(file, budget, PersistenceUnpickler)
        return PersistenceUnpickler(file, _no_storage, budget).load()


def _no_storage(kind: StorageType, key: str, count: int) -> Storage:
    raise Refused("a storage outside of PyTorch's files")
