"""`import gan2shape_jax`: what it leaves alone, and the names that it offers."""

import ast
import pathlib
import subprocess
import sys

import pytest

import gan2shape_jax as g2s


def test_importing_loads_no_jax_and_using_names_changes_nothing():
    code = (
        "import os, sys, warnings\n"
        "environ, filters = dict(os.environ), list(warnings.filters)\n"
        "import gan2shape_jax as g2s\n"
        "assert dict(os.environ) == environ and warnings.filters == filters\n"
        "heavy = ('jax', 'jaxlib', 'flax', 'numpy', 'PIL')\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in heavy]\n"
        "import jax\n"
        "environ, settings = dict(os.environ), dict(jax.config.values)\n"
        "for name in g2s.__all__: getattr(g2s, name)\n"
        "from jax._src import xla_bridge\n"
        "assert dict(os.environ) == environ and settings.items() <= dict(jax.config.values).items()\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_name_is_there_and_documented_and_seen_by_type_checkers():
    for name in g2s.__all__:
        assert getattr(g2s, name).__doc__, name
    assert set(g2s.__all__) < set(dir(g2s))
    with pytest.raises(AttributeError, match="has no attribute 'reconstrukt'"):
        g2s.reconstrukt  # noqa: B018
    # The imports for type checkers are those that happen when a name is used.
    tree = ast.parse(pathlib.Path(g2s.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    seen = {name.name: node.module for node in imports if node.module != "typing" for name in node.names}
    assert seen == {name: f"gan2shape_jax.{module}" for name, module in g2s._MODULES.items()}
    assert sorted(seen) == sorted(g2s.__all__)
