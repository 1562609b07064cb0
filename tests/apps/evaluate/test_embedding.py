"""ONNX networks as embeddings: a network written here, against what it computes, and files that cannot be used."""

import sys

import numpy as np
import pytest
from helpers.onnx_network import write_network

from gan2shape_jax.apps.evaluate.embedding import Preparation, cosine, load_embedding, prepare
from gan2shape_jax.errors import UserError


@pytest.fixture
def pictures():
    return np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", [("n", 3, 8, 8), (2, 3, 8, 8), ("n", 8, 8, 3), (1, 8, 8, 3)])
def test_layout_size_and_batch_are_read_from_the_network(shape, tmp_path, pictures):
    embed = load_embedding(write_network(tmp_path / "f.onnx", shape))
    np.testing.assert_allclose(embed(pictures), pictures.mean(axis=(1, 2)), atol=0.005)  # pictures pass through 8 bits


def test_options_decide_where_the_network_leaves_it_open(tmp_path, pictures):
    path = write_network(tmp_path / "f.onnx", ("n", 3, "h", "w"))
    with pytest.raises(UserError, match="--size"):
        load_embedding(path)
    embed = load_embedding(path, Preparation(size=8, mean=0.0, std=255.0, bgr=True))
    np.testing.assert_allclose(embed(pictures), pictures.mean(axis=(1, 2))[:, ::-1] / 2 + 0.5, atol=0.005)


def test_preparation_crops_the_centre_and_averages_it():
    picture = -np.ones((1, 8, 8, 3), np.float32)
    picture[:, 2:6, 2:6] = 1
    kept = prepare(picture, Preparation(size=4, crop=0.5))
    np.testing.assert_allclose(kept, 1, atol=1e-6)
    whole = prepare(picture, Preparation(size=2))
    assert whole.shape == (1, 2, 2, 3) and np.ptp(whole) < 0.02


def test_cosine():
    first = np.array([[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(cosine(first, np.array([[5.0, 0.0]])), [1, 1, -1, np.sqrt(0.5)])


@pytest.mark.parametrize(
    "shape, options, network, message",
    [
        (("n", 1, 8, 8), {}, {}, "does not tell where the colours are"),
        (("n", 3, 8, 3), {}, {}, "does not tell where the colours are"),
        (("n", 8, 8, 3), {"layout": "nchw"}, {}, "--layout nchw does not fit"),
        (("n", 3, 8, 6), {}, {}, "6 x 8 pixels: square ones"),
        (("n", 3, 8, 8), {"size": 16}, {}, "--size 16 does not fit"),
        (("n", 3, 8, 8), {}, {"inputs": 2}, "one batch of pictures"),
    ],
)
def test_networks_that_do_not_fit_are_refused(shape, options, network, message, tmp_path):
    path = write_network(tmp_path / "f.onnx", shape, **network)
    with pytest.raises(UserError, match=message):
        load_embedding(path, Preparation(**options))


@pytest.mark.parametrize("output, message", [("nan", "not finite"), ("sum", "a vector each")])
def test_what_is_no_vector_is_refused(output, message, tmp_path, pictures):
    embed = load_embedding(write_network(tmp_path / "f.onnx", ("n", 3, 8, 8), output=output))
    with pytest.raises(UserError, match=message):
        embed(-np.abs(pictures))


def test_absent_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match="absent.onnx does not exist"):
        load_embedding(tmp_path / "absent.onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "f.onnx").write_bytes(b"no network at all")
    with pytest.raises(UserError, match="no usable ONNX network"):
        load_embedding(tmp_path / "f.onnx")


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "f.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"gan2shape-jax\[identity\]"):
        load_embedding(tmp_path / "f.onnx")
