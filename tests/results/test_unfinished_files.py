"""What stops halfway, by a full disk, an error or Ctrl-C, leaves the former file, or none, and no program running."""

import errno
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.results import animation, frame_files, video

pytestmark = pytest.mark.hostile

_FRAME = np.zeros((16, 16, 3), np.uint8)
_FULL = pathlib.Path("/dev/full")


def _stopping(error: BaseException):
    yield _FRAME
    yield _FRAME
    raise error


@pytest.fixture
def started(monkeypatch):
    """The programs that are started, in order."""
    processes = []
    original = subprocess.Popen

    def start(*arguments, **options):
        processes.append(original(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(video.subprocess, "Popen", start)
    return processes


@pytest.mark.parametrize("ending", [".mp4", ".gif", ""])
@pytest.mark.parametrize(
    "error, told",
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (UserError("this view cannot be drawn"), UserError),
        (ValueError("a fault of the program"), ValueError),
    ],
)
def test_frames_that_end_early_leave_the_former_file(ending, error, told, tmp_path, started):
    out = tmp_path / f"turn{ending}"
    if ending:
        out.write_bytes(b"former")
    with pytest.raises(told):
        if ending:
            frame_files.write_animation(out, _stopping(error), fps=16)
        else:
            frame_files.write_frames(out, ((str(i), frame) for i, frame in enumerate(_stopping(error))))
    assert [path.name for path in tmp_path.iterdir()] == ([out.name] if ending else [])
    assert not ending or out.read_bytes() == b"former"
    assert bool(started) == (ending == ".mp4") and all(process.poll() is not None for process in started)


@pytest.mark.skipif(not _FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_disk_that_is_really_full_is_told(ending, tmp_path):
    path = tmp_path / f"turn{ending}"
    path.symlink_to(_FULL)
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    with pytest.raises(OSError) as refusal:
        animation.write_animation(path, iter(noise), fps=16)
    assert refusal.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "program, told, message",
    [
        ("import sys; sys.stdin.buffer.read(9); sys.exit('no such codec')", UserError, "no such codec"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", UserError, "exit status -9"),
        ("import sys; sys.stdin.read(0); sys.exit('[mp4] No space left on device')", DiskFullError, "disk is full"),
    ],
)
def test_an_encoder_that_gives_up_leaves_nothing(program, told, message, tmp_path, monkeypatch):
    def command(path, *sizes):
        pathlib.Path(path).write_bytes(b"half a video")
        return [sys.executable, "-c", program]

    monkeypatch.setattr(video, "_command", command)
    out = tmp_path / "turn.mp4"
    with pytest.raises(told, match=message):
        frame_files.write_animation(out, (np.zeros((256, 256, 3), np.uint8) for _ in range(50)), fps=16)
    assert list(tmp_path.iterdir()) == []


def test_a_still_that_cannot_be_written_leaves_the_former(tmp_path, monkeypatch):
    out = tmp_path / "a.png"
    out.write_bytes(b"former")

    def save(path, picture, text=None):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(frame_files.pictures, "write_png", save)
    with pytest.raises(DiskFullError):
        frame_files.write_still(out, _FRAME)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and out.read_bytes() == b"former"
