"""Writes pickles by hand: any call of any function, without the modules that they name."""

import contextlib
import io
import pickle
import sys
import types


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


def network_record(class_name: str, **state) -> Call:
    """A module as NVIDIA's `torch_utils.persistence` pickles it."""
    meta = {"type": "class", "version": 6, "module_src": "", "class_name": class_name, "state": state}
    return Call("torch_utils.persistence._reconstruct_persistent_obj", meta)


class EasyDict(dict):
    """NVIDIA's dictionary of settings."""


EasyDict.__module__ = "dnnlib.util"


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
