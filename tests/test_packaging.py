"""What an installed wheel has: every package listed, and nothing imported that is not in it."""

import ast
import pathlib

_ROOT = pathlib.Path(__file__).parent.parent


def test_packaging_lists_every_package():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    there = set()
    for top, prefix in (
        ("gan2shape_jax", ""),
        ("configs", "gan2shape_jax."),
        ("tools", "gan2shape_jax."),
    ):
        folders = {path.parent.relative_to(_ROOT) for path in (_ROOT / top).rglob("*.py")}
        there |= {prefix + ".".join(folder.parts) for folder in folders}
    assert listed == there


def test_tools_import_only_what_an_installed_wheel_has():
    for path in (_ROOT / "tools").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("tools", "configs")], path
