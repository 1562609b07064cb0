"""Benchmarks: what those of quality make of faces, the arithmetic of timings, `--help`; the record of parity."""

import argparse
import importlib.util
import json
import pathlib
import runpy
import sys

import numpy as np
import pytest
from helpers.parity_record import PYTORCH, Record
from PIL import Image

from gan2shape_jax.detection.detector import SURE
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop

_BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def _script(name):
    spec = importlib.util.spec_from_file_location(f"_script_{name.replace('/', '_')}", _BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _finding(*scores):
    found = [argparse.Namespace(score=score, box=CropBox(49.5, 49.5, 60)) for score in scores]
    return argparse.Namespace(detect=lambda picture: found)


def test_a_portrait_is_one_face_in_colour():
    portraits = _script("people/portraits")
    picture = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    assert portraits.framed(picture, _finding(SURE)) == CropBox(49.5, 49.5, 60)
    assert portraits.framed(picture, _finding(SURE, SURE / 2)) is not None
    assert portraits.framed(picture, _finding()) is None
    assert portraits.framed(picture, _finding(SURE, SURE)) is None
    grey = np.repeat(picture[..., :1], 3, axis=-1)
    assert portraits.framed(grey, _finding(SURE)) is None


def test_objects_are_placed_where_it_is_said(tmp_path):
    (tmp_path / "cat/image").mkdir(parents=True)
    (tmp_path / "without").mkdir()
    rows, columns = np.mgrid[:64, :64].astype(np.uint8)
    shown = np.stack([100 + 2 * rows, 100 + 2 * columns, 128 + rows - columns], -1)
    for number in range(3):
        Image.fromarray(shown).save(tmp_path / f"cat/image/{number:03d}.png")
    for number in range(8):
        Image.new("RGB", (300, 200), (9, 9, 9)).save(tmp_path / f"without/{number}.png")
    arguments = ["place", "--kind", str(tmp_path / "cat/image"), "--without", str(tmp_path / "without"), "--out"]
    script = _script("quality/found")
    script.main([*arguments, str(tmp_path / "placed")])
    truth = json.loads((tmp_path / "placed/truth.json").read_text())
    assert len(truth) == 6 and truth["cat000"] != truth["cat000+again"]
    for name, values in truth.items():
        crop = sample_crop(np.asarray(Image.open(tmp_path / f"placed/{name}.png")), CropBox(*values), 64)
        assert np.abs(crop.astype(float) - shown)[8:-8, 8:-8].mean() < 8
    assert script._half(pathlib.Path("cat000+again.png")) == script._half(pathlib.Path("cat000.png"))


_MARKS = np.array([[40.0, 40], [80, 40], [60, 60], [45, 80], [75, 80]])


def test_photos_are_changed_as_it_is_said():
    script, rng = _script("quality/verdicts"), np.random.default_rng(5)
    photo = rng.integers(60, 190, (120, 120, 3), dtype=np.uint8)

    def changed(change):
        return script.changed(photo, change, 40.0, _MARKS, np.random.default_rng(0)).astype(float)

    assert changed("gain 0.5").mean() == pytest.approx(photo.mean() / 2, abs=0.5)
    assert changed("contrast 0.6").std() == pytest.approx(0.6 * photo.std(), rel=0.02)
    assert np.ptp(changed("grey"), axis=-1).max() == 0
    np.testing.assert_array_equal(changed("mirrored")[:, ::-1], photo)
    assert changed("blurred").std() < 0.5 * photo.std() and changed("dark").mean() < 0.31 * photo.mean()
    assert changed("tiny").shape[0] * 40 / 120 < 12.5
    masked, covered = changed("covered by a mask"), changed("covered by a hand")
    assert (
        masked[85, 60].std() < 30
        and np.abs(masked[5:30] - photo[5:30]).mean() < np.abs(masked[60:90] - photo[60:90]).mean()
    )
    assert np.abs(covered - photo).mean() > 1
    sunglasses, cap = changed("sunglasses"), changed("sunglasses and a cap")
    eye, brow = tuple(_MARKS[0].astype(int)[::-1]), tuple((_MARKS[:2].mean(0) - (0, 25)).astype(int)[::-1])
    assert sunglasses[eye].max() < 70 and sunglasses[brow] == pytest.approx(photo[brow], abs=60)
    assert cap[eye].max() < 70 and np.ptp(cap[brow[0] - 5, 50:70], axis=0).max() < 3
    truth = script._Truth(np.ones((120, 120)), np.ones((120, 120)), None)
    cut, known = script._cut(photo, truth, 40.0, _MARKS, np.random.default_rng(1))
    assert min(cut.shape[:2]) < 120 and known.depth.shape == cut.shape[:2]


def test_the_area_of_risk_is_least_in_the_right_order():
    script = _script("quality/verdicts")
    risk = np.array([3.0, 1.0, 2.0])
    assert script._area(risk, risk) == pytest.approx((1 + 1.5 + 2) / 3)
    assert script._area(risk, -risk) == pytest.approx((3 + 2.5 + 2) / 3)
    rows = [{"name": str(k), "side": 0.01 * (1 + (k % 2)), "yaw": 70.0 * (k % 2)} for k in range(200)]
    side, without = script._fitted(rows)
    assert side.expected({"yaw": 70.0}) / side.expected({}) == pytest.approx(2, rel=0.05)
    np.testing.assert_allclose(without, [row["side"] for row in rows], rtol=0.05)


@pytest.fixture(name="timing")
def _timing(monkeypatch):
    monkeypatch.syspath_prepend(str(_BENCHMARKS / "speed"))
    import speed

    yield speed
    for name in ("speed", "subjects"):
        sys.modules.pop(name)


def test_calls_take_turns_and_the_first_is_not_counted(timing):
    order = []
    calls = [timing.Call(lambda name=name: order.append(name)) for name in "ab"]
    timings = timing.side_by_side(calls, 5)
    assert "".join(order) == "ab" + "aaabbb" + "aabb"
    assert len(timings) == 2 and all(0 <= timing.least_s <= timing.median_s for timing in timings)


def test_the_whole_schedule_weighs_steps_by_their_iterations(timing):
    def row(ours, theirs):
        return {"jax": timing.Timing(ours, ours, 2.0), "torch": timing.Timing(theirs, theirs, 0.0)}

    rows, iterations = {"step1": row(0.1, 0.2), "step2": row(0.5, 0.4)}, {"step1": 10, "step2": 2}
    assert timing.whole_schedule_s(rows, iterations) == pytest.approx({"jax": 2.0, "torch": 2.8})
    last = [list(column.cells)[-1] for column in timing.table_of("x", rows, iterations).columns]
    assert last == ["whole schedule, s", "", "4.0", "2.0", "", "2.8", "", "1.40"]


def test_what_is_absent_is_named(timing):
    with pytest.raises(UserError, match="car:published lacks the GAN, images, .*LPIPS"):
        timing.subjects.load("car:published", {}, random_weights=False)
    with pytest.raises(UserError, match="ictface:scratch lacks LPIPS"):
        timing.subjects.load("ictface:scratch", {"loss.perceptual": "lpips"}, random_weights=False)


@pytest.mark.heavy
def test_what_is_absent_is_drawn_at_the_configurations_sizes(timing):
    sizes = {"image_size": "32", "gan.size": "16", "gan.style_dim": "8", "networks.width": "8"}
    sizes |= dict.fromkeys(("networks.group_base", "networks.zdim", "networks.encoder_width"), "4")
    subject = timing.subjects.load("car:published", sizes, random_weights=True)
    assert subject.example.image.shape == (1, 32, 32, 3) and subject.example.latent.shape == (1, 8)
    assert subject.settings.architecture.channels == (512, 512, 512)
    assert subject.frozen.distances["lpips"]["conv5_3/kernel"].shape == (3, 3, 512, 512)
    steps = ("prior", "step1", "step2", "step3", timing.COLLECT)
    assert subject.iterations == dict(zip(steps, (1000, 1300, 2200, 1800, 400), strict=True))


_SCRIPTS = sorted(path for path in _BENCHMARKS.glob("*/*.py") if "__main__" in path.read_text())


def _forget_namesakes():
    """Cars and faces have modules of the same names, of which a process of their own would only see one."""
    for name, module in list(sys.modules.items()):
        if pathlib.Path(getattr(module, "__file__", None) or "").parent.name in ("cars", "faces"):
            del sys.modules[name]


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: str(path.relative_to(_BENCHMARKS)))
def test_script_answers_help(script, monkeypatch, capsys):
    assert "ArgumentParser" in script.read_text(), "it would do its work here instead of answering"
    if script.name == "run_notebooks.py":
        pytest.importorskip("nbclient", reason="needs the extra notebooks")
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    # As Python starts it: beside the script, without the checkout, whose `tools` the suite imports.
    checkout = {str(_BENCHMARKS.parent), ""}
    monkeypatch.setattr(sys, "path", [str(script.parent), *(path for path in sys.path if path not in checkout)])
    for name in [name for name in sys.modules if name.split(".")[0] in ("tools", "benchmarks")]:
        monkeypatch.delitem(sys.modules, name)
    _forget_namesakes()
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    _forget_namesakes()
    assert ended.value.code == 0
    assert f"python {script.relative_to(_BENCHMARKS.parent)}" in capsys.readouterr().out


def test_differences_beyond_what_is_asked_and_nan_fail_by_name_and_the_table_has_the_largest():
    record = Record()
    for difference in (2e-6, 7e-6, 3e-6):
        record.check("grid", difference, 1e-5, "renderer.npz")
    record.check("cropping", 0, 0)
    for component, *differences in (("mask", 0.5), ("network", 2e-3, np.nan, np.inf)):
        for difference in differences:
            with pytest.raises(AssertionError, match=f"{component}: .*asked are 1e-03"):
                record.check(component, difference, 1e-3)
    with pytest.raises(AssertionError, match="in two ways"):
        record.check("grid", 0, 1e-4)
    text = record.markdown("pytest -k grid")
    assert "| grid | `renderer.npz` | relative L2 | 1.0e-05 | 7.0e-06 |" in text
    assert f"| cropping | {PYTORCH} | relative L2 | 0 | 0 |" in text
    assert "**5.0e-01, too large** |" in text and "**nan, too large**" in text and "    pytest -k grid\n" in text
