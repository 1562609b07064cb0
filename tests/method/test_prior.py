"""Parity and properties of the ellipsoid prior."""

import numpy as np
import pytest
from helpers.parity_record import LARGEST, largest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.categories import categories
from gan2shape_jax.method.prior import ellipsoid

ALIASES = {"ictface": "synface", "celeba": "face", "horse": "car"}


def _mask(size: int = 64, box: tuple[int, int, int, int] = (20, 44, 16, 52)) -> np.ndarray:
    mask = np.zeros((size, size), np.float32)
    left, right, top, bottom = box
    mask[top : bottom + 1, left : right + 1] = 1
    return mask


def test_golden_ellipsoids(golden, parity):
    archive = golden("prior.npz")
    categories = sorted({key.split("/")[0] for key in archive})
    assert categories
    for category in categories:
        expected = archive[f"{category}/ellipsoid"][0]
        depth = ellipsoid(archive[f"{category}/mask"], category=category, far=float(expected.max()))
        assert depth.dtype == expected.dtype
        parity(f"ellipsoid of a {category}", largest(depth, expected), 1e-6, "prior.npz", LARGEST)


def test_categories_of_one_kind_share_a_shape():
    for one, other in ALIASES.items():
        np.testing.assert_array_equal(ellipsoid(_mask(), category=one), ellipsoid(_mask(), category=other))


def test_depth_spans_near_to_far_and_lies_on_the_object():
    for category in categories():
        depth = ellipsoid(_mask(), category=category, near=0.91, far=1.02)
        assert depth.min() == pytest.approx(0.91, abs=1e-3)
        assert depth.max() == pytest.approx(1.02, abs=1e-6)
        covered = depth < depth.max()
        assert not covered[:, [15, 49]].any()
        assert covered[34, 32]  # the middle of the object


def test_half_marked_pixels_do_not_count():
    mask = _mask()
    expected = ellipsoid(mask, category="cat")
    mask[mask == 0] = 0.5
    np.testing.assert_array_equal(ellipsoid(mask, category="cat"), expected)


def test_a_symmetric_object_has_a_symmetric_prior():
    depth = ellipsoid(_mask(box=(20, 43, 20, 43)), category="cat")
    np.testing.assert_allclose(depth, depth[:, ::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.zeros((8, 8), np.float32), {"category": "cat"}, "empty"),
        (np.full((8, 8), 0.6, np.float32), {"category": "cat"}, "0.7"),
        (_mask(box=(5, 5, 5, 9)), {"category": "cat"}, "1 pixels wide"),
        (_mask(), {"category": "cat", "near": 1.0, "far": 1.0}, "far"),
    ],
)
def test_unusable_input_is_refused(mask, options, message):
    with pytest.raises(UserError, match=message):
        ellipsoid(mask, **options)
