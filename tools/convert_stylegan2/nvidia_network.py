"""An NVIDIA network as plain data: its tensors and its modules' settings by name, its filters, its class.

The records of a pickle hold nested modules (`_modules`), with tensors in `_parameters` and `_buffers`; every other
entry of a record's state is a setting (`conv_clamp`, `architecture`, ...).

Of a conditional network a class is chosen once, and its embedding is a constant then. In the generator it enters the
first mapping layer beside z, where it adds a constant to the bias; in the discriminator the logit is the inner product
of the last layer with the class's mapped vector, which reduces it to a single output. The resulting networks are
unconditional and behave exactly as the conditional ones do for that class.
"""

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.child import Record
from gan2shape_jax.io.weights.tensors import short
from gan2shape_jax.stylegan2.architecture import BINOMIAL

__all__ = [
    "MOST_TAPS",
    "Network",
    "choose_class",
    "filter_taps",
    "flatten",
    "known_taps",
    "require_one_width",
    "sides_up_to",
]

MOST_TAPS = 64
_SIDES = tuple(2**k for k in range(2, 11))


def sides_up_to(size: int, what: str, source: str | os.PathLike) -> list[int]:
    """Returns 4, 8, ..., size; raises `UserError` for a size that no StyleGAN2 has."""
    if size not in _SIDES[1:]:
        raise UserError(f"{source}: a {what} of {size} pixels; possible are {', '.join(map(str, _SIDES[1:]))}")
    return [side for side in _SIDES if side <= size]


def require_one_width(widths: Sequence[int], style: int, source: str | os.PathLike) -> None:
    """Rejects mapping networks of several widths, where 0 is unknown: the method adds one output to all of them."""
    if any(width not in (0, style) for width in widths):
        raise UserError(
            f"{source}: the mapping network is {' -> '.join(map(str, widths))} wide. The method adds one encoder's "
            "output to z, hidden vectors and w alike, and so needs a generator whose widths are equal"
        )


_COUNT = 1000  # most modules; NVIDIA's have about a hundred


@dataclasses.dataclass
class Network:
    """Tensors by name (`synthesis.b4.const`), modules by name (`synthesis.b4`, '' is the whole network).

    `key` is its name in the file (`G_ema`), `source` the file's name.
    """

    key: str
    source: str | os.PathLike
    tensors: dict[str, np.ndarray]
    modules: dict[str, Record]

    def full(self, name: str) -> str:
        """Returns a module's or tensor's name prefixed with the network's."""
        return f"{self.key}.{name}" if name else self.key

    def setting(self, module: str, name: str) -> Any:
        """Returns a module's setting; raises `UserError` if the module or the setting is missing."""
        fields = self.modules[module].fields if module in self.modules else {}
        if name not in fields:
            raise UserError(
                f"{self.source}: {self.full(module)} has no {name!r}: this is not the "
                "StyleGAN2 of stylegan2-ada-pytorch or stylegan3 as NVIDIA published it"
            )
        return fields[name]

    def count(self, module: str, name: str) -> int:
        """Returns a setting that is a non-negative integer; raises `UserError` for anything else."""
        value = self.setting(module, name)
        if type(value) is not int or value < 0:
            raise UserError(f"{self.source}: {name} of {self.full(module)} is no whole number: {short(value)}")
        return value

    def shape(self, tensor: str, axes: int) -> tuple[int, ...]:
        """Returns a tensor's shape; zeros if it is missing or has other axes, which is reported later."""
        value = self.tensors.get(tensor)
        return value.shape if value is not None and value.ndim == axes else (0,) * axes


def flatten(record: Any, key: str, source: str | os.PathLike) -> Network:
    """Returns a network from its record; raises `UserError` if it is not one, or has too many modules."""
    if not isinstance(record, Record):
        raise UserError(f"{source}: {key!r} is no network but {_kind(record)}")
    network = Network(key, source, {}, {})
    for name, module in _modules(record, "", network):
        if len(network.modules) >= _COUNT:
            raise UserError(f"{source}: {key!r} has more than {_COUNT} modules, which no StyleGAN2 has")
        network.modules[name] = module
    for name, module in network.modules.items():
        for part in ("_parameters", "_buffers"):
            _add_tensors(_entries(module, part), f"{name}." if name else "", network)
    return network


def _add_tensors(entries: dict[str, Any], prefix: str, network: Network) -> None:
    for leaf, value in entries.items():
        if isinstance(value, np.ndarray):
            network.tensors[f"{prefix}{leaf}"] = value
        elif value is not None:
            raise UserError(f"{network.source}: {network.full(prefix + leaf)} is no tensor but {_kind(value)}")


def _modules(record: Record, name: str, network: Network) -> Iterator[tuple[str, Record]]:
    yield name, record
    for leaf, value in _entries(record, "_modules").items():
        below = f"{name}.{leaf}" if name else leaf
        if isinstance(value, Record):
            yield from _modules(value, below, network)
        elif value is not None:
            raise UserError(f"{network.source}: {network.full(below)} is no module but {_kind(value)}")


def _entries(record: Record, part: str) -> dict[str, Any]:
    entries = record.fields.get(part)
    return {str(key): value for key, value in entries.items()} if isinstance(entries, dict) else {}


def _kind(value: Any) -> str:
    return value.class_name if isinstance(value, Record) else f"of type {type(value).__name__}"


def filter_taps(network: Network, module: str) -> tuple[float, ...]:
    """Returns the taps along one axis of a module's low-pass filter, which must be separable."""
    stored = network.tensors.get(f"{module}.resample_filter")
    if stored is None or stored.ndim not in (1, 2) or not stored.size:
        raise UserError(f"{network.source}: {network.full(module)} has no low-pass filter")
    if max(stored.shape) > MOST_TAPS:
        raise UserError(f"{network.source}: the low-pass filter of {network.full(module)} has {stored.shape} taps")
    taps = np.asarray(stored, np.float64)
    if taps.ndim == 2:
        taps = taps.sum(axis=0) if taps.shape[0] == taps.shape[1] else taps.ravel()
        if stored.ndim == 2 and not np.allclose(stored, np.outer(taps, taps) / taps.sum(), atol=1e-5):
            raise UserError(
                f"{network.source}: the low-pass filter of {network.full(module)} is not "
                "the same along rows and columns, which is not supported"
            )
    return known_taps(taps.tolist())


def known_taps(taps: Sequence[float]) -> tuple[float, ...]:
    """Returns taps along one axis, the usual ones as the package writes them; their sum is not zero."""
    if len(taps) == 4 and np.allclose(np.array(taps) / sum(taps), np.array(BINOMIAL) / 8, atol=1e-5):
        return BINOMIAL
    return tuple(taps)


def classes(network: Network) -> int:
    """Returns a network's number of classes; 0 if it is unconditional."""
    return network.count("", "c_dim")


def choose_class(generator: Network, discriminator: Network, index: int | None) -> str:
    """Fixes the class, counted from 0, of both networks in place; returns a note, '' for unconditional ones.

    Raises `UserError` for a conditional network without a class, an unconditional one with one, or no such class.
    """
    counts = {net.key: classes(net) for net in (generator, discriminator) if classes(net)}
    if not counts:
        if index is not None:
            raise UserError(
                f"{generator.source}: --class {index} is for conditional networks; this one "
                "has no classes, leave the option out"
            )
        return ""
    count = min(counts.values())
    if index is None or not 0 <= index < count:
        refused = "" if index is None else f", not {index}"
        raise UserError(
            f"{generator.source}: a conditional network with {count} classes. What is "
            f"converted draws one of them: choose it with --class 0 to --class {count - 1}"
            f"{refused} (the order is that of the labels in training)"
        )
    if generator.key in counts:
        _fix_generator(generator, index)
    if discriminator.key in counts:
        _fix_discriminator(discriminator, index)
    return f"Class {index} of {count}, fixed at conversion."


def _take(network: Network, name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = network.tensors.get(name)
    if value is None or value.shape != shape or not np.isfinite(value).all():
        fault = "is missing" if value is None else f"is {value.shape}, not {shape}, or not finite"
        raise UserError(f"{network.source}: the tensor {network.full(name)} of the class conditioning {fault}")
    return value.astype(np.float64)


def _linear(network: Network, module: str, x: np.ndarray) -> np.ndarray:
    """Applies a linear layer of the conditioning, with its own gains."""
    weight = network.tensors.get(f"{module}.weight")
    outputs = weight.shape[0] if weight is not None and weight.ndim == 2 else 0
    gains = [network.setting(module, name) for name in ("weight_gain", "bias_gain")]
    kind = network.setting(module, "activation")
    if kind not in ("linear", "lrelu") or not all(isinstance(gain, (int, float)) for gain in gains):
        raise UserError(f"{network.source}: {network.full(module)} has settings that are not supported")
    out = (
        _take(network, f"{module}.weight", (outputs, len(x))) @ x * gains[0]
        + _take(network, f"{module}.bias", (outputs,)) * gains[1]
    )
    return out if kind == "linear" else np.where(out >= 0, out, 0.2 * out) * math.sqrt(2)


def _embedded(network: Network, index: int) -> np.ndarray:
    """Returns a class's embedding, normalised to a mean square of one."""
    outputs, inputs = network.shape("mapping.embed.weight", 2)
    if not outputs or inputs != classes(network):  # the number of classes is a claim, the tensor is there
        raise UserError(f"{network.source}: {network.full('mapping.embed')} is none of {classes(network)} classes")
    one_hot = np.zeros(inputs)
    one_hot[index] = 1
    embedding = _linear(network, "mapping.embed", one_hot)
    return embedding / np.sqrt(np.mean(embedding**2) + 1e-8)


def _replace(network: Network, gone: str, **values: np.ndarray) -> None:
    for name in [n for n in network.tensors if n.startswith(gone)]:
        del network.tensors[name]
    for name, value in values.items():
        network.tensors[name.replace("__", ".")] = value


def _fix_generator(network: Network, index: int) -> None:
    """Makes the first mapping layer depend on z alone.

    It is W (z, y) / sqrt(n) + b with y constant: y's contribution goes into the bias, and the weight of z is rescaled,
    since a layer of z alone is divided by the square root of fewer inputs.
    """
    y, width = _embedded(network, index), network.count("", "w_dim")
    weight = _take(network, "mapping.fc0.weight", (width, width + len(y)))
    bias = _take(network, "mapping.fc0.bias", (width,))
    _replace(
        network,
        "mapping.embed.",
        mapping__fc0__weight=weight[:, :width] * math.sqrt(width / weight.shape[1]),
        mapping__fc0__bias=bias + weight[:, width:] @ y / math.sqrt(weight.shape[1]),
    )


def _fix_discriminator(network: Network, index: int) -> None:
    """Turns the logit (W h + b) . c / sqrt(n), whose mapped class c is constant, into one row c W and one bias."""
    mapped = _embedded(network, index)
    for i in range(network.count("mapping", "num_layers")):
        mapped = _linear(network, f"mapping.fc{i}", mapped)
    inputs = network.shape("b4.out.weight", 2)[1]
    weight = _take(network, "b4.out.weight", (len(mapped), inputs))
    bias = _take(network, "b4.out.bias", (len(mapped),))
    scale = 1 / math.sqrt(len(mapped))
    _replace(
        network, "mapping.", b4__out__weight=scale * mapped[None] @ weight, b4__out__bias=scale * (mapped @ bias)[None]
    )
