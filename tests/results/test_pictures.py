"""Animations: there and back, as films of both kinds, and nothing left by what stops halfway."""

import errno
import os
import pathlib
import sys

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.apps import render
from gan2shape_jax.errors import DiskFullError, UserError
from gan2shape_jax.results import pictures

_FRAME = np.zeros((16, 16, 3), np.uint8)
_FULL = pathlib.Path("/dev/full")
_NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_swing_has_the_bytes_of_its_frames_there_and_back(tmp_path):
    rng = np.random.default_rng(0)
    for count, side in ((1, 12), (5, 11)):  # an odd side too
        frames = [rng.integers(0, 255, (side, 10, 3), np.uint8) for _ in range(count)]
        whole = frames + frames[-2:0:-1]
        pictures.write_animation(tmp_path / "turn", iter(frames), fps=16, swing=True)
        for ending in pictures.MOVING:
            pictures.write_animation(tmp_path / f"whole{ending}", whole, fps=16)
            assert (tmp_path / f"turn{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
        with Image.open(tmp_path / "turn.gif") as gif:
            assert getattr(gif, "n_frames", 1) == len(whole) and gif.size == (10, side)
        size = next(imageio_ffmpeg.read_frames(str(tmp_path / "turn.mp4")))["size"]
        assert size == (10, 12)


@pytest.mark.parametrize("ending", [".mp4", ".gif", ""])
@pytest.mark.parametrize("error, raised", [(KeyboardInterrupt(), KeyboardInterrupt), (_NO_SPACE, DiskFullError)])
def test_frames_that_end_early_leave_the_former_file(ending, error, raised, tmp_path):
    def frames():
        yield "0.png", _FRAME
        raise error

    out = tmp_path / f"turn{ending}"
    if ending:
        out.write_bytes(b"former")
    with pytest.raises(raised):
        render.write(out, still=dict, moving=lambda: (frame for _, frame in frames()), single=frames)
    assert [path.name for path in tmp_path.iterdir()] == ([out.name] if ending else [])
    assert not ending or out.read_bytes() == b"former"


@pytest.mark.skipif(not _FULL.exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_said(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    for ending in pictures.MOVING:
        (tmp_path / f"turn{ending}").symlink_to(_FULL)
        with pytest.raises(OSError) as refusal:
            pictures.write_animation(tmp_path / f"turn{ending}", iter(noise), fps=16)
        assert refusal.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "program, error, message",
    [
        ("import sys; sys.stdin.buffer.read(9); sys.exit('no such codec')", UserError, "no such codec"),
        ("import sys; sys.stdin.read(0); sys.exit('[mp4] No space left on device')", DiskFullError, "disk is full"),
    ],
)
def test_an_encoder_that_gives_up_leaves_nothing(program, error, message, tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_text(f"#!{sys.executable}\nopen({str(tmp_path / 'half')!r}, 'w')\n{program}\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "ffmpeg"))
    with pytest.raises(error, match=message):
        render.write(tmp_path / "turn.mp4", still=dict, moving=lambda: [_FRAME] * 50, single=dict)
    assert {path.name for path in tmp_path.iterdir()} == {"ffmpeg", "half"}
