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
_BELOW = ("export print", "export texture", "export blender", "export spread", "evaluate identity")
_BELOW += ("evaluate consistency", "convert stylegan2", "convert networks")


@pytest.mark.parametrize("words", [*program._COMMANDS, *_BELOW])
def test_help_of_a_command_says_its_name(words, capsys):
    try:
        code = program.main([*words.split(), "--help"])
    except SystemExit as stopped:  # argparse's way
        code = stopped.code
    printed = capsys.readouterr().out
    assert code in (0, None) and printed.startswith(f"usage: gan2shape-jax {words} ")
    assert "python -m" not in printed


def test_convert_finds_out_by_its_content_what_a_file_is_and_refuses_what_cannot_be_read(tmp_path, capsys):
    for words in ("convert", "convert --class 3 a.pt b.safetensors"):
        assert program.main(words.split()) == 2
        assert "convert [stylegan2|networks] IN" in capsys.readouterr().err
    source, target = asset("ictface/view_mvn.pth"), tmp_path / "view.npz"
    for words in ([], ["networks"]):
        assert program.main(["convert", *words, str(source), str(target), "--no-sheet"]) == 0, capsys.readouterr()
        assert np.load(target)["cov"].shape == (6, 6)
        target.unlink()
    assert program.main(["convert", "stylegan2", str(source), str(tmp_path / "gan.safetensors")]) == 1
    assert f"gan2shape-jax convert {source}" in capsys.readouterr().err
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    for *kind, name in (["bad.pt"], ["gone.pt"], ["stylegan2", "bad.pt"], ["networks", "bad.pt"]):
        assert program.main(["convert", *kind, str(tmp_path / name), str(tmp_path / "out.safetensors")]) == 1
        assert name in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.heavy
def test_tools_and_configurations_are_in_a_wheel_and_in_a_checkout(tmp_path):
    """The package as a wheel has it: configs/ and tools/ inside, and nothing beside it."""
    unneeded = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(_ROOT / "gan2shape_jax", tmp_path / "gan2shape_jax", ignore=unneeded)
    for folder in ("configs", "tools"):
        shutil.copytree(_ROOT / folder, tmp_path / "gan2shape_jax" / folder, ignore=unneeded)
    for root, module, words in (
        (tmp_path, "gan2shape_jax.main", "sample"),
        (tmp_path, "gan2shape_jax.main", "--config=car"),
        (_ROOT, "tools.sample_gan", ""),
    ):
        command = [sys.executable, "-m", module, *words.split(), "--help"]
        environment = os.environ | {"PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0 and done.stdout.startswith("usage: gan2shape-jax "), done.stderr
