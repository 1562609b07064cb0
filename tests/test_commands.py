"""The program's commands: each answers --help by its own name, in a checkout and in an installed wheel."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gan2shape_jax import main as program
from gan2shape_jax.io.bundled import asset

_ROOT = pathlib.Path(__file__).parent.parent
_WORDS = (
    "render",
    "edit",
    "export",
    "export print",
    "export texture",
    "export blender",
    "evaluate",
    "evaluate identity",
    "get",
    "page",
    "photo",
    "serve",
    "sample",
    "train-gan",
    "convert",
    "convert stylegan2",
    "convert networks",
)


def test_every_command_of_the_help_is_one():
    assert {words.split()[0] for words in _WORDS} == program._COMMANDS.keys()


@pytest.mark.parametrize("words", _WORDS)
def test_help_of_a_command_says_its_name(words, capsys):
    try:
        code = program.main([*words.split(), "--help"])
    except SystemExit as stopped:  # argparse's way
        code = stopped.code
    printed = capsys.readouterr().out
    assert code in (0, None) and printed.startswith(f"usage: gan2shape-jax {words} ")
    assert "python -m" not in printed


@pytest.mark.parametrize("words", ["convert", "convert --class 3 a.pt b.safetensors"])
def test_convert_wants_to_know_what(words, capsys):
    assert program.main(words.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "convert [stylegan2|networks] IN" in told


def test_convert_tells_by_its_content_what_a_file_is(tmp_path, capsys):
    source, target = asset("ictface/view_mvn.pth"), tmp_path / "view.npz"
    for words in ([], ["networks"]):
        assert program.main(["convert", *words, str(source), str(target), "--no-sheet"]) == 0, capsys.readouterr()
        assert np.load(target)["cov"].shape == (6, 6)
        target.unlink()
    assert program.main(["convert", "stylegan2", str(source), str(tmp_path / "gan.safetensors")]) == 1
    assert f"gan2shape-jax convert {source}" in capsys.readouterr().err


def test_convert_refuses_what_cannot_be_read(tmp_path, capsys):
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    for words in (["bad.pt"], ["gone.pt"], ["stylegan2", "bad.pt"], ["networks", "bad.pt"]):
        *kind, name = words
        assert program.main(["convert", *kind, str(tmp_path / name), str(tmp_path / "out.safetensors")]) == 1
        assert name in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def _python(folder, root, *words):
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as a wheel has it: configs/ and tools/ inside, and nothing beside it."""
    root = tmp_path_factory.mktemp("wheel")
    package = root / "gan2shape_jax"
    unneeded = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(_ROOT / "gan2shape_jax", package, ignore=unneeded)
    for folder in ("configs", "tools"):
        shutil.copytree(_ROOT / folder, package / folder, ignore=unneeded)
    return root


@pytest.mark.heavy
def test_tools_are_commands_of_an_installed_wheel(wheel, tmp_path):
    for words in ("sample", "convert stylegan2"):
        done = _python(tmp_path, wheel, "gan2shape_jax.main", *words.split(), "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: gan2shape-jax {words} ")


def test_help_and_configurations_are_in_a_wheel(wheel, tmp_path):
    done = _python(tmp_path, wheel, "gan2shape_jax.main", "--help=gan", "--config=car")
    assert done.returncode == 0 and "--config.gan.size=512" in done.stdout


def test_tools_are_modules_of_a_checkout():
    done = _python(_ROOT, _ROOT, "tools.sample_gan", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: gan2shape-jax sample ")
