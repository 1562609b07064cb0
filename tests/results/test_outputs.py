"""The result record and the files written from it: exact on disk, whole or absent, and true to the data."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import bump
from helpers.bump import SIZE
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import lighting
from gan2shape_jax.results import Result, load_result, save_result


@pytest.fixture(scope="module")
def result() -> Result:
    return bump.result()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    return bump.write(result, tmp_path_factory.mktemp("run") / "bump")


def test_a_saved_result_comes_back_bit_for_bit(result, tmp_path):
    save_result(result, tmp_path / "r")
    again = load_result(tmp_path / "r")
    for field in dataclasses.fields(Result):
        before, after = getattr(result, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == np.float32 and np.array_equal(before, after), field.name
        else:
            assert before == after, field.name


def test_the_written_folder_is_loadable_and_has_the_depth_as_float32(result, written):
    assert np.array_equal(load_result(written).depth, result.depth)
    assert np.load(written / "depth.npy").dtype == np.float32


@pytest.mark.parametrize("name", ["result.json", "depth.npy", "true_depth.npy"])
@pytest.mark.parametrize("harm", ["remove", "truncate", "empty", "flip"])
def test_a_damaged_result_is_refused_by_the_name_of_its_file(result, tmp_path, name, harm):
    save_result(result, tmp_path / "r")
    path = tmp_path / "r" / name
    contents = path.read_bytes()
    if harm == "remove":
        path.unlink()
    elif harm == "flip":
        middle = len(contents) // 2
        path.write_bytes(contents[:middle] + bytes([contents[middle] ^ 0xFF]) + contents[middle + 1 :])
    else:
        path.write_bytes(contents[: len(contents) // 2] if harm == "truncate" else b"")
    with pytest.raises(UserError, match=name):
        load_result(tmp_path / "r")


def test_another_format_version_is_refused(result, tmp_path):
    save_result(result, tmp_path / "r")
    path = tmp_path / "r" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(UserError, match="version 99"):
        load_result(tmp_path / "r")


def test_arrays_of_another_shape_or_not_finite_are_refused(result):
    with pytest.raises(ValueError, match="albedo"):
        dataclasses.replace(result, albedo=result.albedo[:-1])
    with pytest.raises(ValueError, match="depth"):
        dataclasses.replace(result, depth=np.full_like(result.depth, np.nan))


def test_every_promised_file_is_there(written):
    stills = [
        "depth",
        "normals",
        "albedo",
        "canonical",
        "reconstruction",
        "mask",
        "input",
        "overview",
    ]
    stills += ["turntable", "relight", "turntable_gan", "relight_gan"]
    stills += [f"turntable_{show}" for show in ("albedo", "normals", "shape", "full", "shape_full")]
    names = [f"{name}.png" for name in stills] + [
        "camera.json",
        "metrics.json",
        "depth.npy",
        "history.csv",
    ]
    names += [
        f"{name}{end}" for name in ("turntable", "relight", "turntable_gan", "relight_gan") for end in (".gif", ".mp4")
    ]
    assert not [name for name in names if not (written / name).stat().st_size]
    with Image.open(written / "turntable.gif") as gif:
        assert gif.n_frames == 4 and gif.info["loop"] == 0


def test_pictures_show_the_arrays(result, written):
    def shown(name):
        return np.asarray(Image.open(written / name), np.float32) / 127.5 - 1

    assert np.abs(shown("albedo.png") - result.albedo).max() <= 0.5 / 127.5 + 1e-6
    normal = np.asarray(lighting.normals(result.depth, result.camera))
    assert np.abs(shown("normals.png") - normal).max() <= 0.5 / 127.5 + 1e-6


def test_depth_picture_is_brighter_where_nearer_and_names_its_range(result, written):
    with Image.open(written / "depth.png") as picture:
        assert "scene units" in picture.info["Description"]
        brightness = np.asarray(picture.convert("L"), np.float32)
    inside = result.mask > 0
    correlation = np.corrcoef(brightness[inside], result.depth[inside])[0, 1]
    assert correlation < -0.95


def test_camera_file_projects_as_the_camera_does(result, written):
    description = json.loads((written / "camera.json").read_text())
    matrix = np.array(description["intrinsics"])
    u, v, w = matrix @ [0.02, -0.01, 1.05]
    expected = np.array([0.02, -0.01]) / 1.05 * result.camera.focal_length + (SIZE - 1) / 2
    np.testing.assert_allclose([u / w, v / w], expected, rtol=1e-6)
    assert description["view"]["ry"] == pytest.approx(-0.3)
    assert {"axes", "units", "view", "light", "normals"} <= set(description["conventions"])
