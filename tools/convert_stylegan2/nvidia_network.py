"""An NVIDIA network as plain data: its tensors and its modules' settings, by name.

The records of a pickle hold nested modules (`_modules`), with tensors in `_parameters` and
`_buffers`; every other entry of a record's state is a setting (`conv_clamp`, `architecture`, ...).
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.child import Record
from gan2shape_jax.io.weights.messages import short

__all__ = ["Network", "flatten"]

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
