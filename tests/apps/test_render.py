"""`gan2shape-jax render`: new views of a saved result, and what cannot be drawn or written, refused before a frame."""

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.apps.edit import render
from gan2shape_jax.main import main
from gan2shape_jax.results import views


@pytest.fixture
def result(saved_results):
    return saved_results / "001"


@pytest.mark.parametrize(
    ("words", "width"),
    [
        ("--yaw -30 0 30", 96),
        ("--what depth --no-mask", 32),
        ("--yaw -60 60 --frames 4 --what shape", 128),
        ("--base input --light 1 0 --ambient 0.1", 32),
    ],
)
def test_it_writes_strips(result, words, width):
    assert render([str(result), *words.split(), "--size", "32"]) == 0
    picture = np.asarray(Image.open(result / "render.png"))
    assert picture.shape == (32, width, 3) and picture.std() > 5


def test_it_writes_animations_and_folders_of_frames(result, tmp_path):
    words = [str(result), "--light", "-1", "0", "--light", "1", "0", "--frames", "5", "--size", "32", "--out"]
    assert render([*words, str(tmp_path / "turn.gif"), "--swing"]) == 0
    with Image.open(tmp_path / "turn.gif") as gif:
        assert gif.n_frames == 8
    assert render([*words, str(tmp_path / "frames")]) == 0
    names = [path.name for path in sorted((tmp_path / "frames").iterdir())]
    assert names == [*(f"{k:03}.png" for k in range(5)), "frames.csv", "input.png"]
    assert render([str(tmp_path)]) == 1  # which holds no result.json


@pytest.fixture
def place(result, tmp_path, monkeypatch):
    """A working folder; nothing may be drawn, and nothing left in it."""

    monkeypatch.setattr(views, "_draw_chunk", lambda *_, **__: pytest.fail("drawn before the refusal"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    yield tmp_path
    assert sorted(tmp_path.rglob("*")) == before


# Words for both commands.
_REFUSED = (
    ("--yaw 1e300", "--yaw 1e300: must be between -36000 and 36000 degrees"),
    ("--strength 1e20 --yaw 0", "--strength 1e20"),
    ("--yaw" + " 1" * 1001, "at most 1000 views"),
    ("--yaw 1 2 --pitch 1 2 3", "use one, or as many"),
    ("--yaw 0 1 --frames 140 --size 512 --out a.jpg", "71680 x 512 pixels are more than JPG can hold"),
    ("--yaw 0 1 --frames 33 --size 512 --out a.webp", "more than WEBP can hold"),
    ("--yaw 0 1 --frames 1000 --size 4096 --out a.png", "more than PNG can hold"),
    ("--yaw 0 1 --frames 1000 --size 4096 --out a.gif", "1000 frames of 4096 x 4096 pixels are more than GIF can hold"),
    ("--yaw 0 --out folder.png", "is a folder"),
    ("--yaw 0 --out gone/a.png", "there is no folder gone"),
    ("--yaw 0 --out a.bmp", ".png"),
    ("--yaw 0 --out full", "holds other files"),
    ("--yaw 0 --out file", "is a file"),
    ("--yaw 0 --out .", "not a folder's name"),
    ("--yaw 0 --out RESULT/input.png", "would overwrite a file of the result"),
    ("--yaw 0 --out RESULT/turntable_gan.gif", "would overwrite a file of the result"),
    ("--yaw 0 --out RESULT", "holds other files"),
)


@pytest.mark.parametrize("command", ["render", "edit --version 3d"])
def test_what_cannot_be_drawn_or_written_is_refused_before_the_first_frame(command, result, place, capsys):
    for words, message in _REFUSED:
        arguments = [word.replace("RESULT", str(result)) for word in words.split()]
        name, *version = command.split()
        code = main([name, str(result), *version, *arguments])
        said = capsys.readouterr().err
        assert code == 1 and said.startswith("error: ") and message in said, said
        assert "Traceback" not in said and said.count("\n") == 1
