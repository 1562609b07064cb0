"""The pages (links, reports, examples) and what an installed wheel has."""

import ast
import configparser
import importlib.metadata
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zlib
from typing import Any

import numpy as np
import pytest

import gan2shape_jax
from gan2shape_jax.config import apply_overrides, flatten, load_config, schema

_ROOT = pathlib.Path(__file__).parent.parent
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)")
# Files of a checkout that a page names, in text or in a command.
_FILE = re.compile(
    r"(?<![\w/.-])((?:benchmarks|configs|docs|examples|tests|\.ci)/[\w/.-]+\.(?:py|md|txt|ipynb|png|jpg))"
)


def test_links_lead_to_files_and_files_that_pages_name_exist():
    broken = []
    for page in _PAGES:
        text = page.read_text()
        broken += [(page.name, link) for link in _LINK.findall(text) if not (page.parent / link).exists()]
        broken += [(page.name, name) for name in _FILE.findall(text) if not (_ROOT / name).exists()]
    assert broken == []


# `config.lift.masks = "mean"`, `--config.seed=3`, and "if `config.lift.masks` is `mean`".
_VALUE = re.compile(
    r"""config\.([a-z][\w.]*)(?:\s?=\s?|`\ is\ `)("[^"]*"|'[^']*'|\((?:[^()]|\([^()]*\))*\)|[^\s`,;)]*)""", re.VERBOSE
)
_STANDS_FOR = re.compile("N|[A-Z]+|None yet")  # what a reader puts in its place
# Of packages that a page shows how to write.
_ADDED = {("networks.depth", "local"), ("loss.perceptual", "edges")}


def _values_of_pages() -> list[tuple[str, str, str]]:
    """Returns page, field and value wherever a page says what to write in a configuration."""
    pages = [page for page in _PAGES if page.name != "CHANGELOG.md"]
    found = [(page, field, text) for page in pages for field, text in _VALUE.findall(page.read_text())]
    return sorted({(str(page.relative_to(_ROOT)), *value) for page, *value in found if tuple(value) not in _ADDED})


@pytest.mark.parametrize(("page", "field", "text"), _values_of_pages())
def test_values_that_pages_say_to_write_are_taken(page, field, text, tmp_path):
    """On the command line, and in a configuration file of one's own."""
    if _STANDS_FOR.fullmatch(text):
        assert field in schema.fields()
        return
    plain = text[1:-1] if text[:1] in ("'", '"') else text
    value = flatten(apply_overrides(load_config("own"), {field: plain}))[field]
    start = (
        "from gan2shape_jax.config import load_config\ndef get_config():\n    config = load_config('own').unlock()\n"
    )
    (tmp_path / "mine.py").write_text(f"{start}    config.{field} = {value!r}\n    return config\n")
    assert flatten(load_config(str(tmp_path / "mine.py")))[field] == value


def test_nothing_says_to_install_a_distribution_that_no_index_has():
    named = re.compile(r"pip install [^\n`]*gan2shape-jax(?!\S* @ )[^\n`]*")
    sources = [path for folder in ("gan2shape_jax", "deploy") for path in (_ROOT / folder).rglob("*.py")]
    assert [hit for path in [*_PAGES, *sources] for hit in named.findall(path.read_text())] == []


def test_reports_are_a_question_and_its_answer_in_two_screens():
    form = re.compile(r"# [^\n]+\n\n\*\*Question:\*\* [^\n]+\?[^\n]*\n\n\*\*Answer:\*\* ")
    for page in (_ROOT / "docs/reports").glob("*.md"):
        if page.stem in ("index", "parity"):
            continue
        text = page.read_text()
        assert form.match(text), page
        assert len(re.findall(r"[^\s|]*\w[^\s|]*", text)) <= 1100, page


# Blender's own modules, which its script imports there.
_BLENDERS = {"bpy", "mathutils"}


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    return setup


def _named(lines: str) -> dict[str, str]:
    """Returns the lower bounds of requirements, by normalised name."""
    actual = (re.match(r"([\w-]+)(?:\[[\w,]+\])?[>=]=([\d.]+)", line) for line in lines.splitlines())
    return {match[1].lower().replace("_", "-"): match[2] for match in actual if match}


def _imported(folder: str) -> set[str]:
    imported = set()
    for path in (_ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module else []
            imported |= {name.split(".")[0] for name in names}
    return imported


def _after_examples(page: str, count: int) -> dict[str, Any]:
    """Returns the names that a page's examples leave, one after the other, as a reader would paste them."""
    blocks = re.findall(r"```python\n(.*?)```", (_ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) == count
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    return names


@pytest.mark.heavy
def test_the_examples_of_rasterizing_work():
    names = _after_examples("docs/how-to/rasterizing.md", 5)
    drawn = names["fragments"].triangle >= 0
    assert (names["outside"].triangle >= 0).sum() == drawn.sum() == (names["layers"].triangle >= 0).sum() > 0
    assert names["picture"].shape == (64, 64, 3) and names["mask"].shape == (64, 64, 1)
    assert 1100 < float(names["mask"].sum()) < 1250  # its triangle covers 1,180 pixels


@pytest.mark.ci
def test_the_examples_for_researchers_work():
    names = _after_examples("docs/how-to/researchers.md", 7)
    assert names["turned"].shape == (2, 48, 64) and np.isfinite(names["slope"]) and names["slope"]
    assert np.abs(names["brighter"]).max() > 0 and names["result"].depth.shape == (64, 64)
    assert names["losses"][-1] < names["losses"][0] / 3
    assert np.abs(names["towards"].apply(names["latents"])).max() > 0
    assert names["own"]["step3"].loss is names["flatter"]
    assert names["joint"].views.shape == (3, 6) and not names["joint"].better


def test_packaging_lists_every_package():
    folders = {path.parent.relative_to(_ROOT) for path in (_ROOT / "gan2shape_jax").rglob("*.py")}
    there = {".".join(folder.parts) for folder in folders}
    assert set(_setup()["options"]["packages"].split()) == there | {"gan2shape_jax.configs"}
    assert not _imported("gan2shape_jax") & {"tools", "configs"}


def test_every_imported_package_is_declared_and_every_required_one_imported():
    setup, modules = _setup(), importlib.metadata.packages_distributions()
    required = _named(setup["options"]["install_requires"]).keys()
    named = required | _named("\n".join(setup["options.extras_require"].values())).keys()
    imported = set().union(*map(_imported, ("gan2shape_jax", "configs"))) - set(sys.stdlib_module_names)
    of = {name: {d.lower().replace("_", "-") for d in modules.get(name, [])} for name in imported}
    assert required - set().union(*of.values()) == set()
    ours = {"gan2shape_jax", *_BLENDERS}
    assert [name for name in imported - ours if of[name] and not of[name] & named] == []


def test_lowest_versions_are_the_lower_bounds_of_setup_cfg():
    lines = [line for line in (_ROOT / ".ci/lowest.txt").read_text().splitlines() if not line.startswith("#")]
    lowest = dict(line.partition(";")[0].split("==") for line in reversed(lines))  # the first is the oldest Python's
    setup = _setup()
    extras = setup["options.extras_require"]
    bounds = _named("\n".join([setup["options"]["install_requires"], extras["photo"], extras["test"]]))
    assert lowest.keys() == bounds.keys()
    for name, bound in bounds.items():
        plain = re.sub(r"(\.0)+$", "", bound)
        assert f"{lowest[name]}.".startswith(f"{plain}."), name


def test_the_version_is_the_same_everywhere():
    said = re.search(r"^version: (.*)$", (_ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changes = re.search(r"^## (\S+)", (_ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert said and changes and said[1] == changes[1] == gan2shape_jax.__version__


def test_links_of_a_released_readme_lead_to_the_files_of_the_repository(tmp_path):
    for name in ("README.md", "setup.cfg"):
        shutil.copy(_ROOT / name, tmp_path)
    runpy.run_path(str(_ROOT / ".ci/absolute_links.py"))["main"](str(tmp_path), "https://host/owner/name/", "v1")
    before, after = ((folder / "README.md").read_text() for folder in (_ROOT, tmp_path))
    assert _LINK.findall(before) and not _LINK.findall(after)
    for mark, link in re.findall(r"(!?)\[[^\]]*\]\((?!https?://)([^)]+)\)", before):
        assert f"(https://host/owner/name/{'raw' if mark else 'blob'}/v1/{link})" in after
    setup = configparser.ConfigParser()
    setup.read(tmp_path / "setup.cfg")
    assert "Repository = https://host/owner/name\n" in setup["metadata"]["project_urls"]


def _pictures_of_the_readme() -> set[str]:
    pictures = set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (_ROOT / "README.md").read_text()))
    assert pictures
    return pictures


_LEFT_OUT = ("tests/golden", "benchmarks/cars/data", "benchmarks/faces/data", "gan2shape_jax/assets/people/head/")


def test_the_manifest_has_the_pictures_of_the_readme_and_not_the_golden_tensors(monkeypatch):
    """As read line by line; what is built of it is looked into by `.ci/run`."""
    pytest.importorskip("setuptools", minversion="77")
    from setuptools.command.egg_info import FileList

    monkeypatch.chdir(_ROOT)
    folders = ("docs", "tests", "benchmarks", "gan2shape_jax")
    files = FileList()
    files.allfiles = [str(path) for folder in folders for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    files.files += files.allfiles  # as if everything were taken, so that what is left out is left out by a line
    for line in (_ROOT / "MANIFEST.in").read_text().splitlines():
        if line.split() and line.split()[0] in ("prune", "include", "global-exclude"):
            files.process_template_line(line)
    names = {name.replace(os.sep, "/") for name in files.files}
    assert _pictures_of_the_readme() <= names and "mkdocs.yml" in names
    assert not [name for name in names if name.startswith(_LEFT_OUT) or "node_modules" in name]


@pytest.mark.ci
def test_source_distribution_has_the_pictures_of_the_readme_and_not_the_golden_tensors(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    build = [sys.executable, "-c", "import setuptools; setuptools.setup()", "sdist", "--formats=tar", "--dist-dir"]
    subprocess.run([*build, str(tmp_path)], cwd=_ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert _pictures_of_the_readme() <= names
    assert not [name for name in names if name.startswith(_LEFT_OUT)]
    assert {"gan2shape_jax/py.typed", "gan2shape_jax/assets/ictface/gan.safetensors", "mkdocs.yml"} <= names
    assert not [name for name in names if "node_modules" in name]
    assert len(zlib.compress(archive.read_bytes(), level=6)) < 90e6  # as `.ci/package`
