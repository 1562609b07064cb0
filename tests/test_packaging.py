"""What an installed wheel has: every package listed, and nothing imported that is not in it."""

import ast
import configparser
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tarfile
import zlib

import pytest

_ROOT = pathlib.Path(__file__).parent.parent


def test_packaging_lists_every_package():
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


def test_every_requirement_is_imported():
    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    lines = [line for line in setup["options"]["install_requires"].splitlines() if line and line[0] != "#"]
    required = {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in lines}
    modules = importlib.metadata.packages_distributions()
    imported = set()
    for path in (*(_ROOT / "gan2shape_jax").rglob("*.py"), *(_ROOT / "tools").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.split(".")[0] for name in names}
    brought = {name.lower().replace("_", "-") for module in imported for name in modules.get(module, [])}
    assert required - brought == set()


def _lower_bounds() -> dict[str, str]:
    """Returns the lower bound of every requirement of an installation with the `test` extra, by normalised name."""
    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    lines = f"{setup['options']['install_requires']}\n{setup['options.extras_require']['test']}".splitlines()
    bounds = (re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) for line in lines if line and line[0] != "#")
    return {match[1].lower().replace("_", "-"): match[2] for match in bounds}


def _release(version: str) -> list[int]:
    """Returns a version as numbers, trailing zeros left out: 2.0.0 is 2.0 is 2."""
    return [int(part) for part in re.sub(r"(\.0)+$", "", version).split(".")]


def test_lowest_versions_are_the_lower_bounds_of_setup_cfg():
    lines = [line for line in (_ROOT / ".ci/lowest.txt").read_text().splitlines() if not line.startswith("#")]
    first: dict[str, str] = {}  # the first line of a name is that of the oldest Python
    for name, version in (line.partition(";")[0].split("==") for line in lines):
        first.setdefault(name, version)
    bounds = _lower_bounds()
    assert first.keys() == bounds.keys()
    too_far = {
        name for name in bounds if _release(first[name])[: len(_release(bounds[name]))] != _release(bounds[name])
    }
    assert too_far == set()


def test_source_distribution_has_the_pictures_of_the_readme_and_not_the_golden_tensors(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    # As a tar, since most of the time goes into compressing: the least of it says enough of the size.
    build = (
        f"from setuptools import setup; setup(script_args=['sdist', '--formats=tar', '--dist-dir', {str(tmp_path)!r}])"
    )
    subprocess.run([sys.executable, "-c", build], cwd=_ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (_ROOT / "README.md").read_text())
    assert pictures and set(pictures) <= names
    assert not [name for name in names if name.startswith("tests/golden")]
    assert {"gan2shape_jax/py.typed", "gan2shape_jax/assets/ictface/gan.safetensors", "mkdocs.yml"} <= names
    assert len(zlib.compress(archive.read_bytes(), level=1)) < 70e6  # two models have up to 25 each
