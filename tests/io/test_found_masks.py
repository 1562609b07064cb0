"""Objects found by GrabCut: in the middle, where they usually are, and what is done where nothing is found."""

import numpy as np
import pytest

from gan2shape_jax.io import found_masks

_SIDE = 32


def _picture(centre, radius, seed=0):
    """A bright ball before a dark wall, both with grain; and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    mask = np.hypot(y - centre[0], x - centre[1]) < radius
    grain = 0.05 * rng.normal(size=(_SIDE, _SIDE, 3))
    return np.clip(np.where(mask[..., None], [0.7, 0.4, 0.1], [-0.6, -0.5, -0.2]) + grain, -1, 1), mask


def _overlap(found, mask):
    found = found > 0.5
    return (found & mask).sum() / (found | mask).sum()


@pytest.mark.parametrize("centre", [(16, 16), (13, 19)])
def test_an_object_is_found_from_the_middle(centre):
    image, mask = _picture(centre, 9)
    found = found_masks.found_mask(image, found_masks.middle(_SIDE))
    assert found.shape == (_SIDE, _SIDE) and found.min() >= 0 and found.max() <= 1
    assert _overlap(found, mask) > 0.9


def test_the_mask_is_a_function_of_the_picture():
    image, _ = _picture((15, 17), 8)
    first = found_masks.found_mask(image, found_masks.middle(_SIDE))
    found_masks.found_mask(_picture((10, 10), 5, seed=1)[0], found_masks.middle(_SIDE))
    np.testing.assert_array_equal(found_masks.found_mask(image, found_masks.middle(_SIDE)), first)


def test_where_nothing_stands_out_the_object_is_where_it_usually_is():
    usual = found_masks.middle(_SIDE)
    for image in (np.zeros((_SIDE, _SIDE, 3)), np.ones((_SIDE, _SIDE, 3))):
        found = found_masks.found_mask(image, usual)
        assert 0.05 < found.mean() < 0.97
    for nothing in (np.zeros_like(usual), np.ones_like(usual)):  # neither says where
        np.testing.assert_array_equal(found_masks.found_mask(_picture((16, 16), 9)[0], nothing), nothing)


def test_where_objects_usually_are_is_learned_from_pictures():
    pictures = [_picture((12 + i % 3, 18 + i % 2), 8, seed=i) for i in range(4)]
    usual = found_masks.usual_mask(np.stack([image for image, _ in pictures]))
    mean = np.mean([mask for _, mask in pictures], axis=0)
    assert np.abs(usual - mean).mean() < 0.05
