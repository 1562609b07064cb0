"""Flat names for nested dictionaries of arrays: how parameters are named in files and in messages."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

__all__ = ["by_name", "by_path", "nested"]


def by_path(tree: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Returns the leaves of a tree, keyed by the tuple of their keys; empty dictionaries are dropped."""
    flat: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(tree)  # type: ignore[no-untyped-call]
    return flat


def by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves of a tree, keyed by their keys joined with slashes, as in `layers/0/weight`."""
    flat: dict[str, Any] = traverse_util.flatten_dict(tree, sep="/")  # type: ignore[no-untyped-call]
    return flat


def nested(flat: Mapping[str, Any] | Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Returns the tree with leaves given by name or by path: the inverse of both functions above."""
    paths = {tuple(key.split("/")) if isinstance(key, str) else key: value for key, value in flat.items()}
    tree: dict[str, Any] = traverse_util.unflatten_dict(paths)  # type: ignore[no-untyped-call]
    return tree
