"""What is learned once from a GAN's samples: its file, and that no other GAN's is taken."""

import pathlib

import jax
import numpy as np
import pytest

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.photo import guide
from gan2shape_jax.config import load_config
from gan2shape_jax.io.files import sha256
from gan2shape_jax.stylegan2 import typicality

_CHECKPOINT = pathlib.Path(load_config("ictface").gan.checkpoint)
_BUNDLED = _CHECKPOINT.with_name("guide.safetensors")


def test_the_bundled_guide_is_the_bundled_gans(bundled):
    found, _ = bundled
    assert found.usual_mask.shape == (64, 64) and found.usual_mask[32, 32] > 0.9 > 0.5 > found.usual_mask[0, -1]


def test_writing_what_was_read_gives_the_same_bytes(bundled):
    assert guide.guide_bytes(bundled[0], sha256(_CHECKPOINT)) == _BUNDLED.read_bytes()


def test_guides_that_are_damaged_or_of_another_gan_are_not_taken(tmp_path):
    content, digest = _BUNDLED.read_bytes(), sha256(_CHECKPOINT)
    for spoilt, gan in ((content[:-1000], digest), (b"no guide", digest), (content, "0" * 64)):
        (tmp_path / "guide.safetensors").write_bytes(spoilt)
        assert guide.read(tmp_path / "guide.safetensors", gan) is None


def test_the_guide_beside_the_gan_is_taken_without_loading_it():
    found = guide.guide_of(_CHECKPOINT, lambda: pytest.fail("loaded"), say=lambda line: pytest.fail(line))
    assert found.usual_mask.shape == (64, 64)


@pytest.mark.heavy
def test_a_guide_is_made_once_and_kept(tmp_path, monkeypatch):
    checkpoint = tmp_path / "gan.safetensors"
    checkpoint.write_bytes(_CHECKPOINT.read_bytes())
    monkeypatch.setattr(typicality, "cache", lambda name: tmp_path / "cache" / name)
    whole = guide.make
    monkeypatch.setattr(guide, "make", lambda *gan, say: whole(*gan, samples=40, steps=2, say=say))
    told = []
    made = guide.guide_of(checkpoint, lambda: stylegan2.load(checkpoint), say=told.append)
    assert told and typicality.cached_at(sha256(checkpoint)).is_file()
    kept = guide.guide_of(checkpoint, lambda: pytest.fail("loaded"), say=lambda line: pytest.fail(line))
    for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(one, other)
