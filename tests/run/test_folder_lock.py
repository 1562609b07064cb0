"""One folder, one run: a second start learns who is at work, and whatever ends a process gives its folder back."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from etils import epath
from helpers.command_line import overrides
from helpers.tiny import tiny_config

from gan2shape_jax.errors import FolderGoneError, UserError
from gan2shape_jax.main import main
from gan2shape_jax.run.start import hold


def _refused(folder, **more):
    with pytest.raises(UserError, match="another run is at work") as caught, hold(folder, **more):
        raise AssertionError("held twice")
    return str(caught.value)


def _seen(folder):
    """Everything that a look into a folder shows."""
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_a_second_start_learns_who_is_at_work_and_changes_nothing(tmp_path):
    folder = tmp_path / "run"
    with hold(folder):
        before = _seen(tmp_path)
        assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in _refused(folder)
        assert _seen(tmp_path) == before
        (folder / ".lock.json").write_text("[")
        assert "process ? on ?" in _refused(folder)
    with hold(folder):
        (folder / "result").write_text("")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "result"]


def test_a_folder_made_in_vain_goes_again(tmp_path):
    with pytest.raises(ValueError), hold(tmp_path / "a" / "run"):
        raise ValueError
    assert not (tmp_path / "a" / "run").exists()


_HOLDING = """
import pathlib, subprocess, sys, time
from gan2shape_jax.run.start import hold
with hold(pathlib.Path(sys.argv[1])):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])  # a child that outlives it
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    command = [sys.executable, "-c", _HOLDING, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout.readline() == b"held\n"
        assert f"process {process.pid} on" in _refused(tmp_path)
        process.kill()
        process.wait()
        with hold(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_a_removed_or_replaced_folder_is_found_out(tmp_path):
    folder = tmp_path / "run"
    with hold(folder) as require:
        require()
        shutil.rmtree(folder)
        with pytest.raises(FolderGoneError, match="run was removed, or another run has taken it over, while the run"):
            require()
        folder.mkdir()
        with hold(folder), pytest.raises(FolderGoneError):
            require()


def test_hosts_of_one_run_share_a_folder_and_shut_others_out(tmp_path):
    first = hold(tmp_path)
    first.__enter__()
    with hold(tmp_path, index=1):
        _refused(tmp_path)
        _refused(tmp_path, index=1)
        first.__exit__(None, None, None)
        _refused(tmp_path)  # the other host outlives the first one
    with hold(tmp_path):
        pass


def test_in_object_storage_the_last_start_takes_over(tmp_path, capsys):
    folder = epath.Path(tmp_path)
    with hold(folder) as first:
        first()
        assert capsys.readouterr().err == ""
        with hold(folder) as second:
            assert f"locks nothing, and process {os.getpid()} on" in capsys.readouterr().err
            second()
            with pytest.raises(FolderGoneError):
                first()
    with hold(folder):
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", ["workdir", "checkpoints"])
def test_a_second_command_ends_with_1_and_changes_nothing(tmp_path, capsys, place):
    config = tiny_config(tmp_path, checkpoint__folder=str(tmp_path / "shared") if place == "checkpoints" else "")
    folder = tmp_path / "shared" if place == "checkpoints" else pathlib.Path(config.workdir)
    with hold(folder):
        before = _seen(folder)
        assert main(["--config=ictface", *overrides(config)]) == 1
        assert _seen(folder) == before
        told = capsys.readouterr().err
        main(["--config=ictface", "--check", *overrides(config)])
        assert "another run" not in capsys.readouterr().err  # looking is allowed beside a run
    assert f"error: another run is at work in {folder}: process {os.getpid()} on" in told and "Traceback" not in told
    assert not (pathlib.Path(config.workdir) / "config.json").exists()
