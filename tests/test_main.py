"""The command line: what it prints, what it returns, and that no traceback reaches the user."""

import errno
import os
import pathlib
import re
import subprocess
import sys
import types
import warnings

import pytest

import gan2shape_jax.run
from gan2shape_jax import main as program
from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.errors import UserError

_ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A run that the checkout holds, as after the README's first command, is none of these tests' business."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def experiment(monkeypatch):
    """Stands in for the reconstruction: keeps its configuration and does what a test asks."""
    stand_in = types.ModuleType("gan2shape_jax.run.instance")
    stand_in.seen = []
    stand_in.action = lambda: 0

    def run(config, names):
        stand_in.seen.append(config)
        return stand_in.action()

    stand_in.run = run
    monkeypatch.setitem(sys.modules, "gan2shape_jax.run.instance", stand_in)
    monkeypatch.setattr(gan2shape_jax.run, "instance", stand_in, raising=False)
    return stand_in


def _raises(error):
    def action():
        raise error

    return action


def test_config_and_overrides_reach_the_experiment(experiment):
    arguments = ["--config=ictface:scratch", "--config.workdir=here", "--config.gan.F1_d", "3"]
    assert program.main(arguments) == 0
    values = flatten(experiment.seen[0])
    assert values == flatten(load_config("ictface:scratch")) | {"workdir": "here", "gan.F1_d": 3}


def test_exit_code_of_the_experiment_is_the_programs(experiment):
    experiment.action = lambda: 1
    assert program.main(["--config=ictface:scratch"]) == 1


@pytest.mark.parametrize(
    "error, code, message",
    [
        (UserError("bad.png is bad"), 1, "error: bad.png is bad\n"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.png"),
            1,
            "No space left on device: 'x.png'\n",
        ),
    ],
)
def test_errors_are_one_line_and_a_code(error, code, message, experiment, capsys):
    experiment.action = _raises(error)
    assert program.main(["--config=ictface:scratch"]) == code
    printed = capsys.readouterr().err
    assert printed.endswith(message) and printed.strip().count("\n") == 0


def test_bugs_keep_their_traceback(experiment):
    experiment.action = _raises(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        program.main(["--config=ictface:scratch"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "name a configuration: --config=NAME"),
        (["--config"], "--config needs a value"),
        (["--config=nonsense"], "there is no config 'nonsense'"),
        (["--config=ictface:scratch", "--confg.seed=1"], "unknown argument '--confg.seed=1'"),
        (["--config=ictface:scratch", "results"], "unknown argument 'results'"),
        (["--config=ictface:scratch", "--config.sead=1"], "nearest field is config.seed"),
        (["--config=ictface:scratch", "--config.seed=one"], "config.seed is a whole number"),
        (["--config=ictface:scratch", "--config.seed"], "--config.seed needs a value"),
        (["--config=ictface:scratch", "--config.schedule.flip1=(True,True)"], "without flip3"),
    ],
)
def test_wrong_command_lines_end_with_code_2(arguments, message, experiment, capsys):
    assert program.main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == "" and not experiment.seen


def test_absent_weights_stop_the_program_before_anything_starts(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main(["--config=car"]) == 1
    assert "gan2shape-jax convert" in capsys.readouterr().err
    assert not experiment.seen and list(tmp_path.iterdir()) == []


def test_check_does_not_start_the_experiment(experiment, capsys):
    assert program.main(["--config=ictface:quick", "--check"]) == 0
    assert "2 images" in capsys.readouterr().out and not experiment.seen


def test_help_lists_every_field_with_its_value(capsys):
    assert program.main(["--help=all", "--config=ictface:scratch"]) == 0
    printed = capsys.readouterr().out
    for field, value in flatten(load_config("ictface:scratch")).items():
        assert f"--config.{field}={value!r}\n" in printed
    assert max(map(len, printed.splitlines())) < 200


def test_version(capsys):
    assert program.main(["--version"]) == 0
    assert re.fullmatch(r"gan2shape-jax \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_warnings_about_data_take_one_line_and_are_told_once(experiment, capsys):
    def action():
        for _ in range(2):  # a run reads some images twice
            warnings.warn("a.png is soft", UserWarning, stacklevel=1)
        return 0

    experiment.action = action
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert program.main(["--config=ictface:scratch"]) == 0
    assert capsys.readouterr().err == "warning: a.png is soft\n"


@pytest.mark.parametrize("config", ["ictfac", "ictface", "car"])
def test_module_runs_from_any_folder_without_a_traceback(config, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    flag = {"ictface": "--check"}.get(config, "--config.seed=1")
    command = [sys.executable, "-m", "gan2shape_jax.main", f"--config={config}", flag]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == {"ictfac": 2, "ictface": 0, "car": 1}[config], done.stderr
    assert "Traceback" not in done.stderr
