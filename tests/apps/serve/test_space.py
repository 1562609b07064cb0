"""The files of a Hugging Face Space: header, requirements, and the app as a Space runs it, a copy behind a proxy."""

import configparser
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest
import yaml
from packaging.requirements import Requirement

from gan2shape_jax import __version__
from gan2shape_jax.apps.serve import command
from gan2shape_jax.apps.serve.visits import Limits

_ROOT = pathlib.Path(__file__).parents[3]
_SPACE = _ROOT / "deploy"
_HOST = "user-name.hf.space"
# What a Space sets; the port is this test's own, and as in a Space the proxy has no address that uvicorn trusts.
_VARIABLES = {"FORWARDED_ALLOW_IPS": "10.0.0.1", "SYSTEM": "spaces", "SPACE_ID": "user/name", "SPACE_HOST": _HOST}
_VARIABLES |= {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "0", "GRADIO_ANALYTICS_ENABLED": "True"}


def _header():
    return yaml.safe_load((_SPACE / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_header_and_requirement_are_what_a_space_needs():
    header, setup = _header(), configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    assert header["sdk"] == "gradio" and (_SPACE / header["app_file"]).is_file()
    assert len(header["short_description"]) <= 60 and header["license"] == "apache-2.0"
    (lowest,) = re.findall(r"gradio>=([\d.]+)", extras["web"])
    assert header["sdk_version"].startswith(lowest)
    assert header["python_version"] == "3.11"  # a string: 3.1 would be another Python than 3.10
    (line,) = (line for line in (_SPACE / "requirements.txt").read_text().splitlines() if not line.startswith("#"))
    requirement = Requirement(line)
    assert requirement.name == "gan2shape-jax" and requirement.extras and requirement.extras <= set(extras)
    # Not by its name alone: who took that name in a registry would run in the Space. Nor by a path: a Space installs
    # before its other files are there.
    wheel = f"gan2shape_jax-{__version__}-py3-none-any.whl"
    assert requirement.url == f"https://huggingface.co/spaces/USER/SPACE/resolve/main/{wheel}"


def test_the_app_is_the_command_with_options_that_it_takes(monkeypatch):
    pytest.importorskip("gradio")
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")  # which the app sets where it is not: put back afterwards
    spec = importlib.util.spec_from_file_location("space_app", _SPACE / "app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    served = []
    monkeypatch.setattr(command, "listening", lambda host, port: served.append((host, port)))
    monkeypatch.setattr(command, "serve", lambda models, kinds, door, limits, **others: served.append(limits))
    assert app.command is command and app.command.main(app.OPTIONS) == 0
    assert served == [("0.0.0.0", 7860), Limits(file_bytes=20_000_000, waiting=5, keep_s=600.0)]


@pytest.mark.heavy
def test_a_space_serves_under_its_own_name_behind_its_proxy_and_leaves_nothing(tmp_path):
    pytest.importorskip("gradio")
    shutil.copytree(_SPACE, tmp_path / "app")
    environ = os.environ | _VARIABLES | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(_ROOT)}
    words = [sys.executable, _header()["app_file"]]
    with subprocess.Popen(words, cwd=tmp_path / "app", env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            address, port = re.match(r"http://([\d.]+):(\d+) ", process.stdout.readline()).groups()
            assert address == "0.0.0.0"
            headers = {"Host": _HOST, "Origin": f"https://{_HOST}", "X-Forwarded-Proto": "https,http"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/config", headers=headers)
            with urllib.request.urlopen(request) as answer:
                assert json.loads(answer.read())["root"] == f"https://{_HOST}"
                policy = answer.headers["Content-Security-Policy"]
                assert policy.endswith("frame-ancestors 'self' https://huggingface.co")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    assert list((tmp_path / "cache" / "gan2shape_jax" / "serving").iterdir()) == []
