"""Reading a flat YAML settings file, with the line number of every option.

Plain data only: text, numbers, true and false, null, lists of these, and mappings one level deep.
Tags that would construct objects are refused, as are options given twice, for which YAML readers usually
let the last one win. Any error is a one-line `ConfigError` that names file and line.
"""

import dataclasses
import pathlib
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gan2shape_jax.errors import ConfigError, UserError
from gan2shape_jax.io import regular_files

__all__ = ["Entry", "read_options"]

_LARGEST = 2**15  # bytes: settings take a few kilobytes, and a megabyte takes PyYAML half a minute
_DEEPEST = 8  # nesting levels that are parsed, to report errors; only two are used
_LONGEST = 64  # characters of an option's name
_SHOWN = 40  # characters of a value shown in a message
_TAG = "tag:yaml.org,2002:"
_PLAIN = ("str", "int", "float", "bool", "null")


@dataclasses.dataclass(frozen=True)
class Entry:
    """An option's value and its place in the file.

    Attributes:
        value: text, number, bool, None, a list of these, or a dictionary of `Entry`.
        line: of the option, counted from 1.
        text: the value as written in the file, shortened.
    """

    value: Any
    line: int
    text: str


class _TooDeep(Exception):
    """More nesting levels than `_DEEPEST`."""


class _Loader(yaml.SafeLoader):
    """Stops at deeply nested text before spending time on parsing all of it."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _TooDeep
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_options(path: pathlib.Path) -> dict[str, Entry]:
    """Returns the options of a YAML file by name.

    Raises:
        ConfigError: the file is missing, not text, not YAML, empty, or contains anything but options.
    """
    text = _read(path)
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise ConfigError(f"{path} is empty: `option: value` lines are wanted")
        if not isinstance(root, MappingNode):
            raise ConfigError(f"{_at(path, root)}: `option: value` lines are wanted, not {_shown(root, text)}")
        return _mapping(root, loader, path, text, nested=True)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_explain(error, path, text)) from None
    except (_TooDeep, RecursionError):
        raise ConfigError(f"{path} nests too deeply: `option: value` lines are wanted") from None
    finally:
        loader.dispose()


def _read(path: pathlib.Path) -> str:
    """Returns the file's text; raises `ConfigError` for characters that YAML forbids."""
    try:
        text = regular_files.read_text(path, limit=_LARGEST, encoding="utf-8-sig")
        yaml.SafeLoader(text).dispose()
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}") from None
    except UserError as error:
        raise ConfigError(f"{error}; a settings file takes some kilobytes") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}, line {line}: a character that no YAML file may hold") from None
    return text


def _mapping(
    node: MappingNode, loader: yaml.SafeLoader, path: pathlib.Path, text: str, *, nested: bool
) -> dict[str, Entry]:
    _require_tag(node, "map", path, text)
    options: dict[str, Entry] = {}
    for key, value in node.value:
        name = _name(key, loader, path, text)
        if name in options:
            raise ConfigError(f"{_at(path, key)}: {name} is given twice, first in line {options[name].line}")
        if isinstance(value, MappingNode):
            if not nested:
                raise ConfigError(f"{_at(path, value)}: {name} holds options inside options: one level is read")
            content: Any = _mapping(value, loader, path, text, nested=False)
        elif isinstance(value, SequenceNode):
            _require_tag(value, "seq", path, text)
            content = [_scalar(item, loader, path, text) for item in value.value]
        else:
            content = _scalar(value, loader, path, text)
        options[name] = Entry(content, key.start_mark.line + 1, _shown(value, text))
    return options


def _name(key: Node, loader: yaml.SafeLoader, path: pathlib.Path, text: str) -> str:
    """Returns an option's name as written in the file, whether text, a number or null."""
    if not isinstance(key, ScalarNode) or key.tag.removeprefix(_TAG) not in _PLAIN or len(key.value) > _LONGEST:
        raise ConfigError(f"{_at(path, key)}: {_shown(key, text)} is no option's name")
    _scalar(key, loader, path, text)
    return str(key.value)


def _scalar(node: Node, loader: yaml.SafeLoader, path: pathlib.Path, text: str) -> Any:
    """Returns a plain value; objects named by a tag such as !!python/object are refused, never constructed."""
    kind = node.tag.removeprefix(_TAG) if isinstance(node, ScalarNode) else ""
    if kind not in _PLAIN:
        raise _foreign(node, path, text)
    try:
        return loader.construct_object(node)
    except (ValueError, OverflowError, KeyError):  # !!int and !!bool before other text, a number of 5,000 digits
        raise ConfigError(f"{_at(path, node)}: {_shown(node, text)} is no {kind}") from None


def _require_tag(node: Node, kind: str, path: pathlib.Path, text: str) -> None:
    if node.tag != _TAG + kind:
        raise _foreign(node, path, text)


def _foreign(node: Node, path: pathlib.Path, text: str) -> ConfigError:
    return ConfigError(f"{_at(path, node)}: {_shown(node, text)} is no text, no number, not true or false")


def _at(path: pathlib.Path, node: Node) -> str:
    return f"{path}, line {node.start_mark.line + 1}"


def _shown(node: Node, text: str) -> str:
    written = " ".join(text[node.start_mark.index : node.end_mark.index].split())
    if not written:
        return "nothing"
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}..."


def _explain(error: yaml.MarkedYAMLError, path: pathlib.Path, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    row = mark.line if mark else 0
    lines = text.splitlines()
    if row < len(lines) and "\t" in lines[row]:
        return f"{path}, line {row + 1}: a tab: YAML wants spaces"
    return f"{path}, line {row + 1}: no valid YAML: {error.problem or error.context}"
