"""`gan2shape-jax export print`, and what `export` says to the unknown."""

import pytest
import trimesh
from helpers import bump

from gan2shape_jax.apps.export import command
from gan2shape_jax.results import save_result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "bump"
    save_result(bump.result(), path)
    return path


def test_the_command_writes_a_solid_and_says_what_it_is(folder, tmp_path, capsys):
    out = tmp_path / "it's.stl"
    assert command.main(["print", str(folder), "--width", "50", "--back", "mirrored", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "50.0 x" in said and "closed" in said and str(out) in said
    read = trimesh.load(out)
    assert read.is_volume
    assert read.extents[0] == pytest.approx(50, abs=1e-4)
    assert command.main(["print", str(folder)]) == 0
    assert trimesh.load(folder / "print.3mf", force="mesh").is_volume


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--out", "x.obj"], ".stl, .3mf"),
        (["--out", "nowhere/x.stl"], "nowhere"),
        (["--thickness", "0.1"], "--thickness 0.1: must be between 0.8"),
        (["--width", "nan"], "finite"),
    ],
)
def test_the_command_explains_what_is_wrong(folder, capsys, arguments, message):
    assert command.main(["print", str(folder), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error


@pytest.mark.parametrize("arguments", [[], ["stone"]])
def test_the_command_wants_to_know_what_to_export(arguments, capsys):
    assert command.main(arguments) == 2
    assert "print" in capsys.readouterr().err
