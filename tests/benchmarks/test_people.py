"""Photographs of people: what is cut from them, and how a face's depth is moved into a wider frame."""

import argparse
import importlib
import pathlib
import sys

import numpy as np
import pytest

from gan2shape_jax.detection.detector import SURE
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop

_BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(_BENCHMARKS / "people")
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in ("portraits", "wider")})
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
