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

from gan2shape_jax import main as program
from gan2shape_jax.config import flatten, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.run import experiment as runner

_ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A run that the checkout holds, as after the README's first command, is none of these tests' business."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def experiment(monkeypatch):
    """Stands in for the reconstruction: keeps its configuration and does what a test asks."""
    stand_in = types.SimpleNamespace(seen=[], action=lambda: 0)

    def run(config):
        stand_in.seen.append(config)
        return stand_in.action()

    monkeypatch.setattr(runner, "run", run)
    return stand_in


def test_config_and_overrides_reach_the_experiment_and_its_code_comes_back(experiment):
    experiment.action = lambda: 1
    assert program.main(["--config=ictface:scratch", "--config.workdir=here", "--config.gan.F1_d", "3"]) == 1
    values = flatten(experiment.seen[0])
    assert values == flatten(load_config("ictface:scratch")) | {"workdir": "here", "gan.F1_d": 3}


@pytest.mark.parametrize(
    "error, code, message",
    [
        (UserError("bad.png is bad"), 1, "error: bad.png is bad\n"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), 1, "No space left on device: 'x.png'\n"),
        (ZeroDivisionError(), None, ""),
    ],
)
def test_errors_are_one_line_and_a_code_and_bugs_keep_their_traceback(error, code, message, experiment, capsys):
    def action():
        raise error

    experiment.action = action
    if code is None:
        with pytest.raises(type(error)):
            program.main(["--config=ictface:scratch"])
        return
    assert program.main(["--config=ictface:scratch"]) == code
    printed = capsys.readouterr().err
    assert printed.endswith(message) and printed.strip().count("\n") == 0


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
    ],
)
def test_wrong_command_lines_end_with_code_2(arguments, message, experiment, capsys):
    assert program.main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == "" and not experiment.seen


def test_unusable_values_and_absent_weights_stop_the_program_before_anything_starts(tmp_path, capsys):
    assert program.main(["--config=ictface:scratch", "--config.schedule.flip1=(True,True)"]) == 2
    assert "without flip3" in capsys.readouterr().err
    assert program.main(["--config=car"]) == 1
    assert "gan2shape-jax convert" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_check_version_and_help_start_nothing(experiment, capsys):
    assert program.main(["--config=ictface:quick", "--check"]) == 0
    assert "2 images" in capsys.readouterr().out
    assert program.main(["--version"]) == 0
    assert re.fullmatch(r"gan2shape-jax \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert program.main(["--help=all", "--config=ictface:scratch"]) == 0
    printed = capsys.readouterr().out
    for field, value in flatten(load_config("ictface:scratch")).items():
        assert f"--config.{field}={value!r}\n" in printed
    assert max(map(len, printed.splitlines())) < 200 and not experiment.seen


def test_warnings_about_data_take_one_line_and_are_given_once(experiment, capsys):
    def action():
        for _ in range(2):  # a run reads some images twice
            warnings.warn("a.png is soft", UserWarning, stacklevel=1)
        return 0

    experiment.action = action
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert program.main(["--config=ictface:scratch"]) == 0
    assert capsys.readouterr().err == "warning: a.png is soft\n"


def test_help_runs_from_any_folder_and_does_not_wait_for_jax(tmp_path):
    code = "import sys; from gan2shape_jax import main; c = main.main(['--help=gan', '--config=car']); "
    code += "sys.exit(c or ('jax' in sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "--config.gan.size=512" in done.stdout and not done.stderr
