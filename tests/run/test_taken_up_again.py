"""Whole runs by the public command: whatever happens to their files costs time and nothing else."""

import contextlib
import errno
import pathlib
import shutil

import pytest
from helpers.command_line import overrides
from helpers.harm import do
from helpers.tiny import tiny_config

from gan2shape_jax.main import main
from gan2shape_jax.results import outputs
from gan2shape_jax.run import interrupt


def _command(folder):
    folder.mkdir(exist_ok=True)
    config = tiny_config(
        folder,
        data__latent_root="",
        schedule__stages=((3, 2, 2),),
        outputs__picture_size=32,
        outputs__turntable_frames=2,
    )
    return ["--config=ictface", *overrides(config)], pathlib.Path(config.workdir)


def _bits(run):
    return {path.name: path.read_bytes() for path in sorted((run / "results" / "001").iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed run of one image."""
    command, run = _command(tmp_path_factory.mktemp("whole"))
    assert main(command) == 0
    return run


@pytest.fixture
def copied(whole, tmp_path):
    """The command of a run, and its folder, a copy of the undisturbed one's."""
    command, run = _command(tmp_path / "copied")
    shutil.copytree(whole, run)
    return command, run


def _again(command, capfd):
    """Starts the command; returns what it said on standard error."""
    capfd.readouterr()
    assert main(command) == 0
    told = capfd.readouterr().err
    assert "Traceback" not in told
    return told


@contextlib.contextmanager
def _meanwhile(monkeypatch, number, action):
    """Has something happen after so many iterations."""
    count = 0

    @contextlib.contextmanager
    def noted():
        def check():
            nonlocal count
            count += 1
            if count == number:
                action()

        yield check

    with monkeypatch.context() as patched:
        patched.setattr(interrupt, "noted", noted)
        yield


def _interrupt():
    raise KeyboardInterrupt


def test_a_finished_run_is_left_as_it_is(copied, whole, capfd):
    command, run = copied
    before = {path: path.stat().st_mtime_ns for path in (run / "results" / "001").iterdir()}
    told = _again(command, capfd)
    assert "warning" not in told and "001: finished before, skipped" in told
    assert before == {path: path.stat().st_mtime_ns for path in (run / "results" / "001").iterdir()}
    assert not (run / "checkpoints").exists()


def test_what_is_lost_or_cut_short_is_made_again_with_the_same_bits(copied, whole, capfd):
    command, run = copied
    do(run / "config.json", "garble")
    (run / "versions.json").write_text("null")
    do(run / "results.csv", "empty")
    do(run / "results" / "001" / "overview.png", "empty")
    do(run / "latents" / "001.npy", "delete")
    told = _again(command, capfd)
    assert _bits(run) == _bits(whole)
    assert (run / "latents" / "001.npy").read_bytes() == (whole / "latents" / "001.npy").read_bytes()
    assert "overview.png has 0 bytes instead of" in told
    assert "warning" not in _again(command, capfd)


def test_a_checkpoint_that_cannot_be_read_costs_the_iterations_since_the_last(whole, tmp_path, monkeypatch, capfd):
    command, run = _command(tmp_path / "broken")
    with _meanwhile(monkeypatch, 9, _interrupt):
        assert main(command) == 130
    newest = max((run / "checkpoints" / "001").glob("[0-9]*"), key=lambda path: int(path.name))
    files = [path for path in newest.rglob("*") if path.is_file()]
    do(max(files, key=lambda path: path.stat().st_size), "truncate")
    told = _again(command, capfd)
    assert "001: goes on from" in told
    assert _bits(run) == _bits(whole)


def test_a_removed_folder_ends_the_run_in_a_sentence(tmp_path, monkeypatch, capfd):
    command, run = _command(tmp_path / "gone")

    def remove():
        while run.exists():  # a checkpoint may be on its way
            shutil.rmtree(run, ignore_errors=True)

    with _meanwhile(monkeypatch, 3, remove):
        assert main(command) == 1
    told = capfd.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "while the run was going on" in errors[0] and "Traceback" not in told
    assert not (run / "results" / "001").exists()


def test_a_full_disk_leaves_no_half_of_a_result(whole, tmp_path, monkeypatch, capfd):
    command, run = _command(tmp_path / "full")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(outputs, "glb_bytes", full)
        assert main(command) == 1
    told = capfd.readouterr().err
    assert "the disk is full; make room and run the same command again" in told and "Traceback" not in told
    assert not (run / "results" / "001").exists() and not list(run.glob("*.part"))
    _again(command, capfd)
    assert _bits(run) == _bits(whole)
