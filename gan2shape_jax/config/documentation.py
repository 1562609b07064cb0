"""What the fields and their groups mean: the comments in `configs/base.py`."""

import ast
import functools
import inspect
import textwrap

from gan2shape_jax.config.python_files import base_module

__all__ = ["GENERAL", "describe_fields", "describe_groups", "group_of"]

GENERAL = "general"  # the group of fields that belong to no other


def describe_fields() -> dict[str, str]:
    """Returns each field's documentation by dotted path, in the order of `configs/base.py`."""
    groups = describe_groups()
    return {path: text for path, text in _comments().items() if path not in groups}


def describe_groups() -> dict[str, str]:
    """Returns a description of each group of fields, `GENERAL` first."""
    groups = {path: text for path, text in _comments().items() if path in _group_paths()}
    return {GENERAL: "The seed, the results' folder, and what kind of run it is."} | groups


def group_of(field: str) -> str:
    """Returns the group of a field's dotted path."""
    return field.partition(".")[0] if "." in field else GENERAL


@functools.cache
def _assignments() -> tuple[list[str], tuple[ast.Assign, ...]]:
    """Returns the lines of `configs/base.py` and its assignments to fields and groups."""
    source = textwrap.dedent(inspect.getsource(base_module()))
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign))
    kept = [node for node in nodes if isinstance(node.targets[0], ast.Attribute)]
    return source.splitlines(), tuple(sorted(kept, key=lambda node: node.lineno))


def _path(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0]).removeprefix("config.")


def _group_paths() -> set[str]:
    _, nodes = _assignments()
    return {_path(node) for node in nodes if ast.unparse(node.value) == "ConfigDict()"}


def _comments() -> dict[str, str]:
    """Returns the comment above each assignment, by the path that it assigns to."""
    lines, nodes = _assignments()
    return {_path(node): _comment_above(lines, node.lineno - 1) for node in nodes}


def _comment_above(lines: list[str], row: int) -> str:
    comment: list[str] = []
    while row > 0 and lines[row - 1].strip().startswith("#"):
        row -= 1
        comment.insert(0, lines[row].strip().removeprefix("#").strip())
    return " ".join(comment)
