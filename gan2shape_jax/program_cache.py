"""Programs that are traced and lowered once: exported by `jax.export`, and cached for later starts.

Tracing and lowering are Python, and took a third of a start for which everything was compiled. What is cached is their
result, StableHLO, which is then compiled, or found compiled, like any other program. It lies beside the compiled ones:

    FOLDER/exported/SHA256   of all that a program follows from: the function's name, the versions of JAX and Flax, this
                             package's sources, JAX's options, the arguments' structure, shapes and types

Both are trusted: the folder is the user's own, and is created for nobody else. What JAX cannot read is made anew.
"""

import contextlib
import functools
import hashlib
import inspect
import itertools
import pathlib
from collections.abc import Callable, Collection
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

import flax
import jax
import numpy as np
from jax import export

from gan2shape_jax import extensions, platforms
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import atomic_bytes

T = TypeVar("T")
_ADDED: tuple[extensions.Kind, ...] = ("depth_network", "distance", "loss")  # what other packages may compute
_PACKAGE = pathlib.Path(__file__).resolve().parent
_folder: pathlib.Path | None = None  # None: no programs are cached


def set_cache_dir(folder: pathlib.Path | None) -> None:
    """Caches programs beside the compiled ones, which are in `folder`, from now on; None caches none.

    Folders that are missing are created for the user alone. One that cannot be costs only time.
    """
    global _folder
    _folder = folder / "exported" if folder and find_spec("flatbuffers") else None
    for place in (folder, _folder):
        with contextlib.suppress(OSError):
            if place:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)


def jit(function: Callable[..., Any], *, static_argnames: Collection[str] = ()) -> Callable[..., Any]:
    """Does what `jax.jit` does; programs for the CPU are cached as by `cached`."""
    return cached(jax.jit(function, static_argnames=static_argnames), static_argnames=static_argnames)


def cached(compiled: Any, *, static_argnames: Collection[str] = ()) -> Callable[..., Any]:
    """Does what `compiled` does, which `jax.jit` has made; programs for the CPU are cached where `set_cache_dir` says.

    What the function does follows from its arguments and this package alone, and it returns what `jax.export` can write
    down. Inside other programs, for other platforms and while JAX looks for NaN, `compiled` itself is called.
    """
    function, signature = compiled.__wrapped__, inspect.signature(compiled)
    programs: dict[Any, Callable[..., Any]] = {}

    @functools.wraps(compiled)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _folder is None or not _on_cpu():
            return compiled(*args, **kwargs)
        traced = signature.bind(*args, **kwargs).arguments
        static = tuple((name, traced.pop(name)) for name in static_argnames if name in traced)
        leaves, tree = jax.tree.flatten(traced)
        if not all(map(_is_array, leaves)):
            return compiled(*args, **kwargs)
        options = repr(sorted(jax.config.values.items()))
        call = _Call(function, static, tree, tuple(map(_type_of, leaves)), options)
        if call not in programs:
            programs[call] = _program(_folder, call, leaves)
        return programs[call](*leaves)

    return wrapped


def record(kind: type[T]) -> type[T]:
    """Registers a `flax.struct.dataclass` of nothing but arrays, which what is cached may return then; a decorator."""
    return export.register_pytree_node_serialization(
        kind, serialized_name=kind.__qualname__, serialize_auxdata=lambda _: b"", deserialize_auxdata=lambda _: ()
    )


class _Call(NamedTuple):
    """What tells one program from another."""

    function: Callable[..., Any]
    static: tuple[tuple[str, Any], ...]
    tree: Any  # of the other arguments, by name
    types: tuple[tuple[Any, ...], ...]
    options: str  # JAX's, as they are here and now

    def run(self, *leaves: Any) -> Any:
        """Returns what the function does, given the leaves of its arguments."""
        return self.function(**jax.tree.unflatten(self.tree, leaves), **dict(self.static))

    def key(self) -> str | None:
        """Returns the SHA-256 of all that the program follows from; None if that cannot be told from what is here."""
        name = self.function.__module__, self.function.__qualname__
        made_with = jax.__version__, version("jaxlib"), flax.__version__, _sources()
        text = repr((name, made_with, self.static, str(self.tree), self.types, self.options))
        of_others = itertools.chain.from_iterable(map(extensions.names, _ADDED))  # whose sources are not read
        unknown = " at 0x" in text or any(f"'{other}'" in text for other in of_others)
        return None if unknown else hashlib.sha256(text.encode()).hexdigest()


def _on_cpu() -> bool:
    """Returns whether programs are for the CPU, and are not taken apart into operations."""
    taken_apart = any(jax.config.values[f"jax_{name}"] for name in ("disable_jit", "debug_nans", "debug_infs"))
    return not taken_apart and platforms.current() == jax.default_backend() == "cpu"


def _is_array(leaf: Any) -> bool:
    """Returns whether an argument's leaf is an array with values, on one device."""
    if isinstance(leaf, jax.Array):
        return not isinstance(leaf, jax.core.Tracer) and len(leaf.devices()) == 1
    return isinstance(leaf, np.ndarray | np.generic)


def _type_of(leaf: Any) -> tuple[Any, ...]:
    return leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)


@functools.cache
def _sources() -> str:
    """Returns the SHA-256 of this package's modules, which a checkout may change without another version."""
    modules = ((path.relative_to(_PACKAGE).as_posix(), path.read_bytes()) for path in sorted(_PACKAGE.rglob("*.py")))
    return hashlib.sha256(repr(list(modules)).encode()).hexdigest()


def _program(folder: pathlib.Path, call: _Call, leaves: list[Any]) -> Callable[..., Any]:
    """Returns a compiled function of the arguments' leaves: of the program that is cached, or of one that is now."""
    name = call.function.__name__
    if (key := call.key()) is None:
        return _compiled(call.run, name)
    path = folder / key
    try:
        stored = export.deserialize(bytearray(path.read_bytes()))
    except Exception:  # it is not there, or whatever JAX and flatbuffers raise for a damaged one
        stored = export.export(_compiled(call.run, name))(*leaves)
        with contextlib.suppress(UserError, OSError):  # a full disk
            atomic_bytes(path, bytes(stored.serialize()))
    return _compiled(stored.call, name)


def _compiled(program: Callable[..., Any], name: str) -> Any:
    """Returns a compiled function under a name for profiles and compiled programs' files."""

    def named(*leaves: Any) -> Any:
        return program(*leaves)

    named.__name__ = name
    return jax.jit(named)
