"""What other installed packages add to this one: entry points of the group `gan2shape_jax`, called KIND.NAME.

    [project.entry-points.gan2shape_jax]
    "loss.flatness" = "my_package.losses:flatness"

What there is, the metadata of installed packages say; a package is imported when a thing of its own is used, or when
help tells what it is for: the first line of its docstring.
"""

import functools
import importlib.metadata
from collections.abc import Collection
from typing import Any, Literal, get_args

from gan2shape_jax.errors import UserError

Kind = Literal[
    "loss",  # terms of steps 1 and 3, see `reconstruction.registered_terms`; the weight is config.loss.lam_NAME
    "category",  # modules like those of configs/: --config=NAME
    "depth_network",  # see `models.modules_of`; config.networks.depth
    "distance",  # `perceptual.Distance`; config.loss.perceptual
    "output",  # `outputs.Output`, in every result
    "command",  # functions of the words after the command's name, which return the exit code
]


@functools.cache
def _entries() -> dict[str, importlib.metadata.EntryPoint]:
    """Returns the entry points by KIND.NAME; looks through all installed packages, once."""
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group="gan2shape_jax"):
        kind, _, name = entry.name.partition(".")
        word = name.replace("-", "_") if kind == "command" else name
        if kind not in get_args(Kind) or not (word.isascii() and word.isidentifier()):
            kinds = ", ".join(get_args(Kind))
            raise UserError(f"{_package(entry)} adds {entry.name!r}, which is no KIND.NAME (kinds are {kinds})")
        if (other := found.setdefault(entry.name, entry)) != entry:
            raise UserError(f"{_package(other)} and {_package(entry)} both add {entry.name!r}: uninstall one of them")
    return found


def names(kind: Kind, taken: Collection[str] = ()) -> tuple[str, ...]:
    """Returns the names of what is added, sorted; imports nothing. Raises `UserError`: one of them is `taken`."""
    entries = {name.partition(".")[2]: entry for name, entry in _entries().items() if name.startswith(f"{kind}.")}
    for name in entries.keys() & set(taken):
        raise UserError(f"{_package(entries[name])} adds the {kind} {name!r}, which is there already: uninstall it")
    return tuple(sorted(entries))


def load(kind: Kind, name: str) -> Any:
    """Imports what is added under a name. Raises `UserError`: there is no such thing, or its package does not work."""
    if (entry := _entries().get(f"{kind}.{name}")) is None:
        raise UserError(f"no installed package adds the {kind} {name!r}: install the one that does")
    try:
        return entry.load()
    except Exception as error:
        what = f"{entry.value} of {_package(entry)} cannot be imported ({type(error).__name__}: {error})"
        raise UserError(f"{what}: mend or uninstall it") from error


def version(kind: Kind, name: str) -> str:
    """Returns the package that adds a thing, with its version."""
    return _package(_entries()[f"{kind}.{name}"])


def about(kind: Kind, name: str) -> str:
    """Returns the first line of a thing's docstring; '' if there is none."""
    lines = (load(kind, name).__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def _package(entry: importlib.metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value.partition(":")[0]
