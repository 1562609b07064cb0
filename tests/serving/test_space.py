"""The files of a Hugging Face Space: the header's fields, the requirements, and the same page as the command's."""

import configparser
import importlib.util
import pathlib
import re

import pytest
import yaml

from gan2shape_jax.serving import command

_ROOT = pathlib.Path(__file__).parents[2]
_SPACE = _ROOT / "deploy"
_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def _header():
    return yaml.safe_load((_SPACE / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def _extras():
    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    return setup["options.extras_require"]


def test_the_header_has_what_a_space_needs():
    header = _header()
    assert header["sdk"] == "gradio" and (_SPACE / header["app_file"]).is_file()
    assert {header["colorFrom"], header["colorTo"]} <= _COLOURS and header["title"] and len(header["emoji"]) == 1
    assert len(header["short_description"]) <= 60 and header["license"] == "apache-2.0"
    (lowest,) = re.findall(r"gradio>=([\d.]+)", _extras()["web"])
    assert header["sdk_version"].startswith(lowest)
    assert header["python_version"] == "3.11"  # a string: 3.1 would be another Python than 3.10


def test_the_requirements_are_extras_that_there_are():
    (line,) = (_SPACE / "requirements.txt").read_text().split()
    name, extras = re.fullmatch(r"([\w-]+)\[([\w,]+)\]", line).groups()
    assert name == "gan2shape-jax" and set(extras.split(",")) <= set(_extras())


def test_the_app_is_the_command_with_options_that_it_takes(monkeypatch):
    pytest.importorskip("gradio")
    from gan2shape_jax.serving import server

    spec = importlib.util.spec_from_file_location("space_app", _SPACE / "app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    served = []
    monkeypatch.setattr(server, "listening", lambda host, port: served.append((host, port)))
    monkeypatch.setattr(server, "serve", lambda worker, root, door, limits, **told: served.append(limits))
    assert app.command is command and app.command.main(app.OPTIONS) == 0
    address, limits = served
    assert address == ("0.0.0.0", 7860) and (limits.file_bytes, limits.keep_s) == (20_000_000, 600.0)
