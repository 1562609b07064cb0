"""Fields that do not affect results: two runs that differ only in these give the same results."""

from collections.abc import Mapping
from typing import Any

from gan2shape_jax.config.tree import flatten

__all__ = ["result_fields"]

# Paths of fields and groups. The other fields of `runtime` can change bits: the precision, a GPU's order of summation,
# and how many iterations are compiled into one program. `images_at_once` changes only rounding, and is chosen from the
# free memory unless it is given.
_FREE = (
    "workdir",
    "logging",
    "checkpoint",
    "outputs.networks",
    "runtime.allow_large",
    "runtime.compilation_cache",
    "runtime.hosts",
    "runtime.hosts_timeout_s",
    "runtime.images_at_once",
)

# The same under another name: what `auto` means everywhere except on TPU, and what it was called before `auto` existed.
_SAME = {("runtime.precision", "auto"): "float32"}


def result_fields(config: Mapping[str, Any], *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the values of the fields that can change a result, by dotted path.

    Args:
      config: a configuration's tree, as in its JSON.
      but: further fields or groups to leave out.
    """
    free = (*_FREE, *but)
    fields = {path: value for path, value in flatten(config).items() if not _is_below(path, free)}
    return fields | {path: now for (path, value), now in _SAME.items() if fields.get(path) == value}


def _is_below(path: str, tops: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(f"{top}.") for top in tops)
