"""The command that makes new views of a saved result."""

import numpy as np
import pytest
from helpers import bump
from PIL import Image

from gan2shape_jax.results import Result, render_command


@pytest.fixture(scope="module")
def result() -> Result:
    return bump.result()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    return bump.write(result, tmp_path_factory.mktemp("run") / "bump")


@pytest.mark.parametrize(
    "arguments, shape",
    [
        (["--yaw", "-30", "0", "30"], (32, 96)),
        (["--what", "depth", "--no-mask"], (32, 32)),
        (["--yaw", "-60", "60", "--frames", "4", "--what", "shape"], (32, 128)),
        (["--base", "input", "--light", "1", "0", "--ambient", "0.1"], (32, 32)),
    ],
)
def test_render_command_writes_strips(written, tmp_path, arguments, shape):
    out = tmp_path / "view.png"
    assert render_command.main([str(written), *arguments, "--size", "32", "--out", str(out)]) == 0
    picture = np.asarray(Image.open(out))
    assert picture.shape == (*shape, 3) and picture.std() > 5


def test_render_command_writes_animations(written, tmp_path):
    out = tmp_path / "turn.gif"
    assert (
        render_command.main(
            [
                str(written),
                "--light",
                "-1",
                "0",
                "--light",
                "1",
                "0",
                "--frames",
                "5",
                "--size",
                "32",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    with Image.open(out) as gif:
        assert gif.n_frames == 5


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--size", "0"], "--size"),
        (["--out", "x.bmp"], ".bmp"),
        (["--yaw", "nan"], "finite"),
        (["--yaw", "1", "2", "--pitch", "1", "2", "3"], "--yaw"),
        (["--out", "nowhere/x.png"], "nowhere"),
        (["--frames", "0"], "--frames"),
    ],
)
def test_render_command_explains_what_is_wrong(written, capsys, arguments, message):
    assert render_command.main([str(written), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error


def test_render_command_refuses_a_folder_that_is_no_result(tmp_path, capsys):
    assert render_command.main([str(tmp_path)]) == 1
    assert "result.json" in capsys.readouterr().err
