"""Configurations as trees: their fields by dotted path, and their JSON text."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

__all__ = ["flatten", "set_field", "to_json"]


def flatten(tree: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves of a configuration, or of the dictionary read from its JSON, in order, by dotted path."""
    return dict(_leaves(tree, ""))


def _leaves(tree: ConfigDict | Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, (ConfigDict, Mapping)):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def set_field(config: ConfigDict, path: str, value: Any) -> None:
    """Sets the field at a dotted path of an unlocked configuration, regardless of its previous type."""
    *parents, last = path.split(".")
    owner = config
    for parent in parents:
        owner = owner[parent]
    with owner.ignore_type():
        owner[last] = value


def to_json(config: ConfigDict) -> str:
    """Returns the resolved configuration as indented JSON; equal configurations give equal text."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)
