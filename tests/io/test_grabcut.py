"""Masks of objects by GrabCut, where they usually are."""

import numpy as np
import pytest

from gan2shape_jax.io import grabcut

_SIDE = 32


def _picture(centre, radius, seed=0):
    """A bright ball before a dark wall, both with grain; and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    mask = np.hypot(y - centre[0], x - centre[1]) < radius
    grain = 0.05 * rng.normal(size=(_SIDE, _SIDE, 3))
    return np.clip(np.where(mask[..., None], [0.7, 0.4, 0.1], [-0.6, -0.5, -0.2]) + grain, -1, 1), mask


def _overlap(actual, mask):
    actual = actual > 0.5
    return (actual & mask).sum() / (actual | mask).sum()


def test_an_object_is_found_from_the_middle_whatever_was_found_before():
    middle, every = grabcut.middle(_SIDE), [_picture(centre, 9) for centre in ((16, 16), (13, 19))]
    masks = [grabcut.grabcut_mask(image, middle) for image, _ in every]
    for actual, (_, mask) in zip(masks, every, strict=True):
        assert actual.shape == (_SIDE, _SIDE) and actual.min() >= 0 and actual.max() <= 1
        assert _overlap(actual, mask) > 0.9
    np.testing.assert_array_equal(grabcut.grabcut_mask(every[0][0], middle), masks[0])


@pytest.mark.parametrize("image", [np.zeros((_SIDE, _SIDE, 3)), np.ones((_SIDE, _SIDE, 3))])
def test_a_plain_picture_has_the_mean_mask(image):
    usual = grabcut.middle(_SIDE)
    actual = grabcut.grabcut_mask(image, usual)
    assert 0.05 < actual.mean() < 0.97


@pytest.mark.parametrize("value", [0, 1])  # neither says where
def test_where_nothing_stands_out_the_object_is_where_it_usually_is(value):
    nothing = np.full_like(grabcut.middle(_SIDE), value)
    np.testing.assert_array_equal(grabcut.grabcut_mask(_picture((16, 16), 9)[0], nothing), nothing)


def test_where_objects_usually_are_is_learned_from_pictures():
    pictures = [_picture((12 + i % 3, 18 + i % 2), 8, seed=i) for i in range(4)]
    usual = grabcut.estimate_mean_mask(np.stack([image for image, _ in pictures]))
    mean = np.mean([mask for _, mask in pictures], axis=0)
    assert np.abs(usual - mean).mean() < 0.05
