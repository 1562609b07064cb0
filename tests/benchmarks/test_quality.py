"""What the scripts of `benchmarks/quality` make of faces and of refinements."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest
from helpers.tiny import asset, tiny_image

from gan2shape_jax.lift import refinement as refinement_lib
from gan2shape_jax.method import losses, models, reconstruction

_FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture(autouse=True)
def _beside(monkeypatch):
    """Scripts import what lies beside them."""
    monkeypatch.syspath_prepend(_FOLDER)


def _script(name):
    spec = importlib.util.spec_from_file_location(f"_quality_{name}", _FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.heavy
def test_fitting_improves_a_wrong_view_and_light_and_leaves_the_shape(tmp_path):
    one, frozen = tiny_image(tmp_path)
    script, settings = _script("lifted"), one.settings
    params = models.init_params(jax.random.key(0), settings)
    view = reconstruction.see(params, one.problem, frozen, settings)

    def l1(seen):
        return float(losses.photometric(seen.reconstruction, one.problem.image[0], seen.valid))

    few, many = (script.fitted(view, one, frozen, steps) for steps in (1, 20))
    assert l1(many) < l1(few) < l1(view)
    np.testing.assert_array_equal(many.depth, view.depth)
    np.testing.assert_array_equal(many.albedo, view.albedo)
    np.testing.assert_array_equal(many.view[3:], view.view[3:])  # rotations alone
    assert np.abs(many.view[:3] - view.view[:3]).max() > 0.01


@pytest.mark.heavy
def test_the_bounds_are_told_in_order_and_their_depths_kept(tmp_path, capsys):
    folder = pathlib.Path(asset("ictface"))
    given = ["--data", str(folder), "--faces", "1", "2", "--steps", "2", "--out", str(tmp_path / "depths.npz")]
    _script("attainable").main([*given, str(folder / "model.safetensors")])
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    side = {row[1].strip(): float(row[2]) for row in rows}
    assert 0.005 < side["as the networks say"] < 0.02
    assert all(value <= side["as the networks say"] for value in side.values()) and len(side) == 6
    with np.load(tmp_path / "depths.npz") as kept:
        assert set(kept) == {"networks", "the_right_shape_for_all", "right_views_and_shape"}


def test_the_report_counts_what_refinement_did(capsys):
    shares = len(refinement_lib.SHARES)
    falling, rising = np.linspace(1.0, 0.6, shares), np.linspace(1.0, 1.4, shares)
    rows = [
        {"side": list(0.01 * falling), "mad": list(20 * falling), "l1": list(0.1 * falling), "share": 1.0},
        {"side": list(0.02 * rising), "mad": list(20 * rising), "l1": list(0.1 * rising), "share": 0.0},
    ]
    script = _script("refinement")
    script.report([row | {"face": face, "seed": 0, "seconds": 30} for face, row in enumerate(rows)])
    printed = capsys.readouterr().out
    least = next(line for line in printed.splitlines() if "1.0 of the gain" in line)
    assert "0.0130" in least and "0 of 2" in least  # the mean of 0.006 and 0.02
    enough = next(line for line in printed.splitlines() if "0.7 of the gain" in line)
    assert "0.0135" in enough and "0 of 2" in enough  # 0.007 at three quarters of the way
    last = next(line for line in printed.splitlines() if " 1.0 " in line)
    assert "0.0170" in last and "1 of 2" in last
    assert "relative to the model: 1.00" in printed and "mean 1.00, above 0 in 2" in printed
    assert "seconds a face: 30" in printed


@pytest.mark.parametrize("name", ["known_faces", "refinement"])
def test_scripts_take_the_faces_folder_for_all_that_belongs_to_them(name):
    script = _script(name)
    given = (pathlib.Path("faces"), pathlib.Path(""), 0) if name == "refinement" else (pathlib.Path("faces"),)
    config = script.config_of(*given)
    roots = {field: config.data[f"{field}_root"] for field in ("image", "mask", "depth", "latent")}
    assert roots == {"image": "faces/image", "mask": "faces/mask", "depth": "faces/depth", "latent": "faces/latents"}
