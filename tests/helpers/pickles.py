"""Writes pickles by hand: any call of any function, and the layout of NVIDIA's, without those modules."""

import contextlib
import io
import pickle
import struct
import sys
import types

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C


class Global:
    """A function or class by its name alone, which need not be there."""

    def __init__(self, name: str):
        self.module, _, self.name = name.rpartition(".")

    def __call__(self, *args):
        raise AssertionError("a name is written, never called")


class Call:
    """Pickles as a call of a `Global` with arguments; `state` is set on the result."""

    def __init__(self, name: str, *args, state=None):
        self.reduced = (Global(name), args) if state is None else (Global(name), args, state)

    def __reduce__(self):
        return self.reduced


class Storage:
    """A tensor's values in a file of PyTorch: referred to from the pickle by number."""

    def __init__(self, key: str, count: int):
        self.pid = ("storage", Global("torch.FloatStorage"), key, "cpu", count, None)


class _Pickler(pickle._Pickler):
    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def _save_name(self, obj):
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    dispatch[Global] = _save_name


def dumps(value, protocol: int = 4) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


def legacy_storage(values: np.ndarray) -> bytes:
    """What torch.save of a storage gives in the older format, which lies inside NVIDIA's pickles."""
    values = np.asarray(values, "<f4")
    return (
        b"".join(
            dumps(x, 2)
            for x in (
                _MAGIC,
                1001,
                {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}},
                Storage("7", values.size),
                ["7"],
            )
        )
        + struct.pack("<q", values.size)
        + values.tobytes()
    )


def double(value: float) -> Call:
    """A number of NumPy's as it lies in NVIDIA's pickles."""
    return Call(
        "numpy.core.multiarray.scalar",
        Call("numpy.dtype", "f8", False, True, state=(3, "<", None, None, None, -1, -1, 0)),
        struct.pack("<d", value),
    )


def tensor(values: np.ndarray) -> Call:
    """A parameter as it lies in NVIDIA's pickles."""
    values = np.asarray(values, "<f4")
    strides = tuple(s // 4 for s in np.zeros(values.shape, "<f4").strides)
    empty = Call("collections.OrderedDict")
    return Call(
        "torch._utils._rebuild_parameter",
        Call(
            "torch._utils._rebuild_tensor_v2",
            Call("torch.storage._load_from_bytes", legacy_storage(values)),
            0,
            values.shape,
            strides,
            False,
            empty,
        ),
        False,
        empty,
    )


def network_record(class_name: str, *, source: str = "", parameters=None, modules=None, **settings) -> Call:
    """A module as `torch_utils.persistence` pickles it."""
    state = {
        "training": False,
        "_parameters": parameters or {},
        "_buffers": {},
        "_modules": modules or {},
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": Call("collections.OrderedDict"),
        **settings,
    }
    return Call(
        "torch_utils.persistence._reconstruct_persistent_obj",
        {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state},
    )


@contextlib.contextmanager
def modules_named(names):
    """Modules with this content under the names that a pickle shall hold, which its writer wants to find."""
    before = {name: sys.modules.get(name) for name in names}
    for name, content in names.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
