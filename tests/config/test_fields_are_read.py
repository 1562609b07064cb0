"""Every field of `configs/base.py` is read somewhere in the package: a field that does nothing is a lie."""

import ast
import pathlib

import gan2shape_jax
from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.method.settings import Settings

_PACKAGE = pathlib.Path(gan2shape_jax.__file__).parent
# Who looks at every field alike: the configuration's own machinery.
_MACHINERY = ("config", "configs", "tools")


def test_every_field_is_read():
    """As an attribute of its name, or as one of `Settings`, which takes what has the name of one of its own."""
    read = set(Settings.__dataclass_fields__)
    for path in _PACKAGE.rglob("*.py"):
        if path.relative_to(_PACKAGE).parts[0] not in _MACHINERY:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    read.add(node.attr)
    fields = flatten(load_config("base"))
    unread = {field for field in fields if field.rpartition(".")[2] not in read}
    # Kept for the published settings: `config.schema` sees to it that it agrees with `config.mode`.
    assert len(fields) > 80 and unread == {"schedule.joint"}
