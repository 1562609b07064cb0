"""The command: what cannot be done is one sentence, and options become limits."""

import importlib.util
import socket

import pytest

from gan2shape_jax import main as program
from gan2shape_jax.apps.serve import command


def test_what_cannot_be_served_is_one_sentence(monkeypatch, capsys):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, words in (
            (["--port", str(taken.getsockname()[1])], "is taken by another program"),
            (["--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1"),
            (["--model", "nothing.safetensors"], "--model: nothing.safetensors does not exist"),
        ):
            assert command.main(options) == 1
            error = capsys.readouterr().err
            assert words in error and "Traceback" not in error
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    assert program.main(["serve"]) == 1
    assert "pip install 'gan2shape-jax[web]'" in capsys.readouterr().err


def test_options_become_limits_and_the_default_is_this_machine_alone():
    options = command.parser().parse_args(["--max-mb", "5", "--max-waiting", "1", "--keep-minutes", "2"])
    limits = command.limits_of(options)
    assert (limits.file_bytes, limits.waiting, limits.keep_s) == (5_000_000, 1, 120.0)
    assert options.host == "127.0.0.1"
    assert command.limits_of(command.parser().parse_args([])).pixels == 50_000_000
