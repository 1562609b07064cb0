"""`sample`, `evaluate` and `convert` refuse numbers and places in a line, before they read or draw anything."""

import os
import shutil
import types

import pytest

from gan2shape_jax import stylegan2
from gan2shape_jax.main import main

_SAMPLE = "sample --config=ictface --out new"
_IDENTITY = "evaluate identity RUN --stand-in"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a file, a folder that is in use, and what looks like a run; nothing may be left in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("")
    os.symlink("gone", tmp_path / "dangling")
    before = sorted(tmp_path.rglob("*"))
    yield tmp_path
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "weights.pt").read_bytes() == b"weights"


_CASES = (
    (f"{_SAMPLE} --count 1000000000", "--count 1000000000: must be between 1 and 1000000"),
    (f"{_SAMPLE} --truncation nan", "--truncation nan: must be a finite number"),
    (f"{_SAMPLE} --seed -1", "--seed -1: must be between 0 and 4294967295"),
    (f"{_SAMPLE} --ellipse 0.5 nan 1 1", "--ellipse nan: must be a finite number"),
    ("sample --config=ictface --out file/below", "--out file/below lies below"),
    ("sample --config=ictface --out dangling", "--out dangling is a file"),
    ("sample --config=ictface --out full", "holds other files"),
    ("evaluate RUN --out file", "--out file is a file: name a folder"),
    ("evaluate RUN --out file/below", "--out file/below lies below"),
    (f"{_IDENTITY} --views 1000000000", "--views 1000000000: must be between 2 and 1000"),
    (f"{_IDENTITY} --max-yaw nan", "--max-yaw nan: must be a finite number"),
    (f"{_IDENTITY} --size 1000000", "--size 1000000: must be"),
    (f"{_IDENTITY} --std nan", "--std nan: must be a finite number"),
    (f"{_IDENTITY} --crop 1e-300", "--crop 1e-300: must be"),
    (f"{_IDENTITY} --out file/below", "--out file/below lies below"),
    ("convert networks weights.pt gone/out.safetensors", "there is no folder gone"),
    ("convert networks weights.pt out.safetensors --sheet weights.pt", "would overwrite a file that is read"),
    ("convert networks weights.pt out.safetensors --sheet out.safetensors", "is the same file as OUT"),
    ("convert networks weights.pt out.safetensors --group-base 1000000000", "--group-base 1000000000: must be"),
    ("convert stylegan2 weights.pt out.safetensors --samples weights.pt", "would overwrite a file that is read"),
    ("convert stylegan2 weights.pt out.safetensors --class 1000000000", "--class 1000000000: must be"),
)


def test_what_cannot_be_is_refused_in_a_line(place, capsys):
    for words, message in _CASES:
        code = main([word.replace("RUN", "full") for word in words.split()])
        printed = capsys.readouterr().err
        assert code == 1 and printed.startswith("error: ") and message in printed, printed
        assert "Traceback" not in printed and printed.count("\n") == 1
    assert main(["evaluate", "a\0b"]) == 1 and "control character" in capsys.readouterr().err


def test_more_samples_than_the_disk_holds_are_refused_before_the_first(place, monkeypatch, capsys):
    def draws(*arguments, **options):
        raise AssertionError("drawn before the refusal")

    monkeypatch.setattr(stylegan2.latents, "_draw", draws)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=2**30))
    assert main([*_SAMPLE.split(), "--count", "1000000"]) == 1
    assert "so many pictures of 64 pixels take 4 GiB and more, new has 1 free" in capsys.readouterr().err
