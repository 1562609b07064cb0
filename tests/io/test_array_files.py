"""Reading depths, latents and statistics; unusable files are refused by name and never run."""

import warnings

import numpy as np
import pytest
from helpers import hostile_arrays

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import data

_RNG = np.random.default_rng(0)


# Depths


@pytest.mark.parametrize(
    "depth, message",
    [
        (np.ones((32, 32), np.float32), r"shape \(32, 32\): \(64, 64\)"),
        (np.ones((64, 64, 1), np.float32), "shape"),
        (np.full((64, 64), np.nan, np.float32), "not finite"),
        (np.full((64, 64), "a"), "instead of numbers"),
        (np.zeros((64, 64), np.float32), "shows no object: all of it is background, 0 or from 1.1 on"),
        (np.full((64, 64), 3.0, np.float32), "shows no object"),
        (np.full((64, 64), None), "no usable .npy"),
    ],
)
def test_unusable_depth_is_refused_by_name(depth, message, tmp_path):
    np.save(tmp_path / "d.npy", depth)
    with pytest.raises(UserError, match=message) as caught:
        data.load_depth(tmp_path / "d.npy", 64, None, 0.9, 1.1)
    assert "d.npy" in str(caught.value)


# Latents and statistics


@pytest.mark.parametrize("shape", [(128,), (1, 128), (1, 10, 128)])
def test_latent_shapes(shape, tmp_path):
    latent = _RNG.standard_normal(shape).astype(np.float32)
    np.save(tmp_path / "w.npy", latent)
    found = data.load_latent(tmp_path / "w.npy", 128)
    assert found.shape == (shape if len(shape) > 1 else (1, 128))
    np.testing.assert_array_equal(found.reshape(shape), latent)


@pytest.mark.parametrize(
    "latent, message",
    [
        (np.zeros((1, 64)), "width is 128"),
        (np.zeros((2, 128)), "width is 128"),
        (np.zeros(()), "width is 128"),
        (np.full(128, np.inf), "not finite"),
        (np.zeros(128, complex), "instead of numbers"),
        (np.full(128, 1e300), "not finite"),
        (np.full(128, 1e30), "sensible"),
    ],
)
def test_unusable_latent_is_refused_by_name(latent, message, tmp_path):
    np.save(tmp_path / "w.npy", latent)
    with pytest.raises(UserError, match=message) as caught:
        data.load_latent(tmp_path / "w.npy", 128)
    assert "w.npy" in str(caught.value)


def test_torch_latents_and_statistics(tmp_path):
    torch = pytest.importorskip("torch")
    w = torch.randn(1, 16)
    for content in (w, w[0], {"latent": w}):
        torch.save(content, tmp_path / "w.pt")
        np.testing.assert_array_equal(data.load_latent(tmp_path / "w.pt", 16), w.numpy())
    torch.save({"w": w}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="without the entry 'latent'"):
        data.load_latent(tmp_path / "w.pt", 16)
    mean, cov = torch.zeros(6), torch.eye(6)
    torch.save({"mean": mean, "cov": cov}, tmp_path / "v.pth")
    found = data.load_mvn(tmp_path / "v.pth", 6)
    np.testing.assert_array_equal(found[0], mean.numpy())
    np.testing.assert_array_equal(found[1], cov.numpy())


@pytest.mark.parametrize(
    "mean, cov, message",
    [
        (np.zeros(5), np.eye(5), "mean of length 6"),
        (np.zeros(6), np.eye(5), "covariance of"),
        (np.zeros(6), -np.eye(6), "positive semi-definite"),
        (np.zeros(6), np.triu(np.ones((6, 6))), "symmetric"),
        (np.full(6, np.nan), np.eye(6), "not finite"),
        (None, np.eye(6), "has to hold 'mean' and 'cov'"),
    ],
)
def test_unusable_statistics_are_refused_by_name(mean, cov, message, tmp_path):
    np.savez(tmp_path / "v.npz", cov=cov, **({} if mean is None else {"mean": mean}))
    with pytest.raises(UserError, match=message) as caught:
        data.load_mvn(tmp_path / "v.npz", 6)
    assert "v.npz" in str(caught.value)


def test_files_made_to_do_harm_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readers = {
        "w.npy": (hostile_arrays.npy_files(), lambda path: data.load_latent(path, 512)),
        "d.npy": (hostile_arrays.npy_files(), lambda path: data.load_depth(path, 64, None, 0.9, 1.1)),
        "v.npz": (hostile_arrays.npz_files(), lambda path: data.load_mvn(path, 6)),
    }
    for name, (files, read) in readers.items():
        for what, content in files.items():
            (tmp_path / name).write_bytes(content)
            with warnings.catch_warnings(), pytest.raises(UserError, match=name) as caught:
                warnings.simplefilter("error")
                read(tmp_path / name)
            assert len(str(caught.value)) < 700, what
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", ">i8", "|u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_order_of_bytes_and_axes_is_read_as_numpy_reads_it(dtype, order, tmp_path):
    array = np.asarray(np.arange(64).reshape(8, 8) + 1, dtype, order=order)
    np.save(tmp_path / "d.npy", array)
    np.testing.assert_array_equal(data.load_depth(tmp_path / "d.npy", 8, None, 0.9, 100), array)


def test_a_torch_latent_that_is_no_array_is_refused_by_name(tmp_path):
    torch = pytest.importorskip("torch")
    for content in ([[1.0, 2.0], [3.0]], "text", None, {}, [10**400] * 4, [1j] * 4, [True] * 4, ["1", "2", "3", "4"]):
        torch.save({"latent": content, "mean": content, "cov": content}, tmp_path / "w.pt")
        for read in (lambda path: data.load_latent(path, 4), data.load_mvn):
            with pytest.raises(UserError, match=r"w\.pt"):
                read(tmp_path / "w.pt")
