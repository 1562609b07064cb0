"""PyTorch modules that pickle as records of NVIDIA's persistent classes. Import only where torch is there."""

import contextlib
import pickle
import sys
import types

import torch

SOURCE = "raise RuntimeError('the source code of a record has run')\n"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("only written")


class EasyDict(dict):
    pass


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
EasyDict.__module__ = "dnnlib.util"


@contextlib.contextmanager
def _modules_to_name():
    """Modules under the names that the pickle shall hold; pickle wants to find them."""
    names = {
        "torch_utils": {},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": EasyDict},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
    }
    before = {name: sys.modules.get(name) for name in names}
    for name, content in names.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})


def save(path, protocol=None, **networks):
    """Writes a network pickle as NVIDIA's training does."""
    content = {"training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset"}, **networks}
    with _modules_to_name(), open(path, "wb") as file:
        pickle.dump(content, file, protocol)


class Module(torch.nn.Module):
    """Pickles as a record; constructor's arguments are kept, as the real ones are."""

    def __init__(self, **settings):
        super().__init__()
        self._init_args, self._init_kwargs = (), EasyDict(settings)
        for name, value in settings.items():
            setattr(self, name, value)

    def __reduce__(self):
        return _reconstruct_persistent_obj, (
            {
                "type": "class",
                "version": 6,
                "module_src": SOURCE,
                "class_name": type(self).__name__,
                "state": self.__dict__,
            },
        )

    def draw(self, name, *shape, mean=0.0, scale=1.0):
        value = mean + scale * torch.randn(shape)
        self.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))

    def filtered(self, taps):
        taps = torch.tensor(taps, dtype=torch.float32)
        self.register_buffer("resample_filter", torch.outer(taps, taps) / taps.sum() ** 2)
