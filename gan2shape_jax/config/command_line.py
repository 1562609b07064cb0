"""The arguments of `gan2shape-jax --config=...`, and its help in three lengths.

`--help` fits one screen and lists the groups of fields; `--help=TOPIC` explains a field or a group; `--help=all` lists
every field. The values shown are those of the named configuration, or the defaults.
"""

import dataclasses
import difflib
import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gan2shape_jax.config.load import LIFT, VARIANTS, load_config, names
from gan2shape_jax.config.schema import GENERAL, fields, flatten, group_of, groups, nearest
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.io.image_files import ENDINGS

_WIDTH = 100  # characters

_USAGE = """\
usage: gan2shape-jax [lift] --config=NAME[:VARIANT] [--config.FIELD=VALUE ...] [--check]
       gan2shape-jax COMMAND ..., or PHOTO ... for photo PHOTO ...
Reconstructs every image of a configuration's list in 3D; lift trains on a GAN's own pictures.
  --config=NAME         file, or {names}
  --config.FIELD=VALUE  sets one field, such as --config.workdir=results/mine
  --cluster ray         divides the images among a Ray cluster's machines (train, refine, predict)
  --check, --version    checks every file and lists what is missing; prints the version
  --help=TOPIC          explains a field, a group, or all: schedule.stages, schedule, all"""

SUMMARY = """\
gan2shape-jax: one photo in, a 3D shape out
  gan2shape-jax me.jpg --open        a photo in 3D, on a page that opens in the browser (more: photo --help)
  gan2shape-jax serve --open         the same by clicking, in a browser
  gan2shape-jax export print RESULT  a result for a 3D printer; export also writes USDZ, textures, Blender's script
  gan2shape-jax --config=people      all pictures of a configuration; this one has six bundled faces
  gan2shape-jax --help               all commands, configurations and settings"""

_OPTIONS = ("--config", "--help", "-h", "--check", "--version", "--cluster")
_CLUSTERS = ("ray",)
_CONFIGS = (".py", ".yml", ".yaml")  # how their files end


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A command line."""

    spec: str = ""  # the configuration's name or path
    overrides: dict[str, str] = dataclasses.field(default_factory=dict)  # text by field
    check: bool = False
    version: bool = False
    cluster: str = ""  # what divides the images among machines; '' for nothing
    help: str | None = None  # the requested topic, '' for the short help


def means_photos(argv: Sequence[str]) -> bool:
    """Returns whether the arguments, which name no command, are those of `photo`: a file or folder, and its options."""
    first = argv[0] if argv else ""
    return any(map(_is_photo, argv if first.startswith("-") and not first.startswith(_OPTIONS) else [first]))


def _is_photo(argument: str) -> bool:
    name = argument.lower()
    there = name.endswith(ENDINGS) or (not name.endswith(_CONFIGS) and os.path.exists(argument))
    return there and not argument.startswith("-")


def parse(argv: Sequence[str], *, commands: Collection[str] = ()) -> Arguments:
    """Parses the arguments, the first of which is none of the `commands`; values follow `=` or a space.

    Raises `ConfigError`: an unknown argument, or one without its value; the message says what may have been meant.
    """
    if argv and not argv[0].startswith("-") and argv[0] != LIFT:
        raise ConfigError(f"there is no command {argv[0]!r} ({_instead(argv[0], commands)})")
    lift = list(argv[:1]) == [LIFT]
    values, flags, topic, rest = dict[str, str](), set[str](), None, list(argv[1:] if lift else argv)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if name in ("--help", "-h"):
            topic = value or (rest.pop(0) if rest and not equals and not rest[0].startswith("-") else "")
        elif argument in ("--check", "--version"):
            flags.add(argument)
        elif name in ("--cluster", "--config") or name.startswith("--config."):
            if not equals and (not rest or rest[0].startswith("--")):
                raise ConfigError(f"{name} needs a value: {name}=VALUE")
            values[name] = value if equals else rest.pop(0)
        else:
            raise ConfigError(f"unknown argument {argument!r} ({_instead(argument)})")
    spec, cluster = values.pop("--config", ""), values.pop("--cluster", "")
    if cluster not in ("", *_CLUSTERS):
        raise ConfigError(f"--cluster is {cluster!r}: it must be one of {', '.join(_CLUSTERS)}")
    if lift and spec:
        name, _, variant = spec.rpartition(":")
        if variant in VARIANTS and variant != LIFT:
            raise ConfigError(f"lift takes a configuration without its variant {variant!r}: lift --config={name}")
        spec = spec if variant == LIFT else f"{spec}:{LIFT}"
    overrides = {name.removeprefix("--config."): value for name, value in values.items()}
    return Arguments(spec, overrides, "--check" in flags, "--version" in flags, cluster, topic)


def _instead(argument: str, commands: Collection[str] = ()) -> str:
    """Returns what to write instead of an unknown argument."""
    if argument in names() or (argument.endswith(_CONFIGS) and os.path.isfile(argument)):
        return f"a configuration: --config={argument}"
    if _is_photo(argument):
        return f"a photo: gan2shape-jax {argument}"
    close = difflib.get_close_matches(argument.partition("=")[0], [*commands, LIFT] if commands else _OPTIONS, n=1)
    return f"{f'did you mean {close[0]}? ' if close else ''}--help lists what there is"


def help_text(topic: str = "", spec: str = "", *, commands: Mapping[str, str]) -> str:
    """Returns the help on a topic, with the values of the configuration `spec`, or the defaults where that is ''.

    `topic` is '' for the short help, a field such as `schedule.flip3` (just `flip3` if no other field has that ending),
    a group such as `schedule`, or `all`; `commands` are those besides reconstruction, and what each is for. Raises
    `ConfigError`: there is no such topic (the message names the nearest one), or no such configuration.
    """
    topic = topic.removeprefix("--").removeprefix("config.")
    if not topic:
        return _short(commands)
    values = flatten(load_config(spec or "base"))
    source = f"Values are those of {spec}." if spec else "Values are the defaults, configs/base.py."
    if topic == "all":
        return "\n\n".join([_short(commands), source, *(_group(group, values) for group in groups())])
    if topic in groups():
        return f"{_group(topic, values)}\n\n{source}"
    ending = [path for path in fields() if path.endswith(f".{topic}")]
    topic = ending[0] if len(ending) == 1 else topic
    if topic not in fields():
        close = nearest(topic, [*groups(), *fields()])
        raise ConfigError(f"there is no field or group {topic!r}, the nearest is --help={close}; --help lists groups")
    group = group_of(topic)
    others = [path.rpartition(".")[2] for path in fields() if path != topic and group_of(path) == group]
    also = f"Also in {group if group != GENERAL else 'the general group'}: {', '.join(others)}." if others else ""
    return f"{_field(topic, values)}\n\n{source} {also}".rstrip()


def _short(commands: Mapping[str, str]) -> str:
    indent = " " * 24
    rows = textwrap.wrap(", ".join(names()), _WIDTH - len(indent), initial_indent=" " * 9)
    lines = [_USAGE.format(names=f"\n{indent}".join(rows).strip()), "Commands (each has a --help):"]
    lines += [f"  {name:<10}{about}" for name, about in commands.items()]
    lines += ["Groups of fields (--help=GROUP):"]
    return "\n".join(lines + [f"  {group:<12}{about}" for group, about in groups().items()])


def _group(group: str, values: dict[str, Any]) -> str:
    return "\n".join(
        [f"{group}: {groups()[group]}", *(_field(path, values) for path in fields() if group_of(path) == group)]
    )


def _field(path: str, values: dict[str, Any]) -> str:
    field = fields()[path]
    meaning = f"{field.meaning} ({field.limits})" if field.limits else field.meaning
    return f"  --config.{path}={values[path]!r}\n{textwrap.indent(textwrap.fill(meaning, _WIDTH - 10), ' ' * 6)}"
