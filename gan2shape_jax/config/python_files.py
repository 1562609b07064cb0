"""Configurations in Python files: bundled ones by name, the user's by path.

A file has a function `get_config` that returns an `ml_collections.ConfigDict`, and may list variants, which
`get_config` then takes by name. It is the user's own program and runs as such; whatever goes wrong in it is reported in
one line that names the file.
"""

import contextlib
import difflib
import os
import pathlib
import types
from collections.abc import Iterator

from ml_collections import ConfigDict, FrozenConfigDict

from gan2shape_jax.config import bundled_data, lifting
from gan2shape_jax.config.tree import flatten
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io import categories
from gan2shape_jax.io.bundled import folder
from gan2shape_jax.io.regular_files import MIB, read_bytes

__all__ = ["base_module", "load_file", "load_python", "names"]

_LARGEST = MIB  # bytes of a config file; the longest bundled one has 16,000
_LONGEST_MESSAGE = 500  # characters


def names() -> list[str]:
    """Returns the names of the bundled configurations, sorted."""
    return sorted(path.stem for path in folder("configs").glob("[a-z]*.py") if path.stem != "base")


def load_python(spec: str) -> ConfigDict:
    """Returns the locked configuration of `NAME[:VARIANT]` or `PATH.py[:VARIANT]`.

    Raises:
        ConfigError: there is no such configuration or variant, or its file does not run.
    """
    name, _, variant = spec.partition(":")
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not os.path.exists(path) and path.parent.name == "configs" and not path.is_absolute():
            path = folder("configs") / path.name  # `configs/NAME.py` works from any folder
        if not os.path.exists(path):  # unlike pathlib's, also False for a name that no file can have
            raise ConfigError(f"there is no config file {name}; {_suggestion(path.stem)}")
    else:
        path = folder("configs") / f"{name}.py"
        if name not in [*names(), "base"]:
            raise ConfigError(f"there is no config {name!r}; {_suggestion(name)}")
    return load_file(path, variant)


def load_file(path: pathlib.Path, variant: str = "") -> ConfigDict:
    """Runs a file's `get_config`, with the variant if one is named, and locks the result.

    Bundled folders of latents, masks and depths are dropped if the images are not the bundled ones.

    Raises:
        ConfigError: the file does not run, returns no configuration, or has no such variant.
    """
    with _told(f"{path} does not run"):
        module = _import(path)
        get_config, variants = getattr(module, "get_config", None), getattr(module, "VARIANTS", ())
        if isinstance(record := getattr(module, "CATEGORY", None), categories.Category):
            categories.register(record)
    if not callable(get_config):
        raise ConfigError(f"{path} has no function get_config")
    if variant in lifting.VARIANTS:
        with _told(f"{path} cannot be lifted"):
            return lifting.VARIANTS[variant](load_file(path).unlock()).lock()
    if variant:
        _require_variant(path, variant, variants)
    with _told(f"get_config of {path} does not run"):
        config = get_config(variant) if variant else get_config()
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"get_config of {path} returns no ml_collections.ConfigDict")
    with _told(f"get_config of {path} returns a configuration that cannot be read"):
        config = ConfigDict(config) if isinstance(config, FrozenConfigDict) else config.unlock()
        _require_fields(config, path)
        bundled_data.drop_foreign_roots(config)
        return config.lock()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turns whatever a config file raises into a `ConfigError`, except Ctrl-C and errors already meant for the user."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also SystemExit: a file that is no configuration must not end the program silently
        raise ConfigError(f"{what}: {': '.join(filter(None, (type(error).__name__, _said(error))))}") from error


def _said(error: BaseException) -> str:
    """Returns an error's message in one line; '' if its class, which may be the file's own, fails even at that."""
    try:
        return " ".join(str(error).split())[:_LONGEST_MESSAGE]
    except Exception:
        return ""


def _require_variant(path: pathlib.Path, variant: str, variants: object) -> None:
    known = [name for name in variants if isinstance(name, str)] if isinstance(variants, (tuple, list, set)) else []
    if variant not in known:
        told = f"it has {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"config {path.stem} has no variant {variant!r} ({told})")


def _require_fields(config: ConfigDict, path: pathlib.Path) -> None:
    if path == folder("configs") / "base.py":
        return
    from gan2shape_jax.config.field_types import base_values, type_problems  # it reads `base.py` through this module

    values = flatten(config)
    lacking = base_values().keys() - values.keys()
    if lacking:
        raise ConfigError(
            f"get_config of {path} leaves out config.{min(lacking)}: start from a whole configuration, such as "
            "load_config('base').unlock()"
        )
    faults = type_problems(values)
    if faults:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))


def base_module() -> types.ModuleType:
    """Returns `configs/base.py`, whose comments document the fields."""
    return _import(folder("configs") / "base.py")


def _import(path: pathlib.Path) -> types.ModuleType:
    """Runs a file as a module that cannot be imported elsewhere, and leaves no compiled copy beside it.

    Raises:
        ConfigError: the path is not a regular file, or the file is too large for a configuration.
        Exception: whatever the file raises.
    """
    try:
        source = read_bytes(path, limit=_LARGEST)
    except UserError as error:
        raise ConfigError(str(error)) from error
    module = types.ModuleType(f"_gan2shape_config_{path.stem}")
    module.__file__ = str(path)
    exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    return module


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}bundled are: {', '.join(names())}"
