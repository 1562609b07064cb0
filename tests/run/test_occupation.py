"""One folder, one run: a second start is told who is at work, and whatever ends a process gives its folder back."""

import errno
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
from gan2shape_jax.run import kernel_lock, occupation
from gan2shape_jax.run.distributed import Host
from gan2shape_jax.run.occupation import hold, holder

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _refused(folder, match="another run is at work", **more):
    with pytest.raises(UserError, match=match) as caught, hold(folder, **more):
        raise AssertionError("held twice")
    return str(caught.value)


def _seen(folder):
    """Everything that a look into a folder shows."""
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_a_second_start_is_told_who_is_at_work(tmp_path):
    folder = tmp_path / "run"
    with hold(folder):
        before = _seen(tmp_path)
        told = _refused(folder)
        assert _seen(tmp_path) == before
        assert f"process {os.getpid()} on {socket.gethostname()}, since {holder(folder)['since']}" in told
        (folder / "result").write_text("")
    with hold(folder):
        pass
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "result"]


def test_a_folder_made_in_vain_goes_again(tmp_path):
    with pytest.raises(ValueError), hold(tmp_path / "a" / "run"):
        raise ValueError
    assert not (tmp_path / "a" / "run").exists()


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 100_000, b"\xff"])
def test_whatever_the_lock_says_it_can_be_taken(tmp_path, content):
    (tmp_path / ".lock").write_bytes(content)
    with hold(tmp_path):
        (tmp_path / ".lock").write_bytes(content)
        assert "does not say which" in _refused(tmp_path)


_HOLDING = """
import pathlib, subprocess, sys, time
from gan2shape_jax.run.occupation import hold
with hold(pathlib.Path(sys.argv[1])):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])  # a child that outlives it
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDING, str(tmp_path)], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
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
    with hold(folder) as held:
        held.require()
        shutil.rmtree(folder)
        with pytest.raises(FolderGoneError, match="run was removed, or another folder"):
            held.require()
        folder.mkdir()
        with hold(folder), pytest.raises(FolderGoneError, match="another folder put in its place"):
            held.require()


# --- several hosts -------------------------------------------------------------------------------------------


def test_hosts_of_one_start_share_a_folder_and_shut_others_out(tmp_path, monkeypatch):
    monkeypatch.setattr(occupation, "_PATIENCE_S", 0.2)
    with hold(tmp_path, host=Host(0, 2), start="ours") as first:
        first.let_in()
        with hold(tmp_path, host=Host(1, 2), start="ours"):
            _refused(tmp_path)
            _refused(tmp_path, host=Host(0, 2), start="theirs")
            _refused(tmp_path, host=Host(1, 2), start="theirs")


def test_a_host_that_outlives_the_first_one_still_holds_the_folder(tmp_path):
    first = hold(tmp_path, host=Host(0, 2), start="ours")
    first.__enter__().let_in()
    with hold(tmp_path, host=Host(1, 2), start="ours"):
        first.__exit__(None, None, None)
        before = _seen(tmp_path)
        _refused(tmp_path, host=Host(0, 2), start="theirs")
        _refused(tmp_path)
        assert {path: seen for path, seen in _seen(tmp_path).items() if path.name != ".lock"} == {
            path: seen for path, seen in before.items() if path.name != ".lock"
        }
    with hold(tmp_path):
        pass


def test_a_problem_of_the_first_host_is_told_by_all(tmp_path):
    with hold(tmp_path, host=Host(0, 2), start="ours") as first:
        first.let_in(problem="holds results of another configuration")
        _refused(tmp_path, "holds results of another configuration", host=Host(1, 2), start="ours")


def test_hosts_do_not_wait_for_a_first_one_that_was_killed(tmp_path):
    with hold(tmp_path, host=Host(0, 2), start="ours"):
        pass
    _refused(tmp_path, "has ended before it let the others into", host=Host(1, 2), start="ours")


def test_hosts_wait_until_the_first_one_lets_them_in(tmp_path, monkeypatch):
    monkeypatch.setattr(occupation, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(occupation, "_TIDYING_S", 0.3)
    with hold(tmp_path, host=Host(0, 2), start="ours"):
        _refused(tmp_path, host=Host(1, 2), start="ours")


# --- where no files are locked -------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(occupation, "INTERVAL_S", 0.1)


@pytest.fixture(params=["file system", "object storage"])
def lockless(request, tmp_path, monkeypatch, quick):
    """A folder whose file system locks no files."""
    if request.param == "object storage":
        return epath.Path(tmp_path)

    def refuse(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(kernel_lock, "_lock", refuse)
    return tmp_path


def test_a_renewed_file_stands_for_a_lock(lockless, capsys):
    with hold(lockless) as held:
        assert "locks no files" in capsys.readouterr().err
        assert f"process {os.getpid()} on" in _refused(lockless)
        held.require()
        held.let_in()
        held.require()
    with hold(lockless):
        pass


def test_what_a_killed_process_leaves_is_taken_over(lockless):
    held = hold(lockless)
    held.__enter__().lock._ended.set()  # as a kill ends the renewals
    with hold(lockless) as second:
        second.require()


def test_a_file_taken_over_is_found_out(lockless):
    with hold(lockless) as held:
        (epath.Path(lockless) / ".lock.beat").write_text("{}")
        with pytest.raises(FolderGoneError, match="another folder put in its place"):
            held.require()


# --- by the public command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["workdir", "checkpoints"])
def test_a_second_command_ends_with_1_and_changes_nothing(tmp_path, capsys, place):
    config = tiny_config(tmp_path, checkpoint__folder=str(tmp_path / "shared") if place == "checkpoints" else "")
    folder = tmp_path / "shared" if place == "checkpoints" else pathlib.Path(config.workdir)
    with hold(folder):
        before = _seen(tmp_path)
        assert main(["--config=ictface", *overrides(config)]) == 1
        assert _seen(folder) == {path: seen for path, seen in before.items() if folder in path.parents}
    told = capsys.readouterr().err
    assert f"error: another run is at work in {folder}: process {os.getpid()} on" in told and "Traceback" not in told
    assert not (pathlib.Path(config.workdir) / "config.json").exists()


def test_looking_is_allowed_beside_a_run(tmp_path, capsys):
    config = tiny_config(tmp_path)
    with hold(pathlib.Path(config.workdir)):
        main(["--config=ictface", "--check", *overrides(config)])
    assert "another run" not in capsys.readouterr().err
