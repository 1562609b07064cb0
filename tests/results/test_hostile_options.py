"""`render` and `edit` refuse in a line, before the first frame, what cannot be drawn or written."""

import os

import pytest
from helpers import bump

from gan2shape_jax.main import main
from gan2shape_jax.results import save_result, views

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "bump"
    save_result(bump.result(), folder)
    return folder


@pytest.fixture
def place(saved, tmp_path, monkeypatch):
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
    before, result_before = sorted(tmp_path.rglob("*")), sorted(saved.rglob("*"))
    yield tmp_path
    assert sorted(tmp_path.rglob("*")) == before and sorted(saved.rglob("*")) == result_before


@pytest.mark.parametrize("command", [("render",), ("edit", "--version", "3d")])
@pytest.mark.parametrize(
    "words, message",
    [
        ("--yaw 1e300", "--yaw 1e300: must be between -36000 and 36000 degrees"),
        ("--yaw 1e39", "--yaw 1e39: must be"),
        ("--pitch nan", "--pitch nan: must be a finite number"),
        ("--roll inf", "--roll inf: must be a finite number"),
        ("--light 1e30 0", "--light 1e30: must be"),
        ("--light 0 nan", "--light nan: must be a finite number"),
        ("--strength 1e20 --yaw 0", "--strength 1e20"),
        ("--ambient inf --yaw 0", "--ambient inf"),
        ("--yaw 0 --frames 1000000000", "--frames 1000000000: must be between 1 and 1000"),
        ("--yaw 0 --frames 0", "--frames 0"),
        ("--yaw 0 --size 1000000", "--size 1000000: must be between 1 and 4096 pixels"),
        ("--yaw 0 --fps nan", "--fps nan"),
        ("--yaw 0 --fps 1e9", "--fps 1e9: must be between 0.1 and 100"),
        ("--yaw" + " 1" * 1001, "at most 1000 views"),
        ("--yaw 0 1 --frames 140 --size 512 --no-labels --out a.jpg", "at most 65500 a side"),
        ("--yaw 0 1 --frames 33 --size 512 --no-labels --out a.webp", "at most 16383 a side"),
        ("--yaw 0 1 --frames 1000 --size 4096 --no-labels --out a.png", "in all"),
        ("--yaw 0 1 --frames 1000 --size 4096 --no-labels --out a.gif", "write an .mp4"),
        ("--yaw 0 1 --frames 9 --size 4096 --labels --out a.webp", "at most 16383 a side"),
        ("--yaw 0 --out folder.png", "is a folder"),
        ("--yaw 0 --out gone/a.png", "there is no folder gone"),
        ("--yaw 0 --out file/a.png", "there is no folder file"),
        ("--yaw 0 --out gone/frames", "there is no folder gone"),
        ("--yaw 0 --out a.bmp", ".png"),
        ("--yaw 0 --out a.png.exe", ".png"),
        ("--yaw 0 --out full", "holds other files"),
        ("--yaw 0 --out file", "is a file"),
        ("--yaw 0 --out dangling", "is a file"),
        ("--yaw 0 --out .", "no name of its own"),
        ("--yaw 0 --out /", "no name of its own"),
        ("--yaw 0 --out ..", "no name of its own"),
        ("--yaw 0 --out NUL.png", "control character"),
        (f"--yaw 0 --out {'n' * 245}.png", "too long a name"),
        (f"--yaw 0 --out {'n' * 300}.png", "no file has so long a name"),
        ("--yaw 0 --out RESULT/input.png", "would overwrite a file of the result"),
        ("--yaw 0 --out RESULT/turntable_gan.gif", "would overwrite a file of the result"),
        ("--yaw 0 --out RESULT", "holds other files"),
    ],
)
def test_what_cannot_be_drawn_or_written_is_refused_before_the_first_frame(
    command, words, message, saved, place, capsys
):
    given = [word.replace("RESULT", str(saved)).replace("NUL", "a\0b") for word in words.split()]
    if command == ("render",):
        given = [word for word in given if word not in ("--labels", "--no-labels")]
    name, *version = command
    code = main([name, str(saved), *version, *given])
    told = capsys.readouterr().err
    assert code == 1 and told.startswith("error: ") and message in told, told
    assert "Traceback" not in told and told.count("\n") == 1


@pytest.mark.parametrize("words", ["--yaw many", "--frames 1.5", "--size 9" + "9" * 5000, "--fps fast"])
def test_what_is_no_number_is_the_command_lines_fault(words, saved, place, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["render", str(saved), *words.split()])
    assert stopped.value.code == 2 and len(capsys.readouterr().err) < 3000
