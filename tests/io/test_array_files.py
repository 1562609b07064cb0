"""Reading depths, latents and statistics; unusable files are refused by name and never run."""

import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

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
    ],
)
def test_unusable_latent_is_refused_by_name(latent, message, tmp_path):
    np.save(tmp_path / "w.npy", latent)
    with pytest.raises(UserError, match=message) as caught:
        data.load_latent(tmp_path / "w.npy", 128)
    assert "w.npy" in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5)))
def test_any_array_is_a_latent_or_a_user_error(array):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "w.npy"
        np.save(path, array)
        try:
            found = data.load_latent(path, 4)
        except UserError:
            return
    assert found.shape[0] == 1 and found.shape[-1] == 4 and np.isfinite(found).all()


def test_torch_latents_and_statistics(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("gan2shape_jax.io.weights.torch_reader")
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


def test_latent_that_would_run_code_is_refused_and_does_not(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("gan2shape_jax.io.weights.torch_reader")
    trace = tmp_path / "trace"

    class Hostile:
        def __reduce__(self):
            return (pathlib.Path.touch, (trace,))

    torch.save({"latent": Hostile()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w.pt"):
        data.load_latent(tmp_path / "w.pt", 16)
    assert not trace.exists()


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
