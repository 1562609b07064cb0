"""Photographs of people: what is cut from them, and how a GAN of them is judged."""

import argparse
import importlib
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

import gan2shape_jax
from gan2shape_jax.detection.detector import SURE
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop

_BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    names = dict.fromkeys(("portraits", "fairness", "weighted", "side_light", "wider"), "people") | {
        "samples": "quality"
    }
    for folder in names.values():
        monkeypatch.syspath_prepend(_BENCHMARKS / folder)
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    for name, module in list(sys.modules.items()):  # scripts of other folders have the same names
        if str(getattr(module, "__file__", None)).startswith(str(_BENCHMARKS)):
            sys.modules.pop(name)


def _finding(*scores):
    found = [argparse.Namespace(score=score, box=CropBox(49.5, 49.5, 60)) for score in scores]
    return argparse.Namespace(detect=lambda picture: found)


def test_a_portrait_is_one_face_in_colour(scripts):
    picture = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    assert scripts.portraits.cut(picture, _finding(SURE)).shape == (128, 128, 3)
    assert scripts.portraits.cut(picture, _finding(SURE, SURE / 2)) is not None
    assert scripts.portraits.cut(picture, _finding()) is None
    assert scripts.portraits.cut(picture, _finding(SURE, SURE)) is None
    wide = scripts.portraits.cut(picture, _finding(SURE), frame=1.6)
    np.testing.assert_array_equal(wide, sample_crop(picture, CropBox(49.5, 49.5, 96), 128))
    grey = np.repeat(picture[..., :1], 3, axis=-1)
    assert scripts.portraits.cut(grey, _finding(SURE)) is None


def test_skin_tone_is_that_of_the_cheeks(scripts, monkeypatch):
    marks = np.array([[20, 24], [44, 24], [32, 36], [24, 46], [40, 46]], np.float32)
    monkeypatch.setattr(scripts.fairness.faces, "landmarks_in", lambda picture: marks)
    picture = np.zeros((64, 64, 3), np.uint8)
    for x in (22, 42):  # between an eye and a corner of the mouth
        picture[33:40, x - 3 : x + 4] = 232, 190, 172  # L* 80.1, b* 14.7: atan(30.1 / 14.7)
    assert scripts.fairness.skin_tone(picture) == pytest.approx(64.0, abs=0.5)
    marks[0] = np.nan
    assert np.isnan(scripts.fairness.skin_tone(picture))


def test_asymmetry_is_of_the_texels_that_count(scripts):
    colours = np.full((4, 4, 3), 0.25)
    colours[:, :2] = 0.5
    assert scripts.side_light.asymmetry(colours, np.ones((4, 4))) == pytest.approx(2 / 3, abs=1e-6)
    colours[0] = 1.0
    assert scripts.side_light.asymmetry(colours, np.eye(4)[[3]].T @ np.ones((1, 4))) == pytest.approx(2 / 3, abs=1e-6)
    assert scripts.side_light.asymmetry(colours[:, ::-1], np.ones((4, 4))) < 0


def test_a_body_has_round_rows_and_flat_shoulders(scripts):
    outline = np.zeros((64, 64))
    outline[4:44, 20:44], outline[52:, 4:60] = 1.0, 1.0  # a head 24 wide, no neck, shoulders 56 wide
    depth = scripts.wider.body(outline, 0.003)
    np.testing.assert_array_equal(depth, depth[:, ::-1])
    np.testing.assert_allclose(depth[24, 31], 1.02 - 12 * 0.003, atol=1e-3)
    np.testing.assert_allclose(depth[60, 31], 1.02 - 0.75 * 12 * 0.003, atol=1e-3)
    np.testing.assert_allclose(depth[24, [8, 56]], 1.02, atol=1e-6)
    assert (np.diff(depth[24, 32:44]) > 0).all()


def test_what_is_around_a_face_goes_on_from_it(scripts):
    along = np.linspace(-1, 1, 32)
    known = (np.abs(along) < 0.4)[:, None] & (np.abs(along) < 0.4)
    onwards = scripts.wider.extension(known)
    plane = 1 + along[:, None] + 0 * along  # harmonic, but zero at the frame's edge
    went = (onwards @ plane[known]).reshape(32, 32)
    np.testing.assert_allclose(went[known], plane[known], rtol=1e-5)
    assert not went[[0, -1]].any() and not went[:, [0, -1]].any()
    inner = went[1:-1, 1:-1]
    mean = (went[2:, 1:-1] + went[:-2, 1:-1] + went[1:-1, 2:] + went[1:-1, :-2]) / 4
    np.testing.assert_allclose(inner[~known[1:-1, 1:-1]], mean[~known[1:-1, 1:-1]], atol=1e-5)


def test_a_narrow_face_is_smaller_and_flatter_in_a_wide_frame(scripts):
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    mask = (x**2 + y**2 < 0.8).astype(np.float32)
    around = np.full((64, 64), 1.02, np.float32)
    narrow = (0.95 + 0.04 * (x**2 + y**2)).astype(np.float32)
    wide = np.asarray(scripts.wider.moved_depth(mask, around)(narrow[None]))[0]
    np.testing.assert_allclose(wide[32, 32], 1 - 0.05 / 1.6, atol=1e-4)
    np.testing.assert_allclose(wide[32, 40], 1 + (0.95 + 0.04 * (1.6 * x[32, 40]) ** 2 - 1) / 1.6, atol=1e-3)
    np.testing.assert_allclose(wide[0], wide[0, 0], rtol=1e-6)  # around it, all has moved along
    assert wide[0, 0] < 1.02


def test_rare_portraits_are_there_more_often_and_no_copy_is_equal(scripts, tmp_path, monkeypatch):
    marks = np.array([[20, 24], [44, 24], [32, 36], [24, 46], [40, 46]], np.float32)
    monkeypatch.setattr(scripts.weighted.faces, "landmarks_in", lambda picture: marks)
    for number, (skin, mouth) in enumerate([(190, 190), (190, 250), (60, 250), (190, 240)]):
        picture = np.full((64, 64, 3), (skin, skin * 0.8, skin * 0.7), np.uint8)
        picture[46:48, 26:38] = mouth  # teeth; the first is without
        (folder := tmp_path / "portraits").mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    (tmp_path / "heads").mkdir()
    Image.fromarray(picture).save(tmp_path / "heads" / "0.png")
    assert scripts.weighted.teeth(picture) > 5
    monkeypatch.setattr(sys, "argv", ["weighted.py", *(str(tmp_path / name) for name in ("portraits", "heads", "out"))])
    scripts.weighted.main()
    written = sorted((tmp_path / "out").iterdir())
    counts = [sum(path.name.startswith(f"portrait_{number}_") for path in written) for number in range(4)]
    assert counts == [4, 1, 3, 1] and sum(path.name.startswith("head_0_") for path in written) == 2
    pictures = [np.asarray(Image.open(path)) for path in written[2:6]]
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_the_nearest_picture_and_contrasts_are_what_they_say(scripts, tmp_path):
    seen = np.random.default_rng(1).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)
    away, which = scripts.samples.nearest(seen[[3, 1]] + 0.2, seen)
    np.testing.assert_allclose(away, 0.1, rtol=1e-5)  # half, as differences are told on [0, 1]
    assert which.tolist() == [3, 1]
    flat = np.broadcast_to(np.median(seen, axis=(1, 2), keepdims=True), seen.shape)
    np.testing.assert_allclose(scripts.samples.in_contrasts(flat, seen), 1, rtol=1e-5)
    assert not scripts.samples.in_contrasts(seen, seen).any()
    Image.fromarray(np.full((16, 16, 3), 255, np.uint8)).save(tmp_path / "0.jpg")
    assert scripts.samples.pictures(tmp_path, 8).shape == (1, 8, 8, 3)


@pytest.mark.heavy
def test_an_inversion_comes_near_to_what_the_gan_itself_draws(scripts, monkeypatch):
    monkeypatch.setattr(scripts.samples, "_STEPS", 20)
    gan = gan2shape_jax.load_gan("ictface")
    targets = gan.sample(0, 2, truncation=0.5)[0].astype(np.float32) / 127.5 - 1
    start = scripts.samples.in_contrasts(np.asarray(gan.apply(gan.mean_latent[None])), targets)
    assert (scripts.samples.in_contrasts(scripts.samples.inverted(gan, targets), targets) < 0.6 * start).all()
