"""Detector of faces: scenes say where their faces are, outputs mean what OpenCV reads, training goes on from a file."""

import argparse
import importlib
import pathlib
import sys

import cv2
import jax
import numpy as np
import pytest

_BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
_USUAL = np.array([[0.34, 0.33], [0.66, 0.33], [0.5, 0.5], [0.37, 0.67], [0.63, 0.67]])
_COLOURS = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)])
_NAMES = ("sources", "people", "drawing", "render", "chance", "folders", "photograph", "verdicts", "portraits")
_NAMES += ("scenes", "network", "train")


@pytest.fixture
def scripts(monkeypatch):
    for folder in ("studio", "people", "quality", "faces", "detection"):
        monkeypatch.syspath_prepend(_BENCHMARKS / folder)
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in _NAMES})
    for name in _NAMES:
        sys.modules.pop(name, None)


def _pool():
    """Faces are grey with a dot of one colour for each landmark; nothing else has a colour."""
    picture = np.full((96, 96, 4), 128, np.uint8)
    for (x, y), colour in zip(_USUAL * 96, _COLOURS):
        cv2.circle(picture, (round(x), round(y)), 6, (*colour.tolist(), 255), -1)
    picture[..., 3] = 255
    landmarks, plain = _USUAL[None] * 96, picture[None, ..., :3]
    grey = {"pictures": np.full((1, 64, 64, 4), 90, np.uint8), "landmarks": landmarks}
    return {
        "heads": {"pictures": picture[None], "landmarks": landmarks},
        "portraits": {"pictures": plain, "landmarks": landmarks, "sides": np.array([[96, 96]])},
        "samples": {"pictures": plain, "landmarks": landmarks},
        "others": {"pictures": grey["pictures"][..., :3], "landmarks": landmarks},
        "backs": grey,
        "things": {"00000": np.full((80, 120, 3), 200, np.uint8)},
    }


def test_a_scene_is_told_by_its_number_and_knows_where_its_faces_are(scripts, monkeypatch):
    monkeypatch.setattr(scripts.scenes, "_photographed", lambda canvas, rng: canvas)
    monkeypatch.setattr(scripts.scenes, "_COVERS", ("none",))
    pool, size, seen = _pool(), 128, []
    for number in range(40):
        picture, marks = scripts.scenes.scene(pool, np.random.default_rng(number), size)
        again, same = scripts.scenes.scene(pool, np.random.default_rng(number), size)
        np.testing.assert_array_equal(picture, again)
        np.testing.assert_array_equal(marks, same)
        assert picture.shape == (size, size, 3) and marks.shape == (scripts.scenes.MOST, 5, 2)
        marks = marks[np.isfinite(marks).all((1, 2))]
        box = scripts.scenes.face_box(marks)
        if len(marks) == 1 and box[0, 2] > 40 and not scripts.scenes.hardly(box, size)[0]:
            colours = [0, 1, 2, 3, 4] if marks[0, 0, 0] < marks[0, 1, 0] else [1, 0, 2, 4, 3]
            for (x, y), colour in zip(marks[0], _COLOURS[colours]):
                if 0 <= min(x, y) and max(x, y) < size:
                    shown = picture[int(y), int(x)].astype(int)
                    seen.append(np.abs(shown - colour).max() < 60 or np.abs(shown - _swapped(colour)).max() < 60)
    assert len(seen) > 20 and np.mean(seen) > 0.9


def _swapped(colour):
    """Returns the colour of the landmark that is in its place in the mirror image."""
    number = np.flatnonzero((_COLOURS == colour).all(1))[0]
    return _COLOURS[[1, 0, 2, 4, 3][number]]


def test_places_are_taught_the_face_that_they_see(scripts):
    train, size = scripts.train, 128
    for side, stride in ((20, 8), (60, 16), (110, 32)):
        landmarks = np.full((2, 5, 2), np.nan)
        landmarks[0] = 64 + (_USUAL - 0.5) * side / 0.8
        taught = train.targets(landmarks, size)
        there, at = taught["share"] > 0, 0
        for other in scripts.network.STRIDES:
            places = scripts.network.places(size, other)
            own = slice(at, at := at + len(places))
            assert other != stride or there[own].any()
            for place, marks in zip(places[there[own]], taught["marks"][own][there[own]]):
                np.testing.assert_allclose(place + marks.reshape(5, 2), landmarks[0], atol=1e-4)
    nobody = train.targets(np.full((2, 5, 2), np.nan), size)
    assert not nobody["share"].any()
    small = np.full((2, 5, 2), np.nan)
    small[0] = 64 + (_USUAL - 0.5) * 5
    assert (train.targets(small, size)["share"] <= 0).all()


def test_the_loss_is_least_for_what_is_taught(scripts):
    train, network, size = scripts.train, scripts.network, 64
    landmarks = 32 + (_USUAL[None] - 0.5) * 30
    taught = {name: values[None] for name, values in train.targets(landmarks, size).items()}
    taught["picture"] = np.zeros((1, size, size, 3), np.uint8)
    outputs, at = {}, 0
    for stride in network.STRIDES:
        own = slice(at, at := at + (size // stride) ** 2)
        there = taught["share"][:, own, None] > 0
        box = taught["box"][:, own]
        outputs[f"cls{stride}"] = outputs[f"obj{stride}"] = np.where(there, 12.0, -12.0)
        outputs[f"bbox{stride}"] = np.concatenate([box[..., :2], np.log(box[..., 2:] / stride) * stride], -1) / stride
        outputs[f"kps{stride}"] = taught["marks"][:, own] / stride
    least = float(train.loss(outputs, taught))
    assert least < 0.01 * train._WEIGHTS["kps"] + 0.05  # distances are rounded off at a hundredth of a side
    for name in ("cls", "obj", "bbox", "kps"):
        wrong = outputs | {f"{name}{stride}": outputs[f"{name}{stride}"] + 1.0 for stride in network.STRIDES}
        wrong = {
            key: -value if key.startswith(name) and name in ("cls", "obj") else value for key, value in wrong.items()
        }
        assert float(train.loss(wrong, taught)) > least + 0.1


def test_the_file_says_what_the_network_says_and_opencv_reads_it_so(scripts, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    network, train = scripts.network, scripts.train
    params = network.initial(3)
    assert sum(values.size for values in jax.tree.leaves(params)) < 76_000
    picture = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3)).astype(np.float32)
    kept = jax.tree.map(lambda values: values + 0.1, network.unseen(params))
    outputs, _ = jax.jit(lambda picture: network.apply(params, kept, picture, taught=False))(picture)
    content = network.onnx_bytes(params, kept)
    session = onnxruntime.InferenceSession(content)
    names = [end.name for end in session.get_outputs()]
    assert sorted(names) == sorted(f"{kind}_{stride}" for kind in network.OUTPUTS for stride in network.STRIDES)
    probabilities = {
        name: 1 / (1 + np.exp(-np.asarray(values))) if name.startswith(("cls", "obj")) else np.asarray(values)
        for name, values in outputs.items()
    }
    for name, values in zip(names, session.run(None, {"input": picture.transpose(0, 3, 1, 2)})):
        np.testing.assert_allclose(values, probabilities[name.replace("_", "")], atol=1e-4)
    (tmp_path / "detector.onnx").write_bytes(content)
    found = cv2.FaceDetectorYN.create(str(tmp_path / "detector.onnx"), "", (96, 64), 1e-4, 1.0)
    row = max(found.detect(picture[0].astype(np.uint8))[1], key=lambda row: row[14])
    rows = []
    for stride in network.STRIDES:
        steps = np.stack(np.meshgrid(np.arange(96 // stride), np.arange(64 // stride)), -1).reshape(-1, 1, 2)
        own = {kind: probabilities[f"{kind}{stride}"][0] for kind in network.OUTPUTS}
        marks = (own["kps"].reshape(-1, 5, 2) + steps) * stride
        rows += zip(np.sqrt(own["cls"] * own["obj"])[:, 0], marks)
    score, marks = max(rows, key=lambda pair: pair[0])
    np.testing.assert_allclose(row[14], score, atol=1e-4)
    np.testing.assert_allclose(row[4:14].reshape(5, 2), marks, atol=1e-2)
    state = train.initial()
    (tmp_path / "state.safetensors").write_bytes(train.state_bytes(state))
    again = train.read_state(tmp_path / "state.safetensors")
    assert train.state_bytes(again) == train.state_bytes(state)
    assert jax.tree.structure(again) == jax.tree.structure(state)
