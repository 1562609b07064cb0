"""The object's mask in a photo's crop: from a file, an alpha channel, or found."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.apps.photo import preparation
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop
from gan2shape_jax.io import found_masks

_BOX = CropBox(x=60, y=40, side=48)


def _disc(height, width, x, y, radius):
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.hypot(columns - x, rows - y) < radius


def _photo():
    """A bright disc on a dark wall, in the middle of `_BOX`."""
    rng = np.random.default_rng(0)
    seen = _disc(80, 120, 60, 40, 16)
    photo = np.where(seen[..., None], (220, 180, 60), (30, 50, 90)) + rng.normal(0, 5, (80, 120, 3))
    return np.clip(photo, 0, 255).astype(np.uint8), seen


def _mask(**given):
    photo, _ = _photo()
    usual = found_masks.middle(64)
    arguments = {"path": pathlib.Path("a.jpg"), "box": _BOX, "photo_size": (120, 80), "alpha": None, "file": None}
    return preparation.mask_of_crop(sample_crop(photo, _BOX, 96), usual=usual, **(arguments | given))


def _overlap(mask):
    truth, found = _disc(96, 96, 48, 48, 32), mask > 0.5
    return (truth & found).sum() / (truth | found).sum()


def test_without_anything_given_the_object_is_found():
    found = _mask()
    assert found.source == "found" and _overlap(found.values) > 0.9  # its outline is soft


def test_the_alpha_channel_is_cropped_as_the_photo_is():
    found = _mask(alpha=_photo()[1].astype(np.uint8) * 255)
    assert found.source == "alpha" and _overlap(found.values) > 0.95


def test_a_mask_is_of_the_photo_whatever_its_resolution_or_square_and_of_the_crop(tmp_path):
    for scale in (1, 2):
        whole = Image.fromarray(_photo()[1].astype(np.uint8) * 255).resize((120 * scale, 80 * scale))
        whole.save(tmp_path / "m.png")
        found = _mask(file=tmp_path / "m.png")
        assert found.source == "file" and _overlap(found.values) > 0.95
    Image.fromarray(_disc(48, 48, 24, 24, 16).astype(np.uint8) * 255).save(tmp_path / "m.png")
    assert _overlap(_mask(file=tmp_path / "m.png").values) > 0.95


def test_without_grabcut_the_usual_mask_is_every_crops():
    usual = _mask(found=False)
    assert usual.source == "usual"
    np.testing.assert_array_equal(
        usual.values, np.asarray(Image.fromarray(found_masks.middle(64)).resize((96, 96), Image.Resampling.BILINEAR))
    )


def test_unusable_masks_are_refused_in_words(tmp_path):
    Image.new("L", (120, 70), 255).save(tmp_path / "other.png")
    Image.new("L", (120, 80), 0).save(tmp_path / "black.png")
    with pytest.raises(UserError, match="120 x 70 pixels"):
        _mask(file=tmp_path / "other.png")
    with pytest.raises(UserError, match="no object inside the crop"):
        _mask(file=tmp_path / "black.png")
    with pytest.raises(UserError, match=r"alpha channel of a\.jpg"):
        _mask(alpha=np.zeros((80, 120), np.uint8))
