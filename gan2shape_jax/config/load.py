"""Finding, running, changing and reading back configurations.

A configuration is an `ml_collections.ConfigDict` that the function `get_config` of a Python file returns; the file may
list `VARIANTS`, which `get_config` then takes by name, and a `CATEGORY` of its own (see `io.categories`). It is the
user's own program and runs as such; whatever goes wrong in it is reported in one line that names the file.
"""

import contextlib
import difflib
import functools
import json
import os
import pathlib
import types
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from gan2shape_jax.config import schema
from gan2shape_jax.config.schema import flatten, shown
from gan2shape_jax.config.variants import VARIANTS
from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io import categories
from gan2shape_jax.io.bundled import folder
from gan2shape_jax.io.files import MIB, read_bytes, read_object
from gan2shape_jax.io.option_types import name_fault

__all__ = [
    "LARGEST_JSON",
    "apply_overrides",
    "from_json",
    "load_config",
    "names",
    "read_config",
    "set_field",
    "to_json",
]

LARGEST_JSON = 2**18  # bytes of a `config.json`, which is about 6 KiB
_LONGEST_MESSAGE = 500  # characters
# What belongs to the images of `config.data.image_root`, and what a run does without it. It is found by
# an image's name alone: a photo saved as `001.png` must not be given the mask of the bundled face 001.
_ROOTS = {
    "latent_root": "latents are found by inverting the GAN",
    "mask_root": "masks come from the images' alpha channel or the parser",
    "depth_root": "nothing is evaluated",
}


def names() -> list[str]:
    """Returns the names of the bundled configurations, sorted."""
    return sorted(path.stem for path in folder("configs").glob("[a-z]*.py") if path.stem != "base")


def load_config(spec: str) -> ConfigDict:
    """Returns the locked configuration named on a command line.

    Args:
        spec: `NAME[:VARIANT]` of a bundled configuration, `PATH.py[:VARIANT]`, or `PATH.yml`, a settings file of
            the published implementation; every configuration has the variants of `variants.VARIANTS`.

    Raises:
        ConfigError: there is no such configuration or variant, or its file does not run.
    """
    name, _, variant = spec.partition(":")
    if variant in VARIANTS:
        config = load_config(name).unlock()
        with _reported(f"{name} cannot be lifted"):
            return VARIANTS[variant](config).lock()
    if name.endswith((".yml", ".yaml")):
        if variant:
            raise ConfigError(f"{name} is a YAML file: it has no variant {variant!r}")
        from gan2shape_jax.config.published_yaml import load_yaml  # imports YAML and the checks: only where needed

        return load_yaml(name)
    path = pathlib.Path(name)
    if path.suffix == ".py":
        if not os.path.exists(path) and path.parent.name == "configs" and not path.is_absolute():
            path = folder("configs") / path.name  # `configs/NAME.py` works from any folder
        if not os.path.exists(path):  # unlike pathlib's, also False for a name that no file can have
            raise ConfigError(f"there is no config file {name}; {_suggestion(path.stem)}")
    else:
        path = folder("configs") / f"{name}.py"
        if name not in [*names(), "base"]:
            raise ConfigError(f"there is no config {name!r}; {_suggestion(name)}")
    return _run(path, variant)


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}bundled are: {', '.join(names())}"


def _run(path: pathlib.Path, variant: str) -> ConfigDict:
    """Runs a file's `get_config`, with the variant if one is named, and locks the result."""
    with _reported(f"{path} does not run"):
        module = types.ModuleType(f"_gan2shape_config_{path.stem}")
        module.__file__ = str(path)
        source = read_bytes(path, limit=MIB)
        exec(
            compile(source, str(path), "exec", dont_inherit=True), module.__dict__
        )  # leaves no compiled copy beside it
        get_config, variants = getattr(module, "get_config", None), getattr(module, "VARIANTS", ())
        record = getattr(module, "CATEGORY", None)
    if not callable(get_config):
        raise ConfigError(f"{path} has no function get_config")
    known = [name for name in variants if isinstance(name, str)] if isinstance(variants, (tuple, list, set)) else []
    if variant and variant not in known:
        having = f"it has {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"config {path.stem} has no variant {variant!r} ({having})")
    with _reported(f"get_config of {path} does not run"):
        config = get_config(variant) if variant else get_config()
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"get_config of {path} returns no ml_collections.ConfigDict")
    if path.parent == folder("configs"):
        return config.lock()
    with _reported(f"get_config of {path} returns a configuration that cannot be read"):
        config = ConfigDict(config) if isinstance(config, FrozenConfigDict) else config.unlock()
        _require_fields(config, path)
        _drop_foreign_roots(config)
    if isinstance(record, categories.Category):
        categories.register(record)
    return config.lock()


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    """Turns whatever a config file raises into a `ConfigError`, except Ctrl-C and errors already meant for the user."""
    try:
        yield
    except (ConfigError, KeyboardInterrupt):
        raise
    except UserError as error:
        raise ConfigError(str(error)) from error
    except BaseException as error:  # also SystemExit: a file that is no configuration must not end the program silently
        try:
            message = " ".join(str(error).split())[:_LONGEST_MESSAGE]
        except Exception:  # of the file's own class
            message = ""
        raise ConfigError(f"{what}: {': '.join(filter(None, (type(error).__name__, message)))}") from error


def _require_fields(config: ConfigDict, path: pathlib.Path) -> None:
    values = flatten(config)
    if lacking := schema.fields().keys() - values.keys():
        raise ConfigError(
            f"get_config of {path} leaves out config.{min(lacking)}: start from a whole configuration, such as "
            "load_config('base').unlock()"
        )
    if faults := schema.faults(values, only_types=True):
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))


@functools.cache
def _bundled_data() -> tuple[ConfigDict, ...]:
    return tuple(load_config(name).data for name in names())


def _drop_foreign_roots(config: ConfigDict, given: Collection[str] = ()) -> None:
    """Empties folders that belong to a bundled configuration's images if `data.image_root` is another folder.

    A single warning names what was dropped; fields in `given`, which the user set explicitly, stay as they are.
    """

    def is_foreign(root: str) -> bool:
        place, images = os.path.realpath(config.data[root]), os.path.realpath(config.data.image_root)
        owners = [
            os.path.realpath(data.image_root) for data in _bundled_data() if os.path.realpath(data[root]) == place
        ]
        return bool(owners) and images not in owners

    dropped = [root for root in _ROOTS if config.data[root] and f"data.{root}" not in given and is_foreign(root)]
    if not dropped:
        return
    listed = ", ".join(f"config.data.{root} {config.data[root]}" for root in dropped)
    warnings.warn(
        f"dropped {listed}: {'it belongs' if len(dropped) == 1 else 'they belong'} to other images than those of "
        f"config.data.image_root {config.data.image_root} ({'; '.join(_ROOTS[root] for root in dropped)}; name a "
        "folder to set it)",
        stacklevel=3,
    )
    for root in dropped:
        config.data[root] = ""


def apply_overrides(config: ConfigDict, overrides: Mapping[str, str]) -> ConfigDict:
    """Returns a locked copy with fields set from text, such as `{"schedule.use_mask": "True"}`.

    Changing `data.image_root` drops the bundled latents, masks and depths that the overrides do not set themselves.

    Raises:
        ConfigError: a field that does not exist (the message names the nearest one) or text of the wrong type.
    """
    config = ConfigDict(config).copy_and_resolve_references().unlock()
    images = config.data.image_root
    for path, text in overrides.items():
        _override(config, path, text)
    if config.data.image_root != images:
        _drop_foreign_roots(config, given=overrides)
    return config.lock()


def _override(config: ConfigDict, path: str, text: str) -> None:
    known = schema.fields()
    if path not in known:
        if inside := [field for field in known if field.startswith(f"{path}.")]:
            raise ConfigError(f"config.{path} is a group of fields, set one of them: {', '.join(inside)}")
        raise ConfigError(
            f"there is no config.{path}; the nearest field is config.{schema.nearest(path, known)} "
            "(--help lists the groups of fields)"
        )
    field, parsed, words = known[path], flags.FlagValues(), ["", f"--config.{path}={text}"]
    if field.default is None:
        set_field(config, path, None if text == "None" else 0)  # a number, for its text to be read as one
        if text == "None":
            return
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=parsed, sys_argv=words, lock_config=False)
        parsed(words)
    except (flags.Error, ValueError, TypeError, MemoryError, RecursionError):
        raise ConfigError(f"config.{path} is {field.kind}, not {shown(text)}") from None
    value = flatten(config)[path]
    if isinstance(value, tuple):
        set_field(config, path, schema.as_tuples(value))
    elif isinstance(value, str) and (fault := name_fault(value)):
        raise ConfigError(f"config.{path} is {shown(value)}: {fault}")


def set_field(config: ConfigDict, path: str, value: Any) -> None:
    """Sets the field at a dotted path of an unlocked configuration, regardless of its previous type."""
    *parents, last = path.split(".")
    owner = functools.reduce(lambda tree, name: tree[name], parents, config)
    with owner.ignore_type():
        owner[last] = value


def to_json(config: ConfigDict) -> str:
    """Returns the resolved configuration as indented JSON; equal configurations give equal text."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def read_config(path: pathlib.Path) -> ConfigDict:
    """Returns the configuration in a run's `config.json`.

    Raises:
        UserError: the file cannot be read, or holds a configuration that no run could have had.
    """
    try:
        return from_json(read_object(path, "a run's configuration", limit=LARGEST_JSON), path)
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read as a run's configuration: there is no such file") from error


def from_json(tree: Mapping[str, Any], source: pathlib.Path) -> ConfigDict:
    """Returns the locked configuration of a JSON object; fields that are not in it have their defaults.

    Args:
        tree: the object, with groups of fields as nested objects.
        source: the file that it was read from, for messages.

    Raises:
        UserError: there is no such field, or a value is one that no run could have had.
    """
    from gan2shape_jax.config import validation  # imports jax, which naming a configuration need not wait for

    config, known = load_config("base").unlock(), schema.fields()
    values = flatten(config) | {path: schema.as_tuples(value) for path, value in flatten(tree).items()}
    if faults := schema.faults(values):
        raise UserError(f"{source}: {faults[0]}")
    for path, value in values.items():
        set_field(config, path, float(value) if isinstance(known[path].default, float) else value)
    if problems := validation.problems(config):
        raise UserError(f"{source}: {problems[0]}")
    return config.lock()
