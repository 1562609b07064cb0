"""What shapes are worth without true depth: measures, a photo draped over them, tables, the command, refusals."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from helpers.plain_result import plain_result
from helpers.tiny import tiny_config

from gan2shape_jax.apps.evaluate import consistency
from gan2shape_jax.apps.evaluate.command import main
from gan2shape_jax.apps.evaluate.consistency import Pictures, common_errors, drape
from gan2shape_jax.apps.evaluate.reports import find_runs
from gan2shape_jax.config import to_json
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.io import data
from gan2shape_jax.main import main as program
from gan2shape_jax.results import load, save_result
from gan2shape_jax.results.views import rough_views

SIDE = 32


def _bump(height, centre=0.0):
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    return (1.02 - height * np.clip(1 - (x - centre) ** 2 - y**2, 0, None)).astype(np.float32)


def _save(root, config, shapes, truth=None):
    """Writes a run of the bundled faces with these shapes."""
    for name, depth in shapes.items():
        item = data.load_item(config, f"{name}.png")
        arguments = dict.fromkeys(("signed_image", "signed_albedo", "canonical", "reconstruction"), item.image)
        arguments |= {"mask": item.mask, "input_mask": item.mask, "depth": depth, "input_depth": depth}
        light = np.array([0.5, 0.5, 0, 0])
        result = plain_result(name, SIDE, **arguments, light=light, true_depth=truth, category="ictface")
        save_result(result, root / "results" / name)
    (root / "config.json").write_text(to_json(config))
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on two faces, with different bumps; the second's true depth is known."""
    folder = tmp_path_factory.mktemp("consistency")
    config = tiny_config(folder).unlock()
    config.data.image_list = str(folder / "list.txt")
    (folder / "list.txt").write_text("001.png\n005.png\n")
    config.lock()
    truth = np.where(_bump(1) < 1.02, _bump(0.09), 1.1)
    first = _save(folder / "a", config, {"001": _bump(0.08), "005": _bump(0.05)}, truth)
    second = _save(folder / "b", config, {"001": _bump(0.03), "005": _bump(0.05)}, truth)
    return first, second


def test_the_distance_of_shapes_is_blind_to_scale_and_counts_where_both_show_a_surface():
    camera, everywhere = Camera(SIDE), np.ones((SIDE, SIDE), np.float32)
    depth = _bump(0.08)
    assert consistency.apart(depth, depth * np.float32(0.98), everywhere, camera) < 1e-6
    near = consistency.apart(depth, _bump(0.07), everywhere, camera)
    far = consistency.apart(depth, _bump(0.02), everywhere, camera)
    assert 0.001 < near < 0.5 * far
    assert np.isnan(consistency.apart(depth, depth, 0 * everywhere, camera))


def test_holes_take_the_depth_beside_them_and_are_told():
    camera = Camera(SIDE)
    depth = _bump(0.08)
    depth[20:30, 10:20] = camera.background_depth
    whole, shown = consistency.without_holes(depth, camera)
    assert whole.max() < camera.background_depth and shown.sum() == SIDE**2 - 100
    np.testing.assert_array_equal(whole[shown > 0], depth[shown > 0])
    whole, shown = consistency.without_holes(np.full_like(depth, camera.background_depth), camera)
    assert np.isfinite(whole).all() and shown.sum() == 0


@pytest.mark.heavy
def test_shapes_of_runs_and_baselines_are_measured_on_pictures_of_all(runs, monkeypatch, donating):
    monkeypatch.setattr(consistency, "ENCODER_ITERATIONS", 2)
    monkeypatch.setattr(consistency, "ITERATIONS", 3)
    found_runs = find_runs(runs)
    subject = consistency.subject_of(found_runs)
    results = {run.label: load(run.images["001"]) for run in found_runs}
    another = load(found_runs[0].images["005"])
    first, again = (consistency.measure("001", results, another, subject) for _ in range(2))
    assert list(first) == ["a", "b", *consistency.BASELINES]
    assert all(0 < figures["unseen_error"] < 2 for figures in first.values())
    assert first["a"]["apart"] == pytest.approx(first["b"]["apart"]) and first["a"]["apart"] > 0.005
    assert first["a"]["side"] < first["b"]["side"]
    assert again == first  # nothing is drawn twice


@pytest.mark.heavy
def test_the_command_writes_tables_and_goes_on_after_an_image_that_is_gone(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(consistency, "pictures_of", _drawn_by_nobody)
    monkeypatch.setattr(consistency, "ITERATIONS", 2)
    list_file = runs[0].parent / "list.txt"
    before = list_file.read_text()
    list_file.write_text("001.png\n")
    try:
        assert main(["consistency", *map(str, runs), "--out", str(tmp_path / "out")]) == 1
    finally:
        list_file.write_text(before)
    text = capsys.readouterr().out
    assert "Left out" in text and "does not name 005 any more" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "consistency.csv").read_text())))
    assert {row["shape"] for row in rows} == {"a", "b", *consistency.BASELINES}
    assert (tmp_path / "out" / "consistency.md").read_text().strip() == text.strip()
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["runs"]) == 2


def _drawn_by_nobody(shapes, light, prepared, frozen, *, batches):
    image = np.asarray(prepared.example.image)
    return consistency.Pictures(np.repeat(image, 2, axis=0), np.zeros((2, 6), np.float32))


def _measured(error):
    """Figures of a run called mine, of the ellipsoid and the plane, whose errors are 0.1 and 0.12."""
    errors = {"mine": error, "(ellipsoid)": 0.1, "(flat)": 0.12}
    return {shape: {"unseen_error": value} for shape, value in errors.items()}


def _report(*arguments):
    return "\n".join(consistency.report(*arguments))


def test_the_report_says_what_is_below_the_ellipsoid():
    text = _report({"a": _measured(0.08), "b": _measured(0.11)}, {"c": "gone | away"})
    assert "| mine | 2 |" in text and "| 5% | 1 of 2 |" in text  # 20% below and 10% above
    assert "gone \\| away" in text
    assert sum(line.startswith("| --- |") for line in text.splitlines()) == 2  # else no table is one
    assert "no image was measured" in _report({}, {"c": "gone"})


def test_runs_that_cannot_be_compared_are_refused(runs, tmp_path, capsys):
    config = tiny_config(runs[0].parent).unlock()
    config.camera.fov_deg = 20.0
    other = _save(tmp_path / "other", config.lock(), {"001": _bump(0.05)})
    assert main(["consistency", str(runs[0]), str(other)]) == 1
    assert "differs from a in config.camera" in capsys.readouterr().err
    apart = _save(tmp_path / "apart", tiny_config(runs[0].parent), {"006": _bump(0.05)})
    assert program(["evaluate", "consistency", str(runs[0]), str(apart)]) == 1
    assert "no image in common" in capsys.readouterr().err
    (apart / "config.json").unlink()
    assert main(["consistency", str(apart)]) == 1
    assert "has no config.json" in capsys.readouterr().err


@pytest.mark.heavy
def test_an_object_that_no_shape_shows_is_told_and_latents_of_the_run_are_left_alone(runs, monkeypatch, tmp_path):
    monkeypatch.setattr(consistency, "pictures_of", _drawn_by_nobody)
    monkeypatch.setattr(consistency, "ITERATIONS", 1)
    (run,) = find_runs(runs[:1])
    subject = consistency.subject_of([run])
    config = subject.plan.config.copy_and_resolve_references().unlock()
    config.data.latent_root = ""
    kept = tmp_path / "001.npy"
    np.save(kept, np.zeros((1, subject.architecture.style_dim), np.float32))
    plan = dataclasses.replace(subject.plan, config=config.lock())
    subject = dataclasses.replace(subject, plan=plan, latents=tmp_path)
    before, result = kept.read_bytes(), load(run.images["001"])
    hidden = dataclasses.replace(result, input_depth=np.full((SIDE, SIDE), 1.2))
    with pytest.raises(UserError, match="001: no part of the object is visible on all shapes"):
        consistency.measure("001", {"a": hidden}, None, subject)
    assert kept.read_bytes() == before and list(tmp_path.iterdir()) == [kept]


def test_no_more_images_are_measured_than_are_asked_for(runs, capsys, monkeypatch):
    monkeypatch.setattr(consistency, "measure", lambda *arguments, **named: _measured(0.05))
    assert main(["consistency", str(runs[0]), "--images", "1"]) == 0
    shown = capsys.readouterr().out
    assert "| 001 |" in shown and "| 005 |" not in shown


VIEWS = np.array([[0.0, 0.35, 0, 0, 0, 0], [0.1, -0.35, 0, 0, 0, 0], [-0.3, 0.1, 0.05, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def scene():
    """A bump with a smooth pattern on it, and what it looks like from three sides."""
    y, x = np.mgrid[:SIDE, :SIDE]
    photo = np.stack([np.sin(x / 3), np.cos(y / 3), np.sin((x + y) / 4)], axis=-1).astype(np.float32) * 0.7
    result = plain_result(side=SIDE, signed_image=photo, light=np.array([0.5, 0.5, 0.0, 0.0], np.float32))
    canonical = np.broadcast_to(photo, (len(VIEWS), *photo.shape))
    return result, np.asarray(rough_views(_bump(0.08), canonical, VIEWS, camera=result.camera, sampling="centred"))


def test_the_right_shape_leaves_the_least_error(scene):
    result, images = scene
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[4:-4, 4:-4] = 1
    shapes = _bump(0.08), np.ones((SIDE, SIDE), np.float32), _bump(-0.08)
    draped = [drape(depth, mask, Pictures(images, VIEWS), result, iterations=20) for depth in shapes]
    right, flat, hollow = common_errors(draped, images).mean(1)
    assert right < 0.5 * flat < 0.5 * hollow


def test_a_view_that_is_off_is_found(scene):
    result, images = scene
    off = Pictures(images, VIEWS + np.array([0.0, 0.12, 0, 0, 0, 0], np.float32))
    runs = drape(_bump(0.08), np.ones((SIDE, SIDE), np.float32), off, result)
    np.testing.assert_allclose(runs.views[:, :2], VIEWS[:, :2], atol=0.03)


def test_errors_are_counted_where_every_shape_shows_the_object(scene):
    result, images = scene
    left, nowhere = np.zeros((2, SIDE, SIDE), np.float32)
    left[:, : SIDE // 2] = 1
    masks = left, np.ones((SIDE, SIDE), np.float32), nowhere
    draped = [drape(_bump(0.08), mask, Pictures(images, VIEWS), result, iterations=1) for mask in masks]
    changed = images.copy()
    changed[:, :, -4:] = -changed[:, :, -4:]  # nothing of the left half is ever seen so far to the right
    np.testing.assert_allclose(common_errors(draped[:2], changed), common_errors(draped[:2], images), rtol=1e-6)
    assert np.isnan(common_errors(draped[2:], images)).all()
