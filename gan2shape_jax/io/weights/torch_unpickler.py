"""An unpickler that calls nothing beyond a closed list: tensors, containers, an inert record.

A pickle is a small program: it may name any function, have it called, and set the attributes of the result. Here names
are looked up in a closed list, attributes are set only on records, dictionary keys are plain values, and instructions
that PyTorch files do not need are refused. Every instruction and every copy is charged to the file's budget.
"""

import collections
import pickle
import struct
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from gan2shape_jax.io.weights.budget import Budget, Refused
from gan2shape_jax.io.weights.dictionary_keys import check_key
from gan2shape_jax.io.weights.pickle_source import Binary, PickleSource
from gan2shape_jax.io.weights.torch_storages import STORAGES, Storage, StorageType, counts, rebuild_tensor

__all__ = ["ALLOWED", "Record", "Unpickler"]

_NAME = 200  # maximum characters considered of a function's name
_BITS = 80  # maximum bits of an integer; the number that begins PyTorch files has 77
_FLOAT32 = 4  # bytes; every tensor becomes float32
_WIDE = 3  # bytes that a character may take in memory in addition to the one in the file


class Record:
    """An object read as data, without running its class: its attributes are in `fields`."""

    fields: dict[str, Any]

    def __new__(cls) -> Any:  # not __init__, which a pickle may skip
        """Creates a record without attributes."""
        record = super().__new__(cls)
        record.fields = {}
        return record


def _device(*args: Any) -> str:
    """Returns a device's name, made of a type such as `cuda` and a number."""
    if len(args) > 2 or any(type(a) not in (str, int) or len(str(a)) > 40 for a in args):
        raise Refused("torch.device of what names no device")
    return ":".join(map(str, args))


ALLOWED: dict[str, Any] = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.Size": lambda sizes: counts(sizes),
    "torch.device": _device,
    "argparse.Namespace": Record,
    "unsup3d.meters.MetricsTrace": Record,  # the loss curves in Unsup3d's checkpoints
    **{f"torch.{name}": StorageType(name) for name in STORAGES},
}


class Unpickler(pickle._Unpickler):  # the Python version, whose opcodes can be restricted
    """Calls only functions of the closed list, and sets attributes only on records."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    allowed: ClassVar[dict[str, Any]] = ALLOWED
    # Functions of the list that copy their arguments and charge for it, by method name.
    copying: ClassVar[dict[str, str]] = {"collections.OrderedDict": "_ordered_dict"}
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def __init__(self, file: Binary, storage: Callable[[StorageType, str, int], Storage], budget: Budget) -> None:
        """Prepares to read a pickle.

        Args:
          file: positioned at the pickle's first byte; `load` leaves it after the last one.
          storage: returns a storage, given its type, key and number of values.
          budget: the budget of the file that contains the pickle.
        """
        source = PickleSource(file, budget)
        super().__init__(source, encoding="latin1")
        self.read, self.readline = source.read, source.readline
        self._opcode, self._storage, self.budget = file.read, storage, budget

    def load(self) -> Any:
        """Returns what the pickle holds; each instruction takes one step of the budget."""
        self.metastack: list[list[Any]] = []
        self.stack, self.proto = [], 0
        self.append = self.stack.append
        opcode, budget, dispatch = self._opcode, self.budget, self.dispatch
        try:
            while code := opcode(1):
                budget.steps -= 1
                if budget.steps < 0:
                    budget.step(0)
                dispatch[code[0]](self)
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            return stop.value
        raise EOFError("the file ends within a pickle")

    def find_class(self, module: str, name: str) -> Any:
        """Returns the replacement for a function or class of the closed list; raises `Refused` for any other."""
        full = f"{module[:_NAME]}.{name[:_NAME]}"
        if full in self.copying:
            return getattr(self, self.copying[full])
        if full not in self.allowed:
            raise Refused.call(full)
        return self.allowed[full]

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the storage that a tensor refers to; raises `Refused` if the reference is invalid."""
        if (
            not isinstance(pid, tuple)
            or len(pid) not in (5, 6)
            or pid[0] != "storage"
            or not (isinstance(pid[1], StorageType) and isinstance(pid[2], str))
        ):
            raise Refused(f"an unknown persistent object of type {type(pid).__name__}")
        check_key(pid[2])
        (count,) = counts(pid[4:5])
        storage = self._storage(pid[1], pid[2], count)
        if len(pid) == 6 and pid[5] is not None:  # the older format's view of a storage
            if not isinstance(pid[5], (tuple, list)) or len(pid[5]) != 3:
                raise Refused("a view of a storage that is not three values")
            storage = storage.part(*counts(pid[5][1:]))
        return storage

    def _ordered_dict(self, *args: Any) -> collections.OrderedDict[Any, Any]:
        pairs = args[0] if args else []
        if (
            len(args) > 1
            or not isinstance(pairs, (list, tuple))
            or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs)
        ):
            raise Refused("collections.OrderedDict with arguments other than pairs")
        ordered: collections.OrderedDict[Any, Any] = collections.OrderedDict()
        self._fill(ordered, pairs)
        return ordered

    def _charge(self, values: Iterable[Any]) -> None:
        """Charges containers that may be copied: each can be referred to repeatedly, at two bytes a time."""
        self.budget.step(sum(len(value) for value in values if isinstance(value, (list, tuple, dict, set))))

    def _before_call(self) -> None:
        arguments = self.stack[-1]
        if not isinstance(arguments, tuple):
            raise Refused(f"a call with a {type(arguments).__name__} of arguments")
        self._charge((arguments, *arguments))

    def _after_text(self) -> None:
        self.budget.take(_WIDE * len(self.stack[-1]))

    def _after_number(self) -> None:
        if self.stack[-1].bit_length() > _BITS:
            raise Refused(f"a whole number of more than {_BITS} bits")

    def _load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict):
            self._charge([state])
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
        self._fill(target, zip(items[::2], items[1::2]))

    def _fill(self, target: dict[Any, Any], pairs: Iterable[Any]) -> None:
        """Sets entries of a dictionary; a tensor is charged once per name, since each may be converted."""
        for key, value in pairs:
            check_key(key)
            if isinstance(value, np.ndarray):
                self.budget.take(value.size * max(value.itemsize, _FLOAT32))
            target[key] = value

    def _load_frame(self) -> None:
        self.read(8)  # frames only say how much to buffer; their content is read like the rest

    def _load_bytearray(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))


_Load = Callable[[Any], None]


def _watched(opcode: bytes, *, before: _Load | None = None, after: _Load | None = None) -> dict[int, _Load]:
    """Returns an entry for the dispatch table: the original instruction with a check before or after it."""
    original = pickle._Unpickler.dispatch[opcode[0]]

    def load(unpickler: Any) -> None:
        if before is not None:
            before(unpickler)
        original(unpickler)
        if after is not None:
            after(unpickler)

    return {opcode[0]: load}


# Neither PyTorch files nor records need these; the keys of "DICT" and of sets would go unchecked, and numbers with
# millions of digits take forever.
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
    pickle.LONG,
    pickle.LONG4,
    pickle.NEXT_BUFFER,
    pickle.READONLY_BUFFER,
):
    Unpickler.dispatch[_opcode[0]] = Unpickler._load_unknown
Unpickler.dispatch |= {
    pickle.BUILD[0]: Unpickler._load_build,
    pickle.SETITEM[0]: Unpickler._load_setitem,
    pickle.SETITEMS[0]: Unpickler._load_setitems,
    pickle.FRAME[0]: Unpickler._load_frame,
    pickle.BYTEARRAY8[0]: Unpickler._load_bytearray,
    **_watched(pickle.REDUCE, before=Unpickler._before_call),
    **_watched(pickle.NEWOBJ, before=Unpickler._before_call),
    **_watched(pickle.BINUNICODE, after=Unpickler._after_text),
    **_watched(pickle.BINUNICODE8, after=Unpickler._after_text),
    **_watched(pickle.LONG1, after=Unpickler._after_number),
    **_watched(pickle.INT, after=Unpickler._after_number),
}
