"""Rendered cars: the same from their numbers, none in two splits, their own mirror images, with one surface's truth."""

import argparse
import importlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.config import load_config
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera, rotation_matrix
from gan2shape_jax.io.arrays import load_mvn
from gan2shape_jax.io.data import load_item

_CARS = pathlib.Path(__file__).parents[2] / "benchmarks" / "cars"
_there = pytest.mark.skipif(not (_CARS / "data").is_dir(), reason="benchmarks/cars/data is not in the distribution")
_NAMES = ("chance", "folders", "photograph", "shape", "cars", "drawing", "render")


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(_CARS)
    monkeypatch.syspath_prepend(_CARS.parent / "studio")
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in _NAMES})
    for name in _NAMES:
        sys.modules.pop(name)


def _described(scripts, numbers, split="train"):
    options = argparse.Namespace(seed=0, split=split, yaw=45.0, pictures=1)
    return scripts.render.described(numbers, options)


def test_a_car_is_told_by_its_number_and_no_split_has_anothers(scripts):
    observed = {}
    for split in scripts.chance.SPLITS:
        cars, scenes = _described(scripts, list(range(4)), split)
        assert len({row.tobytes() for row in scenes["view"]}) == 4
        observed[split] = {row.tobytes() for row in np.stack([cars["long"], cars["wide"], cars["cowl"]], 1)}
    assert len(set.union(*observed.values())) == 12
    again, _ = _described(scripts, [2], "test")
    assert np.stack([again["long"], again["wide"], again["cowl"]], 1)[0].tobytes() in observed["test"]


def test_a_cars_mesh_is_its_own_mirror_image_of_the_size_of_cars(scripts):
    cars, _ = _described(scripts, list(range(32)))
    mesh = jax.jit(lambda car: scripts.shape.mesh(car)[:2])
    for number in range(32):
        points, normals = map(np.asarray, mesh({key: value[number] for key, value in cars.items()}))
        np.testing.assert_allclose(points[scripts.shape.OPPOSITE] * [-1, 1, 1], points, atol=1e-6)
        assert np.ptp(points[:, 2]) == pytest.approx(cars["long"][number], abs=0.02)
        assert 3.3 < cars["long"][number] < 5.5 and 1.6 <= cars["wide"][number] <= 2.06
        assert points[:, 1].min() == pytest.approx(0, abs=1e-3)  # it stands on its wheels
        assert 1.2 < points[:, 1].max() < 2.15
        low = points[points[:, 1] < 0.05, 0]  # the tyres
        assert low.max() == pytest.approx(cars["wide"][number] / 2, abs=0.1) and np.abs(low).min() > 0.5
        assert ((normals * (points - [0, 0.6, 0])).sum(-1) > 0).mean() > 0.8  # outwards, but for arches and wheels


def test_the_views_three_angles_are_a_turn_on_the_road_seen_from_above(scripts):
    angles = scripts.cars.view_of(*np.radians([45.0, 15.0, 0.0]))
    turn = np.asarray(rotation_matrix(jnp.asarray(angles)))
    upright = turn @ [0, -1, 0]  # of the car, in the picture
    np.testing.assert_allclose(upright, [0, -np.cos(np.radians(15)), -np.sin(np.radians(15))], atol=1e-6)
    assert np.degrees(scripts.cars.view_of(*np.radians([30.0, 0, 0]))) == pytest.approx([0, 30, 0])


@_there
def test_the_committed_cars_are_what_a_run_takes(scripts, tmp_path):
    rows = set()
    for split in ("validation", "test"):
        truth = scripts.folders.load(_CARS / "data" / split)
        assert truth["image"].shape == (64, 64, 64, 3) and all(len(values) == 64 for values in truth.values())
        rows |= {row.tobytes() for row in truth["albedo"]}
        assert np.abs(np.degrees(truth["view"][:, 1])).max() < 46
        inside = truth["depth"][truth["mask"]]
        assert 0.9 < inside.min() < 0.95 and 1.05 < inside.max() < 1.1  # what the method's camera sees
        assert not truth["mask"][:, :, [0, -1]].any()  # no car is cut off
        # Depth, normals and mask are of one surface.
        depth = np.where(truth["mask"], truth["depth"], 1.3).astype(np.float32)
        normal = np.asarray(lighting.normals(jnp.asarray(depth), Camera(image_size=64)))
        assert np.median((normal * truth["normal"]).sum(-1)[truth["mask"]]) > 0.95
    assert len(rows) == 128
    scripts.folders.unpack(_CARS / "data/test", tmp_path)
    config = load_config("ictface:predict").unlock()
    for root in ("image", "mask", "depth"):
        config.data[f"{root}_root"] = str(tmp_path / root)
    item = load_item(config, (tmp_path / "list.txt").read_text().split()[5])
    np.testing.assert_array_equal(item.mask > 0.5, truth["mask"][5])
    np.testing.assert_allclose(item.depth[truth["mask"][5]], truth["depth"][5][truth["mask"][5]])


@pytest.mark.heavy
def test_a_picture_is_the_same_whatever_is_drawn_with_it(scripts, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.render, "_BATCH", {64: 2})
    usual = ["--split", "test", "--supersample", "1"]
    scripts.render.main([*usual, "--count", "3", "--out", str(tmp_path / "three")])
    scripts.render.main([*usual, "--count", "2", "--out", str(tmp_path / "two")])
    for kind, name in (("image", "000001.png"), ("depth", "000001.npy"), ("maps", "000001.npz")):
        assert (tmp_path / "three" / kind / name).read_bytes() == (tmp_path / "two" / kind / name).read_bytes()
    assert np.asarray(Image.open(tmp_path / "two/mask/000001.png")).any()
    mean, covariance = load_mvn(tmp_path / "three/view_mvn.npz", 6)
    with np.load(tmp_path / "three/truth.npz") as truth:
        np.testing.assert_allclose(mean[1] * 60, np.degrees(truth["view"][:, 1]).mean(), rtol=1e-5)
        np.testing.assert_allclose(covariance[1, 1] * 3600, np.degrees(truth["view"][:, 1]).var(ddof=1), rtol=1e-4)
    assert load_mvn(tmp_path / "three/light_mvn.npz", 4)[0].shape == (4,)
