"""The arguments of `gan2shape-jax --config=...`, and its help in three lengths.

`--help` fits one screen and lists the groups of fields; `--help=TOPIC` explains a field or a group; `--help=all` lists
every field. The values shown are those of the named configuration, or the defaults.
"""

import dataclasses
import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from gan2shape_jax.config import lifting
from gan2shape_jax.config.documentation import GENERAL, describe_fields, describe_groups, group_of
from gan2shape_jax.config.load import load_config
from gan2shape_jax.config.overrides import nearest_field
from gan2shape_jax.config.python_files import names
from gan2shape_jax.config.tree import flatten
from gan2shape_jax.errors import ConfigError

__all__ = ["ALL", "COMMANDS", "Arguments", "help_text", "parse"]

ALL = "all"
_WIDTH = 100  # characters

# The commands besides reconstruction, each with its own --help.
COMMANDS = {
    "photo": "PHOTO ...: any photo to 3D: crop, mask and shape are found",
    "serve": "the same in a browser, for oneself or for others",
    "render": "RESULT ...: new views of a saved result",
    "edit": "RESULT ...: rotation and relighting, by the mesh and by the GAN",
    "export": "print|texture|blender|spread RESULT ...: a saved result for other programs",
    "evaluate": "RESULTS ...: errors of finished runs, side by side",
    "get": "NAME: published weights, downloaded, checked and converted",
    "page": "RESULT ...: saved results as one HTML file, to look at and to pass on",
    "sample": "--config=NAME --out FOLDER: new images of a GAN, with their latents",
    "convert": "IN OUT: weights of PyTorch for use here",
    "train-gan": "PHOTOS --out GAN: a GAN of one's own, from a folder of photographs",
}

_USAGE = """\
usage: gan2shape-jax [lift] --config=NAME[:VARIANT] [--config.FIELD=VALUE ...] [--check]
       gan2shape-jax COMMAND ...

Reconstructs every image of a configuration's list in 3D; lift trains on a GAN's own pictures.
  --config=NAME         a file (.py, .yml), or {names}
  --config.FIELD=VALUE  sets one field, such as --config.workdir=results/mine
  --check, --version    looks at every file, estimates hours and memory, and stops; says the version
  --help=TOPIC          explains a field, a group, or all: schedule.stages, schedule, all
"""

# The published implementation's command line, run.py, and what to write here instead.
_LAUNCH_OPTIONS = {
    "--seed": "--config.seed=N",
    "--num_workers": "nothing: leave it out",
    "--launcher": "nothing: leave it out, one process runs on one device",
    "--local_rank": "nothing: leave it out, one process runs on one device",
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A command line.

    Attributes:
        spec: the configuration's name or path, or ''.
        overrides: text by field.
        check: whether files are only checked.
        version: whether the version is requested.
        help: the requested topic, '' for the short help, or None.
        lift: whether the GAN is to be lifted.
    """

    spec: str = ""
    overrides: dict[str, str] = dataclasses.field(default_factory=dict)
    check: bool = False
    version: bool = False
    help: str | None = None
    lift: bool = False


def parse(argv: Sequence[str]) -> Arguments:
    """Parses the arguments; values follow `=` or a space.

    Raises:
        ConfigError: an unknown argument, or one without its value.
    """
    spec, overrides, flags, topic = "", dict[str, str](), set[str](), None
    lift = list(argv[:1]) == [lifting.LIFT]
    rest = list(argv[1:] if lift else argv)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if name in ("--help", "-h"):
            topic = value or (rest.pop(0) if rest and not equals and not rest[0].startswith("-") else "")
        elif name in ("--check", "--version") and not equals:
            flags.add(name)
        elif name == "--config" or name.startswith("--config."):
            if not equals:
                value = rest.pop(0) if rest else "--"
                if value.startswith("--"):
                    raise ConfigError(f"{name} needs a value: {name}=VALUE")
            if name == "--config":
                spec = value
            else:
                overrides[name.removeprefix("--config.")] = value
        else:
            raise ConfigError(f"unknown argument {argument!r} ({_instead(argument)})")
    if lift and spec:
        name, _, variant = spec.partition(":")
        if variant not in ("", lifting.LIFT):
            raise ConfigError(f"lift takes a configuration without its variant {variant!r}: lift --config={name}")
        spec = f"{name}:{lifting.LIFT}"
    return Arguments(spec, overrides, "--check" in flags, "--version" in flags, topic, lift)


def _instead(argument: str) -> str:
    """Returns what to write instead of an unknown argument."""
    name = argument.partition("=")[0]
    if name in _LAUNCH_OPTIONS:
        return f"here: {_LAUNCH_OPTIONS[name]}"
    if not argument.startswith("-") and os.path.isfile(argument):
        if argument.endswith((".py", ".yml", ".yaml")):
            return f"a configuration: --config={argument}"
        return "a photo: gan2shape-jax photo PHOTO"
    return "--help lists what there is"


def help_text(topic: str = "", spec: str = "") -> str:
    """Returns the help on a topic.

    Args:
        topic: '' for the short help, a field such as `schedule.stages` (just `stages` if no other field has that
            ending), a group such as `schedule`, or `all`.
        spec: the configuration whose values are shown; '' shows the defaults.

    Raises:
        ConfigError: there is no such topic (the message names the nearest one), or no such configuration.
    """
    topic = topic.removeprefix("--").removeprefix("config.")
    if not topic:
        return _short()
    values = flatten(load_config(spec or "base"))
    meanings, groups = describe_fields(), describe_groups()
    shown_for = f"Values are those of {spec}." if spec else "Values are the defaults, configs/base.py."
    if topic == ALL:
        blocks = (_group(group, values) for group in groups)
        return "\n\n".join([_short(), shown_for, *blocks])
    if topic in groups:
        return f"{_group(topic, values)}\n\n{shown_for}"
    ending = [field for field in meanings if field.endswith(f".{topic}")]
    topic = ending[0] if len(ending) == 1 else topic
    if topic in meanings:
        return f"{_field(topic, values)}\n\n{shown_for} {_neighbours(topic)}".rstrip()
    nearest = nearest_field(topic, [*groups, *meanings])
    raise ConfigError(f"there is no field or group {topic!r}, the nearest is --help={nearest}; --help lists the groups")


def _short() -> str:
    lines = [_USAGE.format(names=_wrapped_names()).rstrip("\n"), "Commands (each has a --help):"]
    lines += [f"  {name:<10}{about}" for name, about in COMMANDS.items()]
    lines += ["Groups of fields (--help=GROUP):"]
    lines += [f"  {group:<12}{about}" for group, about in describe_groups().items()]
    return "\n".join(lines)


def _wrapped_names() -> str:
    """Returns the bundled configurations' names, wrapped to fit their place in `_USAGE`."""
    indent = " " * 24
    rows = textwrap.wrap(", ".join(names()), _WIDTH - len(indent), initial_indent=" " * 22)
    return f"\n{indent}".join(rows).strip()


def _group(group: str, values: dict[str, Any]) -> str:
    fields = [field for field in describe_fields() if group_of(field) == group]
    title = f"{group}: {describe_groups()[group]}"
    return "\n".join([title, *(_field(field, values) for field in fields)])


def _field(field: str, values: dict[str, Any]) -> str:
    meaning = textwrap.wrap(describe_fields()[field], _WIDTH - 4, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join([f"  --config.{field}={values[field]!r}", *meaning])


def _neighbours(field: str) -> str:
    group = group_of(field)
    others = list(_others(field, group))
    if not others:
        return ""
    return f"Also in {group if group != GENERAL else 'the general group'}: {', '.join(others)}."


def _others(field: str, group: str) -> Iterator[str]:
    for other in describe_fields():
        if other != field and group_of(other) == group:
            yield other.rsplit(".", 1)[-1]
