"""Programs that are traced and lowered once: exported by `jax.export`, and kept for later starts.

Tracing and lowering are Python, and took a third of a start for which everything was compiled. What is kept is their
result, StableHLO, which is then compiled, or found compiled, like any other program. It lies beside the compiled ones:

    FOLDER/exported/SHA256   of all that a program follows from: the function's name, the versions of JAX and Flax, this
                             package's sources, JAX's options, the arguments' structure, shapes and types

What is damaged, or was made for anything else, is made anew in its place: it holds nothing but what follows from these,
in a folder of the program's own. Nothing is unpickled, but a program is run: so the folder
is the user's own, and is not used if anybody else can open it.
"""

import contextlib
import functools
import hashlib
import inspect
import itertools
import os
import pathlib
import stat
import warnings
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
from gan2shape_jax.io.files import MIB, atomic_bytes, is_partial, open_regular

T = TypeVar("T")
_FORMAT = b"gan2shape_jax exported program 1\n"
_DIGEST = 32  # bytes of a SHA-256
_LARGEST = 64 * MIB
_ADDED: tuple[extensions.Kind, ...] = ("depth_network", "distance", "loss")  # what other packages may compute
_MOST = 100  # programs that are kept, a few hundred kilobytes each; the oldest go first
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent
_folder: pathlib.Path | None = None  # None: no programs are kept


def keep_in(folder: pathlib.Path | None) -> None:
    """Keeps programs beside the compiled ones, which are in `folder`, from now on; None keeps none."""
    global _folder
    _folder = folder / "exported" if folder and find_spec("flatbuffers") else None


def jit(function: Callable[..., Any], *, static_argnames: Collection[str] = ()) -> Callable[..., Any]:
    """Does what `jax.jit` does; programs for the CPU are kept as by `kept`."""
    return kept(jax.jit(function, static_argnames=static_argnames), static_argnames=static_argnames)


def kept(compiled: Any, *, static_argnames: Collection[str] = ()) -> Callable[..., Any]:
    """Does what `compiled` does, which `jax.jit` has made; programs for the CPU are kept where `keep_in` says.

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
        call = _Call(function, static, tree, tuple(map(_type_of, leaves)), _options())
        if call not in programs:
            programs[call] = _program(_folder, call, leaves)
        return programs[call](*leaves)

    return wrapped


def record(kind: type[T]) -> type[T]:
    """Registers a `flax.struct.dataclass` of nothing but arrays, which what is kept may return then; a decorator."""
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

    def digest(self) -> bytes | None:
        """Returns the SHA-256 of all that the program follows from; None if that cannot be told from what is here."""
        name = self.function.__module__, self.function.__qualname__
        made_with = jax.__version__, version("jaxlib"), flax.__version__, _sources()
        text = repr((name, made_with, self.static, str(self.tree), self.types, self.options))
        return None if " at 0x" in text or _has_code_of_others(text) else hashlib.sha256(text.encode()).digest()


def _on_cpu() -> bool:
    """Returns whether programs are for the CPU, and are not taken apart into operations."""
    taken_apart = any(jax.config.values[f"jax_{name}"] for name in ("disable_jit", "debug_nans", "debug_infs"))
    return not taken_apart and platforms.current() == jax.default_backend() == "cpu"


def _is_array(leaf: Any) -> bool:
    """Returns whether an argument's leaf is an array with values, on one device."""
    if isinstance(leaf, jax.Array):
        return not isinstance(leaf, jax.core.Tracer) and len(leaf.devices()) == 1
    return isinstance(leaf, np.ndarray | np.generic)


def _options() -> str:
    return repr(sorted(jax.config.values.items()))


def _type_of(leaf: Any) -> tuple[Any, ...]:
    return leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)


@functools.cache
def _sources() -> str:
    """Returns names and SHA-256 of this package's modules: sizes and times would not tell a file put in its place."""
    modules = ((path.relative_to(_PACKAGE).as_posix(), path.read_bytes()) for path in sorted(_PACKAGE.rglob("*.py")))
    return repr([(name, hashlib.sha256(source).hexdigest()) for name, source in modules])


def _has_code_of_others(text: str) -> bool:
    """Returns whether what a program follows from names code of another package, of which the sources are not read."""
    named = itertools.chain.from_iterable(map(extensions.names, _ADDED))
    return any(f"'{name}'" in text for name in named)


def _program(folder: pathlib.Path, call: _Call, leaves: list[Any]) -> Callable[..., Any]:
    """Returns a compiled function of the arguments' leaves: of the program that is kept, or of one that is from now."""
    stored = _stored(folder, call, leaves)
    return _compiled(call.run if stored is None else stored.call, call.function.__name__)


def _stored(folder: pathlib.Path, call: _Call, leaves: list[Any]) -> export.Exported | None:
    """Returns the program that is kept of a call, or one that is from now; None if it cannot be."""
    digest = call.digest()
    if digest is None or not _is_own(folder):
        return None
    path = folder / digest.hex()
    if (stored := _read(path, digest)) is None:
        stored = export.export(_compiled(call.run, call.function.__name__))(*leaves)
        with contextlib.suppress(UserError, OSError):  # a full disk
            content = bytes(stored.serialize())
            atomic_bytes(path, _FORMAT + digest + hashlib.sha256(content).digest() + content)
            _remove_oldest(folder)
    return stored


def _compiled(program: Callable[..., Any], name: str) -> Any:
    """Returns a compiled function under a name for profiles and compiled programs' files."""

    def named(*leaves: Any) -> Any:
        return program(*leaves)

    named.__name__ = name
    return jax.jit(named)


def _is_own(folder: pathlib.Path) -> bool:
    """Returns whether a folder, made if it is missing, is the user's and closed to everybody else."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    own = not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
    return own and stat.S_ISDIR(status.st_mode)


def _read(path: pathlib.Path, digest: bytes) -> export.Exported | None:
    """Returns the program of a file that was made for what has this digest; None if there is none, or it is damaged."""
    head = len(_FORMAT) + 2 * _DIGEST
    try:
        with open_regular(path, limit=_LARGEST) as file:
            start, content = file.read(head), file.read(_LARGEST)
    except (UserError, OSError):
        return None
    if start != _FORMAT + digest + hashlib.sha256(content).digest():
        return None
    try:
        return export.deserialize(bytearray(content))
    except Exception as error:  # whatever JAX and flatbuffers raise
        warnings.warn(
            f"{path} is no program that JAX {jax.__version__} reads ({error!r}); it is made anew", stacklevel=2
        )
        return None


def _remove_oldest(folder: pathlib.Path) -> None:
    """Removes programs beyond the latest `_MOST`, as versions of this package and of JAX leave theirs."""
    files = [path for path in folder.iterdir() if not is_partial(path.name)]
    for path in sorted(files, key=lambda path: path.stat().st_mtime)[:-_MOST]:
        path.unlink(missing_ok=True)
