"""Animations: the same bytes from a generator as from a list, and nothing left by what stops halfway."""

import errno
import os
import pathlib
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.apps import render
from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.results import animation

_FRAME = np.zeros((16, 16, 3), np.uint8)
_FULL = pathlib.Path("/dev/full")


def _frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (12, 10, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize("swing", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_an_animation_has_the_bytes_of_one_from_a_list(ending, count, swing, tmp_path):
    frames = _frames(count)
    animation.write_animation(tmp_path / f"turn{ending}", iter(frames), fps=16, swing=swing)
    whole = frames + frames[-2:0:-1] if swing else frames
    animation.write_animation(tmp_path / f"whole{ending}", whole, fps=16)
    assert (tmp_path / f"turn{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    if ending == ".gif":
        with Image.open(tmp_path / "turn.gif") as gif:
            assert getattr(gif, "n_frames", 1) == len(whole)


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

    monkeypatch.setattr(animation.subprocess, "Popen", start)
    return processes


@pytest.mark.parametrize("ending", [".mp4", ".gif", ""])
@pytest.mark.parametrize(
    "error, told",
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (ValueError("a fault of the program"), ValueError),
    ],
)
def test_frames_that_end_early_leave_the_former_file(ending, error, told, tmp_path, started):
    out = tmp_path / f"turn{ending}"
    if ending:
        out.write_bytes(b"former")
    with pytest.raises(told):
        frames = _stopping(error)
        render.write(out, still=dict, moving=lambda: frames, single=lambda: ((str(k), f) for k, f in enumerate(frames)))
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
    "program, error, message",
    [
        ("import sys; sys.stdin.buffer.read(9); sys.exit('no such codec')", UserError, "no such codec"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", UserError, "exit status -9"),
        ("import sys; sys.stdin.read(0); sys.exit('[mp4] No space left on device')", DiskFullError, "disk is full"),
    ],
)
def test_an_encoder_that_gives_up_leaves_nothing(program, error, message, tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_text(f"#!{sys.executable}\nopen({str(tmp_path / 'half')!r}, 'w')\n{program}\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "ffmpeg"))
    frames = [np.zeros((256, 256, 3), np.uint8)] * 50
    with pytest.raises(error, match=message):
        render.write(tmp_path / "turn.mp4", still=dict, moving=lambda: frames, single=dict)
    assert {path.name for path in tmp_path.iterdir()} == {"ffmpeg", "half"}


def test_a_still_that_cannot_be_written_leaves_the_former(tmp_path, monkeypatch):
    out = tmp_path / "a.png"
    out.write_bytes(b"former")

    def save(path, picture):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(render.pictures, "write_png", save)
    with pytest.raises(DiskFullError):
        render.write(out, still=lambda: _FRAME, moving=list, single=dict)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and out.read_bytes() == b"former"
