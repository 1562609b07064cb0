"""ONNX networks as embeddings: a network written here, against what it computes, and files that cannot be used."""

import pathlib
import sys

import numpy as np
import pytest
from helpers.onnx_network import write_network

from gan2shape_jax.apps.evaluate import embedding
from gan2shape_jax.apps.evaluate.embedding import Preparation, load_embedding, prepare
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.files import MIB


@pytest.fixture
def pictures():
    return np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)


def test_pictures_are_given_as_the_network_takes_them(tmp_path, pictures):
    """Other batches, layouts and colours than usual; the usual ones are test_train_gan's."""
    other = Preparation(size=8, mean=0.0, std=255.0, bgr=True)
    embed = load_embedding(write_network(tmp_path / "f.onnx", (2, "h", "w", 3)), other)
    expected = pictures.mean(axis=(1, 2))[:, ::-1] / 2 + 0.5
    np.testing.assert_allclose(embed(pictures), expected, atol=0.005)  # they pass through 8 bits


def test_batch_layout_and_size_are_read_from_the_network_or_the_options():
    for shape, options, expected in (
        (["n", 3, 8, 8], {}, (0, "nchw", 8)),
        ([1, 8, 8, 3], {}, (1, "nhwc", 8)),
        ([0, 3, "h", None], {"size": 9}, (0, "nchw", 9)),
        (["n", "c", 8, "w"], {"layout": "nchw"}, (0, "nchw", 8)),
    ):
        assert embedding._layout(shape, Preparation(**options), pathlib.Path("f.onnx")) == expected
    for shape, options, message in (
        (["n", 1, 8, 8], {}, "does not tell where the colours are"),
        (["n", 8, 8, 3], {"layout": "nchw"}, "--layout nchw do not fit"),
        (["n", 3, 8, 6], {}, "square pictures of 8 pixels"),
        (["n", 3, 8, 8], {"size": 16}, "square pictures of 16 pixels"),
        (["n", 3, "h", "w"], {}, "--size"),
        (["n", 3, 2000, 2000], {}, "at most 1024"),
    ):
        with pytest.raises(UserError, match=message):
            embedding._layout(shape, Preparation(**options), pathlib.Path("f.onnx"))


def test_preparation_crops_the_centre_and_averages_it():
    picture = -np.ones((1, 8, 8, 3), np.float32)
    picture[:, 2:6, 2:6] = 1
    kept = prepare(picture, Preparation(size=4, crop=0.5))
    np.testing.assert_allclose(kept, 1, atol=1e-6)
    whole = prepare(picture, Preparation(size=2))
    assert whole.shape == (1, 2, 2, 3) and np.ptp(whole) < 0.02


def test_what_is_no_vector_is_refused():
    for output, message in (
        (np.full((5, 3), np.nan), "not finite"),
        (np.zeros((5, 3)), "zero"),
        (np.ones((5, 1)), "a vector each"),
        (np.ones((4, 3)), "a vector each"),
    ):
        with pytest.raises(UserError, match=message):
            embedding._vectors(output, 5, pathlib.Path("f.onnx"))


def test_files_that_are_absent_cut_short_or_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="absent.onnx does not exist"):
        load_embedding(tmp_path / "absent.onnx")
    path = write_network(tmp_path / "f.onnx", ("n", 3, 8, 8), inputs=2)
    with pytest.raises(UserError, match="one batch of pictures"):
        load_embedding(path)
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(UserError, match="f.onnx cannot be read"):
        load_embedding(path)


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "f.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"gan2shape-jax\[identity\]"):
        load_embedding(tmp_path / "f.onnx")


def test_a_network_is_opened_within_memory_and_time(tmp_path, monkeypatch):
    def limited(*given, memory, seconds, source):
        assert memory < 1100 * MIB and seconds == 300
        raise UserError(f"{source} takes more")

    monkeypatch.setattr(embedding, "run_limited", limited)
    with pytest.raises(UserError, match="f.onnx takes more"):
        load_embedding(write_network(tmp_path / "f.onnx", (2, 3, 8, 8)))
