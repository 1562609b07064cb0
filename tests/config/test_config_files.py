"""Config files that do anything but return a configuration: reported in a line that names the file."""

import os

import pytest

from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.main import main

_START = "from gan2shape_jax.config import load_config\n"
_CHANGED = _START + "def get_config():\n    config = load_config('ictface').unlock()\n    {}\n    return config\n"
_TYPES = _CHANGED.format("with config.ignore_type():\n        {}")


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 / 0", "does not run: ZeroDivisionError"),
        (
            "def get_config(): raise ValueError('two\\nlines')",
            "of mine.py does not run: ValueError: two lines",
        ),
        ("import sys\ndef get_config(): sys.exit(0)", "does not run: SystemExit: 0"),
        ("def get_config(): raise GeneratorExit", "does not run: GeneratorExit"),
        ("def get_config(): return get_config()", "RecursionError"),
        ("def get_config(name): return name", "missing 1 required positional argument"),
        ("def get_config(): return {}", "no ml_collections.ConfigDict"),
        ("get_config = 5", "no function get_config"),
        ("import no_module_of_that_name", "does not run: ModuleNotFoundError"),
        ("a = 1\0", "does not run: SyntaxError"),
        (_CHANGED.format("config.camera = 3"), "camera"),
        (_CHANGED.format("del config.camera"), "config.camera.fov_deg is left out"),
        (_CHANGED.format("config.sed = 1"), "no field config.sed; did you mean config.seed?"),
        (_TYPES.format("config.seed = 'x'"), "config.seed is a whole number, not 'x'"),
        (_TYPES.format("config.data.image_root = None"), "config.data.image_root is text, not None"),
        (_TYPES.format("config.schedule.stages = 3"), "config.schedule.stages is a tuple"),
        (_TYPES.format("config.workdir = 'a\\0b'"), "config.workdir is 'a\\x00b': it holds the control character"),
        (
            "from ml_collections.config_dict import required_placeholder\n"
            + _CHANGED.format("config.more = required_placeholder(int)"),
            "does not run: RequiredValueError",
        ),
    ],
)
def test_a_config_file_that_gives_no_configuration_is_reported_in_a_line(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    assert main(["--config=mine.py", "--check"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and "Traceback" not in printed
    assert printed.count("\n") == 1 and [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_path_that_is_no_file_is_reported_and_not_waited_for(tmp_path, capsys):
    for ending in ("py", "yml"):
        (tmp_path / f"folder.{ending}").mkdir()
        os.mkfifo(tmp_path / f"pipe.{ending}")
        (tmp_path / f"circle.{ending}").symlink_to(f"circle.{ending}")
    (tmp_path / "random.py").write_bytes(bytes(range(256)) * 20)
    for name, message in (
        ("folder.py", "is no file"),
        ("folder.yml", "is a folder"),
        ("pipe.py", "is no file"),
        ("pipe.yml", "is a named pipe"),
        ("circle.py", "there is no config file"),
        ("circle.yml", "circle.yml"),
        ("random.py", "does not run"),
        ("n" * 300 + ".py", "there is no config file"),
    ):
        assert main([f"--config={tmp_path / name}", "--check"]) == 2
        assert message in capsys.readouterr().err


def test_what_a_config_file_prints_is_shown_and_a_frozen_configuration_will_do(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        _START + "from ml_collections import FrozenConfigDict\nprint('hello')\n"
        "def get_config(): return FrozenConfigDict(load_config('ictface'))"
    )
    config = load_config(str(path))
    assert capsys.readouterr().out == "hello\n"
    assert flatten(config) == flatten(load_config("ictface")) and config.is_locked
    path.write_text("raise KeyboardInterrupt")
    assert main([f"--config={path}"]) == 130
