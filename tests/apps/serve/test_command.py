"""The command: a port that is taken, an extra that is missing, options and their limits."""

import importlib.util
import socket

import pytest

from gan2shape_jax import main as program
from gan2shape_jax.apps.serve import command


def test_a_port_that_is_taken_is_told(capsys):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert command.main(["--port", str(taken.getsockname()[1])]) == 1
    told = capsys.readouterr().err
    assert "is taken" in told and "--port" in told and "Traceback" not in told


def test_an_address_of_another_machine_is_told(capsys):
    pytest.importorskip("gradio")
    assert command.main(["--host", "192.0.2.1", "--port", "0"]) == 1
    assert "--host 192.0.2.1" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name))
    assert program.main(["serve"]) == 1
    assert "pip install 'gan2shape-jax[web]'" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_told(capsys):
    pytest.importorskip("gradio")
    assert command.main(["--model", "nothing.safetensors"]) == 1
    assert "--model: nothing.safetensors does not exist" in capsys.readouterr().err


def test_options_become_limits_and_the_default_is_this_machine_alone():
    options = command.parser().parse_args(["--max-mb", "5", "--max-waiting", "0", "--keep-minutes", "2"])
    limits = command.limits_of(options)
    assert (limits.file_bytes, limits.waiting, limits.keep_s) == (5_000_000, 0, 120.0)
    assert options.host == "127.0.0.1"
    assert command.limits_of(command.parser().parse_args([])).pixels == 50_000_000
