"""Config files that do anything but return a configuration: told in a line that names the file."""

import os

import pytest

from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.errors import ConfigError
from gan2shape_jax.main import main

pytestmark = pytest.mark.hostile

_START = "from gan2shape_jax.config import load_config\n"
_CHANGED = _START + "def get_config():\n    config = load_config('ictface').unlock()\n    {}\n    return config\n"
_TYPES = _CHANGED.format("with config.ignore_type():\n        {}")


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "def get_config(): raise ValueError('two\\nlines')",
            "get_config of mine.py does not run: ValueError: two lines",
        ),
        ("import sys\ndef get_config(): sys.exit(0)", "does not run: SystemExit: 0"),
        ("raise SystemExit", "mine.py does not run: SystemExit"),
        ("def get_config(): raise GeneratorExit", "does not run: GeneratorExit"),
        ("def get_config(): return get_config()", "RecursionError"),
        ("class Odd(Exception):\n    def __str__(self): raise self\ndef get_config(): raise Odd", "does not run: Odd"),
        ("def get_config(name): return name", "missing 1 required positional argument"),
        ("get_config = 5", "no function get_config"),
        ("import no_module_of_that_name", "does not run: ModuleNotFoundError"),
        ("a = 1\0", "does not run: SyntaxError"),
        ("# coding: nonsense\n", "does not run: SyntaxError"),
        ("a = " + "[" * 5000, "does not run: SyntaxError"),
        ("#" * 2**21, "at most 1 MiB"),
        (_CHANGED.format("config.camera = 3"), "camera"),
        (_CHANGED.format("del config.camera"), "leaves out config.camera."),
        (_CHANGED.format("config.sed = 1"), "no field config.sed; did you mean config.seed?"),
        (_TYPES.format("config.seed = 'x'"), "config.seed is a whole number, not 'x'"),
        (_TYPES.format("config.seed = 10**5000"), "a whole number of about 5000 digits"),
        (_TYPES.format("config.data.image_root = None"), "config.data.image_root is text, not None"),
        (_TYPES.format("config.schedule.stages = 3"), "config.schedule.stages is a tuple"),
        (_TYPES.format("config.workdir = 'a\\0b'"), "config.workdir is 'a\\x00b': it holds the control character"),
        (
            "from ml_collections.config_dict import required_placeholder\n"
            + _CHANGED.format("config.more = required_placeholder(int)"),
            "cannot be read: RequiredValueError",
        ),
    ],
)
def test_a_config_file_that_gives_no_configuration_is_told_in_a_line(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    assert main(["--config=mine.py", "--check"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and "Traceback" not in told and told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize("variants", ["5", "(1, 2)", "'quick'"])
def test_variants_that_are_no_names_are_none(variants, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"VARIANTS = {variants}\ndef get_config(name=''): pass")
    with pytest.raises(ConfigError, match="no variant 'quick' .it has none"):
        load_config(f"{path}:quick")


def test_a_path_that_is_no_file_is_told_and_not_waited_for(tmp_path, capsys):
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "circle.py").symlink_to("circle.py")
    (tmp_path / "random.py").write_bytes(bytes(range(256)) * 20)
    for name, message in (
        ("folder", "is a folder"),
        ("pipe", "is a named pipe"),
        ("circle", "there is no config file"),
        ("random", "does not run"),
        ("n" * 300, "there is no config file"),
    ):
        assert main([f"--config={tmp_path / name}.py", "--check"]) == 2
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


def test_ctrl_c_in_a_config_file_is_ctrl_c(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("raise KeyboardInterrupt")
    assert main([f"--config={path}"]) == 130


@pytest.mark.parametrize(
    "field, text",
    [
        ("optimizer.learning_rate", "1" * 400),
        ("optimizer.learning_rate", "9" * 5000),
        ("seed", "9" * 5000),
        ("seed", "(" * 1000),
        ("schedule.stages", "((1, 2, 3)," * 500),
        ("data.image_root", "a\0b"),
        ("workdir", "line\nbreak"),
        ("workdir", "n" * 300),
        ("schedule.joint", "y" * 5000),
    ],
)
def test_an_override_of_any_length_or_content_is_told_in_a_short_line(field, text, capsys):
    assert main(["--config=ictface", f"--config.{field}={text}", "--check"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: config.{field} is") and len(told) < 250


def test_a_folder_of_images_that_is_a_circle_of_links_is_absent(tmp_path, capsys):
    (tmp_path / "circle").symlink_to("circle")
    assert main(["--config=ictface", f"--config.data.image_root={tmp_path / 'circle'}", "--check"]) == 1
    assert "config.data.image_root" in capsys.readouterr().err
