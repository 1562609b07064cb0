"""The GAN by itself: samples, images of latents, refusals."""

import jax
import numpy as np
import pytest
from helpers.tiny import asset

import gan2shape_jax as g2s
from tools.sample_gan.__main__ import drawn


@pytest.fixture(scope="module")
def gan():
    return g2s.load_gan(asset("ictface/gan.safetensors"))


def test_samples_are_those_of_the_command(gan):
    images, latents = gan.sample(jax.random.key(3), 3, truncation=0.7)
    options = {"count": 3, "seed": 3, "truncation": 0.7, "mean_w": gan.mean_latent[None]}
    samples = drawn(gan.weights["generator"], gan.architecture, **options)
    pictures, theirs = (np.stack(each) for each in zip(*samples, strict=True))
    np.testing.assert_array_equal(images, pictures)
    np.testing.assert_allclose(latents, theirs, atol=1e-6)  # those went through the run's truncation
    assert images.dtype == np.uint8 and images.shape == (3, gan.size, gan.size, 3)
    assert latents.dtype == np.float32 and latents.shape == (3, gan.style_dim)


def test_latents_give_their_images_again(gan):
    images, latents = gan.sample(3, 3)
    every_layer = np.repeat(latents[:, None], gan.architecture.latents, axis=1)
    for same in (latents, every_layer):  # each by a program of its own: a value may be rounded otherwise
        assert np.abs(gan.synthesize(same).astype(int) - images).max() <= 1


def test_what_cannot_be_drawn_is_refused(gan):
    with pytest.raises(ValueError, match="count is 0"):
        gan.sample(0, 0)
    for truncation in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"truncation is {truncation}"):
            gan.sample(0, 1, truncation=truncation)
    with pytest.raises(ValueError, match=r"latents have the shape \(64,\): \(n, 128\) or \(n, 10, 128\) is needed"):
        gan.synthesize(np.zeros(64))
    with pytest.raises(ValueError, match="latents holds numbers that are not finite"):
        gan.synthesize(np.full((1, 128), np.nan))
    with pytest.raises(g2s.UserError, match="nowhere.safetensors: no such file; convert"):
        g2s.load_gan("nowhere.safetensors")


def test_a_gan_is_named_by_file_or_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "catface").mkdir()  # results of an earlier command, say
    assert g2s.load_gan("catface").file == asset("catface/gan.safetensors")
    (tmp_path / "ictface").write_bytes(b"a file of that name")
    with pytest.raises(g2s.UserError, match="^ictface"):
        g2s.load_gan("ictface")
    with pytest.raises(
        g2s.UserError, match=r"^there is no GAN 'catfaec': name a file \(.safetensors\), or one of catface, ictface$"
    ):
        g2s.load_gan("catfaec")
