"""The page "Extend it": its worked examples are applied to a copy of the project, in which their tests pass."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_MOST = {"A term of the loss": 4, "A category": 1, "An output file": 3, "A network": 6}  # files that each touches


def _examples() -> dict[str, str]:
    """Returns each section's patch."""
    page = (_ROOT / "docs/how-to/extending.md").read_text()
    _, *sections = re.split(r"^## (.*)$", page, flags=re.MULTILINE)
    return {
        title: "".join(re.findall(r"^```diff\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
        for title, text in zip(sections[::2], sections[1::2], strict=True)
    }


def _files(patch: str) -> set[str]:
    return set(re.findall(r"^\+\+\+ b/(.*)$", patch, flags=re.MULTILINE))


def test_each_example_touches_few_files():
    touched = {title: len(_files(patch)) for title, patch in _examples().items()}
    assert touched.keys() == _MOST.keys()
    assert all(0 < touched[title] <= most for title, most in _MOST.items()), touched


def test_the_examples_work(tmp_path):
    copy = tmp_path / "project"
    for folder in ("gan2shape_jax", "configs", "tests", "tools"):
        ignored = shutil.ignore_patterns("assets", "golden", "data", "__pycache__")
        shutil.copytree(_ROOT / folder, copy / folder, ignore=ignored)
    for linked in ("gan2shape_jax/assets", "tests/golden", "tests/data", "pyproject.toml"):
        (copy / linked).symlink_to(_ROOT / linked)
    # Those that include every configuration and download: an example must not break them.
    tests = {"tests/config/test_configs.py", "tests/results/test_page.py"}
    for title, patch in _examples().items():
        done = subprocess.run(["git", "apply", "-"], input=patch, cwd=copy, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{title}: {done.stderr}"
        tests |= {path for path in _files(patch) if path.startswith("tests/")}
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *sorted(tests)]
    command += ["-k", "extended or sheep or category_is_the_record or everything_of_a_few"]
    done = subprocess.run(command, cwd=copy, env=os.environ | own, capture_output=True, text=True, check=False)
    assert "\n7 passed" in done.stdout, done.stdout + done.stderr
