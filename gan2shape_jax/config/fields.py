"""Named configurations: finding, changing, documenting and validating them.

A configuration is an `ml_collections.ConfigDict` made by the `get_config` function of a Python
file. A command line names it as `NAME`, `NAME:VARIANT`, `PATH.py` or `PATH.py:VARIANT`, or as
`PATH.yml`, a settings file of the published implementation; fields are named by dotted paths. Files
that belong to the package are absolute paths below its `assets` folder, so that a run may start
anywhere.
"""

import ast
import difflib
import importlib.util
import inspect
import json
import pathlib
import textwrap
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from gan2shape_jax.errors import ConfigError, UserError

__all__ = [
    "apply_overrides",
    "describe_fields",
    "flatten",
    "load_config",
    "load_file",
    "names",
    "to_json",
]

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _folder() -> pathlib.Path:
    """The configs of an installed wheel lie inside the package, those of a checkout beside it."""
    inside = _PACKAGE / "configs"
    return inside if (inside / "base.py").is_file() else _PACKAGE.parent / "configs"


def names() -> list[str]:
    """Returns the names of the configurations that come with the project, sorted."""
    return sorted(path.stem for path in _folder().glob("[a-z]*.py") if path.stem != "base")


def load_config(spec: str) -> ConfigDict:
    """Returns the locked configuration that a command line names.

    Args:
        spec: `NAME[:VARIANT]` of a bundled configuration, `PATH.py[:VARIANT]`, or `PATH.yml`.

    Raises:
        ConfigError: there is no such configuration or variant, or its file does not run.
    """
    name, _, variant = spec.partition(":")
    if name.endswith((".yml", ".yaml")):
        from gan2shape_jax.config.original.files import load_yaml  # builds on this module

        if variant:
            raise ConfigError(f"{name} is a YAML file: it has no variant {variant!r}")
        return load_yaml(name)
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file() and path.parent.name == "configs" and not path.is_absolute():
            path = _folder() / path.name  # `configs/NAME.py` is understood in every folder
        if not path.is_file():
            raise ConfigError(f"there is no config file {name}; {_suggest_name(path.stem)}")
    else:
        path = _folder() / f"{name}.py"
        if name not in [*names(), "base"]:
            raise ConfigError(f"there is no config {name!r}; {_suggest_name(name)}")
    return load_file(path, variant)


def load_file(path: pathlib.Path, variant: str = "") -> ConfigDict:
    """Runs a configuration file's `get_config`, with the variant if any; locks the result."""
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
    return config.lock()


def _import(path: pathlib.Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"_gan2shape_config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _suggest_name(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}bundled are: {', '.join(names())}"


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns every field's value by its dotted path, in the order of the configuration."""
    return dict(_walk(config, ""))


def _walk(config: ConfigDict, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def to_json(config: ConfigDict) -> str:
    """Returns the resolved configuration as indented JSON; equal configurations give equal text."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def apply_overrides(config: ConfigDict, overrides: dict[str, str]) -> ConfigDict:
    """Returns a copy with fields set from text, as `{"schedule.use_mask": "True"}`.

    Raises:
        ConfigError: a field that does not exist (the message names the nearest one) or text of the
            wrong type.
    """
    config = ConfigDict(config).copy_and_resolve_references()
    fields = flatten(config)
    for path, text in overrides.items():
        if path not in fields:
            raise ConfigError(_unknown_field(path, fields))
        value = _parse(path, text, fields[path])
        *parents, last = path.split(".")
        owner = config
        for parent in parents:
            owner = owner[parent]
        with owner.ignore_type():
            owner[last] = value
    return config.lock()


def _unknown_field(path: str, fields: dict[str, Any]) -> str:
    if any(field.startswith(path + ".") for field in fields):
        inside = ", ".join(field for field in fields if field.startswith(path + "."))
        return f"config.{path} is a group of fields, set one of them: {inside}"
    last = path.rsplit(".", 1)[-1]
    same_end = difflib.get_close_matches(last, [field.rsplit(".", 1)[-1] for field in fields], n=1, cutoff=0.75)
    close = [field for field in fields if _initials(field) == path]
    close = close or difflib.get_close_matches(path, list(fields), n=1, cutoff=0.6)
    if not close and same_end:
        close = [field for field in fields if field.rsplit(".", 1)[-1] == same_end[0]]
    close = close or difflib.get_close_matches(path, list(fields), n=1, cutoff=0.0)
    return f"there is no config.{path}; the nearest field is config.{close[0]} (--help lists all)"


def _initials(field: str) -> str:
    """`optimizer.learning_rate` is also known as `optimizer.lr`."""
    *parents, last = field.split(".")
    return ".".join([*parents, "".join(word[0] for word in last.split("_"))])


def _parse(path: str, text: str, default: Any) -> Any:
    """Reads text as a value of the default's type; None marks an optional whole number."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() in _BOOLS:
            return _BOOLS[text.lower()]
        raise ConfigError(f"config.{path} is true or false, not {text!r}")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if isinstance(default, tuple):
        value = _tuple_of(value)
        if not isinstance(value, tuple):
            raise ConfigError(f"config.{path} is a tuple such as {default}, not {text!r}")
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        if whole or isinstance(value, float):
            return float(value)
        raise ConfigError(f"config.{path} is a number, not {text!r}")
    if whole or (value is None and path == "data.crop"):
        return value
    optional = " or None" if path == "data.crop" else ""
    raise ConfigError(f"config.{path} is a whole number{optional}, not {text!r}")


def _tuple_of(value: Any) -> Any:
    return tuple(_tuple_of(item) for item in value) if isinstance(value, (list, tuple)) else value


def describe_fields() -> dict[str, str]:
    """Returns each field's documentation by dotted path: the comments in `configs/base.py`."""
    source = textwrap.dedent(inspect.getsource(_import(_folder() / "base.py")))
    lines = source.splitlines()
    described = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        path = ast.unparse(node.targets[0]).removeprefix("config.")
        if isinstance(node.value, ast.Call) and ast.unparse(node.value) == "ConfigDict()":
            continue
        comments: list[str] = []
        row = node.lineno - 2
        while row >= 0 and lines[row].strip().startswith("#"):
            comments.insert(0, lines[row].strip().removeprefix("#").strip())
            row -= 1
        described[path] = " ".join(comments)
    return described
