"""The distance of samples from photos: unbiased, larger for what differs, by a discriminator or a network of ONNX."""

import pathlib

import numpy as np
import pytest
from helpers.onnx_network import write_network
from helpers.tiny import asset

from gan2shape_jax.errors import UserError
from tools.train_stylegan2 import measure


def test_the_distance_of_equal_distributions_is_zero_on_average_and_grows_with_their_difference():
    rng = np.random.default_rng(0)
    alike = [measure.kernel_distance(*rng.normal(size=(2, 60, 8))) for _ in range(40)]
    assert abs(np.mean(alike)) < 3 * np.std(alike) / np.sqrt(40)
    near, far = (measure.kernel_distance(rng.normal(size=(200, 8)), rng.normal(by, size=(200, 8))) for by in (0.3, 1.0))
    assert 3 * np.std(alike) < near < far


def test_the_distance_is_that_of_its_definition():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 4)), rng.normal(0.5, size=(6, 4))

    def mean(x, y, *, same):
        values = [(p @ q / 4 + 1) ** 3 for i, p in enumerate(x) for j, q in enumerate(y) if not (same and i == j)]
        return np.mean(values)

    expected = mean(a, a, same=True) + mean(b, b, same=True) - 2 * mean(a, b, same=False)
    assert measure.kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def _pictures(count, side, seed, contrast=1.0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    return (127.5 + contrast * (coarse - 127.5)).astype(np.uint8)


@pytest.mark.parametrize("side", [64, 32])
def test_a_discriminators_features_tell_pictures_apart_at_any_size(side):
    features = measure.load_features(pathlib.Path(asset("ictface/gan.safetensors")))
    assert features.name == "discriminator distance"
    photos, same, other = (features.of(_pictures(40, side, seed, by)) for seed, by in ((0, 1.0), (1, 1.0), (2, 0.3)))
    assert photos.shape[0] == 40 and np.isfinite(photos).all()
    assert measure.kernel_distance(photos, other) > 3 * abs(measure.kernel_distance(photos, same))


def test_a_network_of_onnx_gives_kid(tmp_path):
    features = measure.load_features(write_network(tmp_path / "f.onnx", ("n", 3, 16, 16)))
    assert features.name == "KID"
    pictures = _pictures(5, 16, 0)
    np.testing.assert_allclose(features.of(pictures), pictures.mean(axis=(1, 2)) / 127.5 - 1, atol=0.01)


def test_a_network_that_does_not_say_its_side_is_asked_for(tmp_path):
    path = write_network(tmp_path / "f.onnx", ("n", 3, "h", "w"))
    with pytest.raises(UserError, match="--features-side"):
        measure.load_features(path)
    assert measure.load_features(path, side=8).of(_pictures(2, 16, 0)).shape == (2, 3)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "f.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="f.safetensors"):
        measure.load_features(tmp_path / "f.safetensors")
