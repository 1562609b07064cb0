"""Network pickles as NVIDIA's TensorFlow repositories write them, with random weights; needs neither.

Written from reading stylegan2 (dnnlib/tflib/network.py, training/networks_stylegan2.py) and stylegan2-ada
(training/networks.py): classes of the names that the pickle shall hold, whose state is laid out as theirs.
"""

import dataclasses
import pickle

import numpy as np

from helpers.pickles import EasyDict, modules_named

SOURCE = "raise RuntimeError('the source code of a network has run')\n"


class Network:
    """A network: what `__getstate__` of theirs gives."""

    def __init__(self, name, builder, kwargs, variables, components=None, version=4):
        self.state = {"version": version, "name": name, "static_kwargs": kwargs, "components": components or {}}
        self.state |= {"build_module_src": SOURCE, "build_func_name": builder, "variables": list(variables.items())}

    def __getstate__(self):
        return self.state


Network.__module__ = "dnnlib.tflib.network"


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair of networks: settings that are not the default, and how many pictures the discriminator judges."""

    size: int
    base: int
    widest: int = 16
    generator: dict = dataclasses.field(default_factory=dict)
    discriminator: dict = dataclasses.field(default_factory=dict)
    batch: int = 4
    ada: bool = False
    grown: bool = False
    style: int = 16
    layers: int = 8


_ADA = {"conv_clamp": 1.0, "num_fp16_res": 2, "resample_kernel": [1, 2, 4, 1]}

CASES = {
    "config-e": Case(32, 32),
    "config-f": Case(64, 128),
    "config-e-Gorig-Dskip": Case(16, 32, 8, {"architecture": "orig"}, {"architecture": "skip"}),
    "config-e-Gresnet-Dorig": Case(16, 32, 8, {"architecture": "resnet"}, {"architecture": "orig"}),
    "ada": Case(32, 64, 12, _ADA, {**_ADA, "mbstd_group_size": None}, batch=8, ada=True, layers=2),
}


class _Drawn:
    """Random variables, by name; NumPy promises that this stream of numbers stays."""

    def __init__(self, seed):
        self.random, self.variables = np.random.RandomState(seed), {}

    def draw(self, name, *shape, scale=1.0):
        value = np.float32(scale) * self.random.randn(*shape)
        self.variables[name] = np.asarray(value, np.float32) if shape else np.float32(value)

    def biased(self, scope, *shape, multiplier=1.0):
        self.draw(f"{scope}/weight", *shape, scale=1 / multiplier)
        self.draw(f"{scope}/bias", shape[-1], scale=0.1 / multiplier)

    def styled(self, scope, width, *shape):
        self.draw(f"{scope}/mod_weight", width, shape[2])
        self.draw(f"{scope}/mod_bias", shape[2], scale=0.1)
        self.biased(scope, *shape)
        if shape[0] == 3:
            self.draw(f"{scope}/noise_strength", scale=0.3)


def _widths(case):
    sides = [4 * 2**i for i in range(case.size.bit_length() - 2)]
    return {side: min(2 * case.base // side, case.widest) for side in sides}


def _synthesis_variables(case, kind, seed):
    drawn, widths, before = _Drawn(seed), _widths(case), None
    for i in range(2 * len(widths) - 1):
        side = 4 * 2 ** ((i + 1) // 2)
        drawn.draw(f"noise{i}", 1, 1, side, side)
    for side, width in widths.items():
        at = f"{side}x{side}"
        if before is None:
            drawn.draw(f"{at}/Const/const", 1, width, 4, 4)
            drawn.styled(f"{at}/Conv", case.style, 3, 3, width, width)
        else:
            drawn.styled(f"{at}/Conv0_up", case.style, 3, 3, before, width)
            drawn.styled(f"{at}/Conv1", case.style, 3, 3, width, width)
            if kind == "resnet":
                drawn.draw(f"{at}/Skip/weight", 1, 1, before, width)
        if kind == "skip" or side == case.size:
            drawn.styled("ToRGB_lod0" if case.grown else f"{at}/ToRGB", case.style, 1, 1, width, 3)
        before = width
    if case.grown:  # what the sides before the last had while they were the last
        for lod, side in enumerate(sorted(widths)[-2::-1], 1):
            drawn.styled(f"ToRGB_lod{lod}", case.style, 1, 1, widths[side], 3)
        drawn.variables["lod"] = np.float32(0)
    return drawn.variables


def _mapping_variables(case, seed):
    drawn = _Drawn(seed)
    for i in range(case.layers):
        drawn.biased(f"Dense{i}", case.style, case.style, multiplier=0.01)
    return drawn.variables


def _discriminator_variables(case, kind, features, seed):
    drawn, widths = _Drawn(seed), _widths(case)
    for side in list(widths)[:0:-1]:
        at = f"{side}x{side}"
        if kind == "skip" or side == case.size:
            drawn.biased("FromRGB_lod0" if case.grown else f"{at}/FromRGB", 1, 1, 3, widths[side])
        drawn.biased(f"{at}/Conv0", 3, 3, widths[side], widths[side])
        drawn.biased(f"{at}/Conv1_down", 3, 3, widths[side], widths[side // 2])
        if kind == "resnet":
            drawn.draw(f"{at}/Skip/weight", 1, 1, widths[side], widths[side // 2])
    if kind == "skip":
        drawn.biased("4x4/FromRGB", 1, 1, 3, widths[4])
    drawn.biased("4x4/Conv", 3, 3, widths[4] + features, widths[4])
    drawn.biased("4x4/Dense0", 16 * widths[4], widths[4])
    drawn.biased("Output", widths[4], 1)
    if case.grown:
        for lod, side in enumerate(sorted(widths)[-2::-1], 1):
            drawn.biased(f"FromRGB_lod{lod}", 1, 1, 3, widths[side])
        drawn.variables["lod"] = np.float32(0)
    return drawn.variables


def networks(case, seed=0):
    """The generator, the discriminator, and the generator's running mean, which is another."""
    return _generator(case, "G", seed + 20), _discriminator(case, seed + 10), _generator(case, "Gs", seed + 30)


def _common(case):
    return EasyDict(num_channels=3, resolution=case.size, label_size=0, fmap_base=case.base, fmap_max=case.widest)


def _generator(case, name, seed):
    kwargs = _common(case) | {"latent_size": case.style, "dlatent_size": case.style, "mapping_layers": case.layers}
    kwargs |= {"mapping_fmaps": case.style, **case.generator}
    builder = "G_synthesis" if case.ada else "G_synthesis_stylegan2"
    if case.grown:
        builder = kwargs["synthesis_func"] = "G_synthesis_stylegan_revised"
    own, version = _Drawn(seed), 5 if case.ada else 4
    own.draw("dlatent_avg", case.style)
    if not case.ada:
        own.variables["lod"] = np.float32(0)
    synthesis = _synthesis_variables(case, "orig" if case.grown else kwargs.get("architecture", "skip"), seed + 1)
    parts = {
        "synthesis": Network("G_synthesis", builder, dict(kwargs), synthesis, version=version),
        "mapping": Network("G_mapping", "G_mapping", dict(kwargs), _mapping_variables(case, seed + 2), version=version),
    }
    return Network(name, "G_main", dict(kwargs), own.variables, parts, version)


def _discriminator(case, seed):
    kwargs = _common(case) | case.discriminator
    kind = "orig" if case.grown else kwargs.get("architecture", "resnet")
    variables = _discriminator_variables(case, kind, kwargs.get("mbstd_num_features", 1), seed)
    builder = "D_main" if case.ada else "D_stylegan" if case.grown else "D_stylegan2"
    return Network("D", builder, dict(kwargs), variables, version=5 if case.ada else 4)


def inputs(case, seed=0):
    """Latents z (2, style) and pictures (batch, 3, size, size), float32."""
    random = np.random.RandomState(seed + 40)
    z, pictures = random.randn(2, case.style), random.randn(case.batch, 3, case.size, case.size)
    return z.astype(np.float32), pictures.astype(np.float32)


_MODULES = {"dnnlib": {}, "dnnlib.util": {"EasyDict": EasyDict}}
_MODULES |= {"dnnlib.tflib": {}, "dnnlib.tflib.network": {"Network": Network}}


def save(path, content, protocol=4):
    """Writes a pickle of such networks, by default as Python 3.6 did; returns the path."""
    with modules_named(_MODULES):
        path.write_bytes(pickle.dumps(content, protocol))
    return path
