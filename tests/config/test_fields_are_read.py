"""Every field of `configs/base.py` is read somewhere in the package: a field that does nothing is a lie."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

import gan2shape_jax
from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.method.settings import Settings

_PACKAGE = pathlib.Path(gan2shape_jax.__file__).parent
# Who looks at every field alike: the configuration's own machinery.
_MACHINERY = ("config", "configs", "tools")
# Kept for the published settings: `config.schema` sees to it that they agree with `config.mode` and the checkpoint.
_CHECKED_ONLY = {"schedule.joint", "gan.channel_multiplier"}


def _chain(node: ast.AST, aliases: dict[str, str]) -> str:
    """`config.gan.size` of an expression; local names stand for what they were set to; '' for anything else."""
    if isinstance(node, ast.Attribute):
        owner = _chain(node.value, aliases)
        return f"{owner}.{node.attr}" if owner else ""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        owner = _chain(node.value, aliases)
        return f"{owner}.{node.slice.value}" if owner else ""
    return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _assigned(function: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Pairs of target and value, tuples taken apart."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                yield from zip(target.elts, value.elts)
            else:
                yield target, value


def fields_read(source: str, fields: list[str]) -> set[str]:
    """The fields that a module's source reads: as `config.PATH`, whatever holds the configuration, or by an alias."""
    read = set()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, (ast.FunctionDef, ast.Module)):
            continue
        aliases: dict[str, str] = {}
        for target, value in _assigned(function):
            if isinstance(target, ast.Name) and "config" in _chain(value, aliases).split("."):
                aliases[target.id] = _chain(value, aliases)
        for node in ast.walk(function):
            if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Load):
                _, config, path = f".{_chain(node, aliases)}".rpartition(".config.")
                if config and path in fields:
                    read.add(path)
    return read


@pytest.fixture(scope="module")
def sources():
    files = [path for path in _PACKAGE.rglob("*.py") if path.relative_to(_PACKAGE).parts[0] not in _MACHINERY]
    return [path.read_text(encoding="utf-8") for path in files]


def test_every_field_is_read(sources):
    fields = list(flatten(load_config("base")))
    read = set().union(*(fields_read(source, fields) for source in sources))
    # `Settings` takes from some groups what has the name of one of its own fields.
    groups = re.findall(r"\*\*named\(config\.(\w+)\)", "".join(sources))
    read |= {f"{group}.{name}" for group in groups for name in Settings.__dataclass_fields__}
    assert len(fields) > 80 and set(fields) - read == _CHECKED_ONLY


def test_what_counts_as_reading():
    read = ("def f(config): return config.gan.size", "def f(self): return self.config.gan['size']")
    read += ("def f(config):\n    data, gan = config.data, config.gan\n    return gan.size",)
    other = ("def f(config): config.gan.size = 3", "def f(settings): return settings.gan.size", "A = ('gan.size',)")
    assert all(fields_read(source, ["gan.size"]) == {"gan.size"} for source in read)
    assert not any(fields_read(source, ["gan.size"]) for source in other)
