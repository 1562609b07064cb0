"""Configurations in Python files: bundled ones by name, the user's by path.

A file has a function `get_config` that returns an `ml_collections.ConfigDict`, and may list variants, which
`get_config` then takes by name.
"""

import difflib
import importlib.util
import pathlib
import types

from ml_collections import ConfigDict

from gan2shape_jax.bundled import folder
from gan2shape_jax.config import bundled_data
from gan2shape_jax.config.tree import flatten
from gan2shape_jax.errors import ConfigError, UserError

__all__ = ["base_module", "load_file", "load_python", "names"]


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
        if not path.is_file() and path.parent.name == "configs" and not path.is_absolute():
            path = folder("configs") / path.name  # `configs/NAME.py` is understood in every folder
        if not path.is_file():
            raise ConfigError(f"there is no config file {name}; {_suggestion(path.stem)}")
    else:
        path = folder("configs") / f"{name}.py"
        if name not in [*names(), "base"]:
            raise ConfigError(f"there is no config {name!r}; {_suggestion(name)}")
    return load_file(path, variant)


def load_file(path: pathlib.Path, variant: str = "") -> ConfigDict:
    """Runs a file's `get_config`, with the variant if one is named, and locks the result.

    Bundled folders of latents, masks and depths are dropped where the images are not the bundled ones.

    Raises:
        ConfigError: the file does not run, returns no configuration, or has no such variant.
    """
    try:
        module = _import(path)
    except UserError:
        raise
    except Exception as error:  # the file is the user's own program: anything may go wrong in it
        raise ConfigError(f"{path} does not run: {type(error).__name__}: {error}") from error
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} has no function get_config")
    variants = getattr(module, "VARIANTS", ())
    if variant and variant not in variants:
        known = f"it has {', '.join(variants)}" if variants else "it has none"
        raise ConfigError(f"config {path.stem} has no variant {variant!r} ({known})")
    config = module.get_config(variant) if variant else module.get_config()
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"get_config of {path} returns no ml_collections.ConfigDict")
    _require_all_fields(config, path)
    config = config.unlock()
    bundled_data.drop_foreign_roots(config)
    return config.lock()


def _require_all_fields(config: ConfigDict, path: pathlib.Path) -> None:
    if path == folder("configs") / "base.py":
        return
    lacking = flatten(base_module().get_config()).keys() - flatten(config).keys()
    if lacking:
        raise ConfigError(
            f"get_config of {path} leaves out config.{min(lacking)}: start from a whole configuration, such as "
            "load_config('base').unlock()"
        )


def base_module() -> types.ModuleType:
    """Returns `configs/base.py`, whose comments document the fields."""
    return _import(folder("configs") / "base.py")


def _import(path: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"_gan2shape_config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}bundled are: {', '.join(names())}"
