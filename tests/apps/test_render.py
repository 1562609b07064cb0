"""`gan2shape-jax render`: new views of a saved result, and what cannot be drawn or written, refused before a frame."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.apps.render import command, out
from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from gan2shape_jax.results import views


@pytest.fixture
def result(saved_results):
    return saved_results / "001"


@pytest.mark.parametrize(
    "words, shape",
    [
        ("--yaw -30 0 30", (32, 96)),
        ("--what depth --no-mask", (32, 32)),
        ("--yaw -60 60 --frames 4 --what shape", (32, 128)),
        ("--base input --light 1 0 --ambient 0.1", (32, 32)),
    ],
)
def test_it_writes_strips(result, words, shape):
    assert command.main([str(result), *words.split(), "--size", "32"]) == 0
    picture = np.asarray(Image.open(result / "render.png"))
    assert picture.shape == (*shape, 3) and picture.std() > 5


def test_it_writes_animations_and_folders_of_frames(result, tmp_path):
    words = [str(result), "--light", "-1", "0", "--light", "1", "0", "--frames", "5", "--size", "32", "--out"]
    assert command.main([*words, str(tmp_path / "turn.gif"), "--swing"]) == 0
    with Image.open(tmp_path / "turn.gif") as gif:
        assert gif.n_frames == 8
    assert command.main([*words, str(tmp_path / "frames")]) == 0
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == [f"{k:03}.png" for k in range(5)]


def test_a_folder_that_is_no_result_is_refused(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 1
    assert "result.json" in capsys.readouterr().err


@pytest.fixture
def place(result, tmp_path, monkeypatch):
    """A working folder; nothing may be drawn, and nothing left in it."""

    def draw(*arguments, **options):
        raise AssertionError("drawn before the refusal")

    monkeypatch.setattr(views, "_draw_chunk", draw)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("")
    os.symlink("gone", tmp_path / "dangling")
    before = sorted(tmp_path.rglob("*"))
    yield tmp_path
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", [("render",), ("edit", "--version", "3d")])
@pytest.mark.parametrize(
    "words, message",
    [
        ("--yaw 1e300", "--yaw 1e300: must be between -36000 and 36000 degrees"),
        ("--pitch nan", "--pitch nan: must be a finite number"),
        ("--light 0 nan", "--light nan: must be a finite number"),
        ("--strength 1e20 --yaw 0", "--strength 1e20"),
        ("--yaw 0 --frames 1000000000", "--frames 1000000000: must be between 1 and 1000"),
        ("--yaw 0 --size 1000000", "--size 1000000: must be between 1 and 4096 pixels"),
        ("--yaw 0 --fps 1e9", "--fps 1e9: must be between 0.1 and 100"),
        ("--yaw" + " 1" * 1001, "at most 1000 views"),
        ("--yaw 1 2 --pitch 1 2 3", "give one, or as many"),
        ("--yaw 0 1 --frames 140 --size 512 --no-labels --out a.jpg", "at most 65500 a side"),
        ("--yaw 0 1 --frames 33 --size 512 --no-labels --out a.webp", "at most 16383 a side"),
        ("--yaw 0 1 --frames 1000 --size 4096 --no-labels --out a.png", "in all"),
        ("--yaw 0 1 --frames 1000 --size 4096 --no-labels --out a.gif", "write an .mp4"),
        ("--yaw 0 1 --frames 9 --size 4096 --labels --out a.webp", "at most 16383 a side"),
        ("--yaw 0 --out folder.png", "is a folder"),
        ("--yaw 0 --out gone/a.png", "there is no folder gone"),
        ("--yaw 0 --out file/a.png", "there is no folder file"),
        ("--yaw 0 --out a.bmp", ".png"),
        ("--yaw 0 --out full", "holds other files"),
        ("--yaw 0 --out file", "is a file"),
        ("--yaw 0 --out dangling", "is a file"),
        ("--yaw 0 --out .", "no name of its own"),
        ("--yaw 0 --out NUL.png", "control character"),
        (f"--yaw 0 --out {'n' * 300}.png", "no file has so long a name"),
        ("--yaw 0 --out RESULT/input.png", "would overwrite a file of the result"),
        ("--yaw 0 --out RESULT/turntable_gan.gif", "would overwrite a file of the result"),
        ("--yaw 0 --out RESULT", "holds other files"),
    ],
)
def test_what_cannot_be_drawn_or_written_is_refused_before_the_first_frame(
    command, words, message, result, place, capsys
):
    given = [word.replace("RESULT", str(result)).replace("NUL", "a\0b") for word in words.split()]
    if command == ("render",):
        given = [word for word in given if word not in ("--labels", "--no-labels")]
    name, *version = command
    code = main([name, str(result), *version, *given])
    told = capsys.readouterr().err
    assert code == 1 and told.startswith("error: ") and message in told, told
    assert "Traceback" not in told and told.count("\n") == 1


@pytest.mark.parametrize(
    "ending, side", [(".gif", 65535), (".jpg", 65500), (".webp", 16383), (".png", 2**17), (".mp4", 16384)]
)
def test_the_longest_side_of_each_format_is_accepted_and_one_more_is_not(ending, side):
    path = pathlib.Path(f"a{ending}")
    out.require_size(path, side, 2)
    out.require_size(path, 2, side)
    if ending != ".png":
        with pytest.raises(UserError, match=f"at most {side} a side"):
            out.require_size(path, side + 1, 2)


@pytest.mark.parametrize(
    "name, width, height, frames, message",
    [
        ("a.gif", 4096, 4096, 1000, "write an .mp4"),
        ("a.mp4", 12292, 4096, 1, "an MP4 can hold"),
        ("a.png", 1000 * 4096, 4096, 1, "at most 268435456 in all"),
        ("a.JPG", 140 * 512, 512, 1, "at most 65500 a side"),
        ("a.webp", 32 * 512, 512, 1, "at most 16383 a side"),
    ],
)
def test_what_is_too_much_in_all_is_refused(name, width, height, frames, message):
    with pytest.raises(UserError, match=message):
        out.require_size(pathlib.Path(name), width, height, frames)
