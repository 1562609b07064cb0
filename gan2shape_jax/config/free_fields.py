"""Fields that change no result: two runs that differ in them alone have made the same."""

from collections.abc import Mapping
from typing import Any

from gan2shape_jax.config.tree import flatten

__all__ = ["result_fields"]

# Paths of fields and groups. What stays in `runtime` can change bits: the precision, a GPU's order of sums, and how
# many iterations are compiled into one program. Images at once change no more than rounding, and are chosen by the free
# memory unless they are given.
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

# The same by another name: what `auto` is everywhere but on TPU, and what it was called before there was an `auto`.
_SAME = {("runtime.precision", "auto"): "float32"}


def result_fields(config: Mapping[str, Any], *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the values of the fields that can change a result, by dotted path.

    Args:
      config: a configuration's tree, as its JSON has it.
      but: further fields or groups to leave out.
    """
    free = (*_FREE, *but)
    fields = {path: value for path, value in flatten(config).items() if not _is_below(path, free)}
    return fields | {path: now for (path, value), now in _SAME.items() if fields.get(path) == value}


def _is_below(path: str, tops: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(f"{top}.") for top in tops)
