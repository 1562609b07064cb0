"""The result record and the files written from it: exact on disk, whole or absent, and true to the data."""

import dataclasses
import importlib.util
import io
import json

import numpy as np
import pytest
from helpers import bump, several
from helpers.bump import SIZE
from helpers.plain_result import plain_result
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import lighting
from gan2shape_jax.results import OutputOptions, Reconstruction, examine, load, load_metrics, save_result, write_outputs
from gan2shape_jax.results.outputs import OUTPUTS, PRESETS


@pytest.fixture(scope="module")
def result() -> Reconstruction:
    return bump.result()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    return bump.write(result, tmp_path_factory.mktemp("run") / "bump")


def test_a_saved_result_comes_back_bit_for_bit(result, tmp_path):
    save_result(result, tmp_path / "r", made_with={"configuration": "abc"})
    again = load(tmp_path / "r")
    for field in dataclasses.fields(Reconstruction):
        before, after = getattr(result, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == np.float32 and np.array_equal(before, after), field.name
        else:
            assert before == after, field.name
    assert load_metrics(tmp_path / "r") == result.metrics
    assert examine(tmp_path / "r") == {"configuration": "abc"}


@pytest.mark.parametrize("name", ["001", "005"])
def test_committed_results_are_read(saved_results, name):
    result = load(saved_results / name)
    assert result.name == name and result.category == "ictface" and load_metrics(saved_results / name)["side"] < 0.1
    assert "configuration" in examine(saved_results / name)


@pytest.mark.parametrize("name", ["result.json", "true_depth.npy"])
def test_a_file_that_cannot_be_read_is_refused_by_its_name(result, tmp_path, name):
    save_result(result, tmp_path / "r")
    path = tmp_path / "r" / name
    whole = path.read_bytes()
    code = io.BytesIO()
    np.save(code, np.array([print], object), allow_pickle=True)  # which must not run
    format_99 = json.dumps(json.loads((tmp_path / "r" / "result.json").read_text()) | {"format": 99}).encode()
    unusable = (None, b"", b"\x93NUMPY\x01\x00no", b"[" * 10_000, b"9" * 999)
    for content in (*unusable, whole[:-3], code.getvalue(), format_99):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=r"\br\b"):
            load(tmp_path / "r")
        with pytest.raises(UserError, match=f"^{name}"):
            examine(tmp_path / "r")
        path.write_bytes(whole)
    assert examine(tmp_path / "r") == {}


@pytest.mark.parametrize("content", ["", "[]", '{"files": {}}', '{"files": [1], "made_with": {}}'])
def test_a_record_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / "files.json").write_text(content)
    with pytest.raises(UserError, match="files.json"):
        examine(tmp_path)


def test_a_folder_without_a_usable_record_is_not_finished(tmp_path):
    with pytest.raises(UserError, match="files.json is missing"):
        examine(tmp_path)


@pytest.mark.parametrize("name, spoilt", [("signed_albedo", lambda x: x[:-1]), ("depth", lambda x: np.nan * x)])
def test_arrays_of_another_shape_or_not_finite_are_refused(result, name, spoilt):
    with pytest.raises(ValueError, match=name.removeprefix("signed_")):
        dataclasses.replace(result, **{name: spoilt(getattr(result, name))})


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "overview"])
def test_the_list_of_outputs_says_which_files_there_are(result, tmp_path, preset):
    """A preset writes the files of its entries and no others; the record has them all with their sizes."""
    full = dataclasses.replace(result, uncertainty=np.full_like(result.depth, 0.01), gan_image=result.signed_image)
    full = dataclasses.replace(full, texture=np.zeros((40, 40, 3), np.uint8))
    full = dataclasses.replace(full, photographs=several.result().photographs)
    options = OutputOptions(preset, picture_size=32, turntable_frames=2)
    write_outputs(full, tmp_path / "r", gan_project=lambda pictures: pictures, options=options)
    presets = PRESETS[: PRESETS.index(preset) + 1]
    files = {name for output in OUTPUTS if output.write and output.preset in presets for name in output.files}
    files -= {"mesh.png"} if importlib.util.find_spec("pxr") else {"mesh.png", "model.usdz"}
    record = json.loads((tmp_path / "r" / "files.json").read_text())
    assert record == {"files": {name: (tmp_path / "r" / name).stat().st_size for name in files}, "made_with": {}}
    assert {path.name for path in (tmp_path / "r").iterdir()} == files | {"files.json"}
    names = [name for output in OUTPUTS for name in output.files]
    assert len(names) == len(set(names))


def test_what_is_not_known_has_no_file(written):
    assert not (written / "spread.png").exists() and not (written / "uncertainty.npy").exists()
    assert (written / "history.csv").read_bytes() == b"a,b\n"
    with Image.open(written / "turntable.gif") as gif:
        assert gif.n_frames == 4 and gif.info["loop"] == 0


def test_pictures_show_the_arrays(result, written):
    def shown(name):
        return np.asarray(Image.open(written / name), np.float32) / 127.5 - 1

    assert np.abs(shown("albedo.png") - result.signed_albedo).max() <= 0.5 / 127.5 + 1e-6
    normal = np.asarray(lighting.normals(result.depth, result.camera))
    assert np.abs(shown("normals.png") - normal).max() <= 0.5 / 127.5 + 1e-6
    with Image.open(written / "depth.png") as picture:
        assert "scene units" in picture.info["Description"]
        brightness = np.asarray(picture.convert("L"), np.float32)
    inside = result.mask > 0
    assert np.corrcoef(brightness[inside], result.depth[inside])[0, 1] < -0.95


def test_camera_file_projects_as_the_camera_does(result, written):
    description = json.loads((written / "camera.json").read_text())
    matrix = np.array(description["intrinsics"])
    u, v, w = matrix @ [0.02, -0.01, 1.05]
    expected = np.array([0.02, -0.01]) / 1.05 * result.camera.focal_length + (SIZE - 1) / 2
    np.testing.assert_allclose([u / w, v / w], expected, rtol=1e-6)
    assert description["view"]["ry"] == pytest.approx(-0.3)
    assert {"axes", "units", "view", "light", "normals"} <= set(description["conventions"])


def test_metrics_file_has_the_promised_keys_and_no_nan(written, tmp_path):
    metrics = json.loads((written / "metrics.json").read_text())
    assert metrics["side"] == 0.01 and metrics["prior"]["mad"] == 30.0
    odd = plain_result(metrics={"side": np.float32(0.5), "mad": float("nan")})
    write_outputs(odd, tmp_path / "r", options=OutputOptions("mesh"))
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert metrics["side"] == 0.5 and metrics["mad"] is None


def test_no_name_gets_into_files_that_other_programs_read(tmp_path):
    for k, name in enumerate(("001", "two\nf 1 2 3", "\x1b]0;t\x07", "\ud800", "", "x" * 5000)):
        write_outputs(plain_result(name), tmp_path / str(k), options=OutputOptions("mesh"))
        for file in ("mesh.obj", "mesh.mtl", "mesh.glb", "mesh.png", "depth.png", "camera.json", "metrics.json"):
            assert (tmp_path / str(k) / file).read_bytes() == (tmp_path / "0" / file).read_bytes(), file
        assert load(tmp_path / str(k)).name == name
