"""A crop's place in a photo: coordinates there and back, and pictures of known crops."""

import numpy as np
import pytest

from gan2shape_jax.errors import ArgumentError
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop, scaled_box


def _waves(x, y):
    """A smooth picture as a function of photo coordinates."""
    return 0.5 + 0.2 * np.sin(x / 7 + 0.3) + 0.2 * np.cos(y / 9 - x / 31)


def _photo(height=90, width=120):
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([_waves(x, y), _waves(y, x), x / width], -1)


def test_a_crop_on_the_photos_pixels_is_exactly_them_turned_back_by_its_quarter_turns():
    photo = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    for quarter in range(4):
        for photo_given in (photo, photo[..., 0]):
            crop = sample_crop(photo_given, CropBox(25, 20, 16, roll_deg=90 * quarter), 16)
            np.testing.assert_array_equal(crop, np.rot90(photo_given[12:28, 17:33], quarter))  # counterclockwise


@pytest.mark.parametrize("box", [CropBox(58.3, 44.1, 37.7, 23), CropBox(61, 47, 33.5, -71)])
@pytest.mark.parametrize("size", [16, 100])
def test_crops_of_a_known_picture(box, size):
    crop = sample_crop(_photo(), box, size)
    y, x = np.mgrid[:size, :size] + 0.5
    place = crop_to_photo(np.stack([x, y], -1), box, size)
    # Means over a pixel of the crop, from the function itself.
    fine = np.mean([_waves(*np.moveaxis(place + d, -1, 0)) for d in _offsets(box, size)], axis=0)
    assert np.abs(crop[..., 0] - fine).max() < 0.004
    np.testing.assert_allclose(crop[..., 2], place[..., 0] / 120, atol=1e-3)  # a ramp is kept: nothing is shifted


def _offsets(box, size):
    inside = (np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(-1, 2) + 0.5) / 5
    return crop_to_photo(inside, box, size) - crop_to_photo(np.array([[0.5, 0.5]]), box, size)


@pytest.mark.parametrize("roll", [0, 10])
def test_nothing_is_aliased(roll):
    lines = np.zeros((300, 300, 1), np.uint8)
    lines[:, ::2] = 200  # a line a pixel: without antialiasing a pattern of its own
    crop = sample_crop(lines, CropBox(150, 150, 160, roll), 20).astype(float)
    assert abs(crop.mean() - 100) < 2 and crop.std() < 2.5


def test_beyond_the_photo_its_border_goes_on():
    photo = np.tile(np.arange(10, 50, dtype=np.uint8), (30, 1))
    crop = sample_crop(photo, CropBox(0, 15, 40), 40)
    assert np.all(crop[:, :20] == 10)
    np.testing.assert_array_equal(crop[:, 20:], np.tile(np.arange(10, 30), (40, 1)))


def test_large_crops_are_drawn_in_bands(monkeypatch):
    photo = np.random.default_rng(3).integers(0, 256, (200, 220, 3), np.uint8)
    box = CropBox(105, 99, 150, 12)
    whole = sample_crop(photo, box, 50)
    monkeypatch.setattr("gan2shape_jax.geometry.crop_box._BAND", 1000)
    assert np.abs(sample_crop(photo, box, 50).astype(int) - whole).max() <= 1


def test_a_scaled_photo_has_the_scaled_box():
    photo = _photo(120, 120)
    half = photo.reshape(60, 2, 60, 2, 3).mean((1, 3))
    box = CropBox(63, 55, 60, 15)
    difference = sample_crop(photo, box, 30) - sample_crop(half, scaled_box(box, 0.5), 30)
    assert np.abs(difference).max() < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 2, 0), "side"),
        ((1, 2, -3), "side"),
        ((float("nan"), 2, 3), "x of a crop"),
        ((1, 2, float("inf")), "side of a crop"),
        ((1, "a", 3), "y of a crop"),
        ((1, 2, 3, None), "roll_deg"),
    ],
)
def test_numbers_that_make_no_crop_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        CropBox(*arguments)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (CropBox(-50, 4, 8), "lies outside the photo"),
        (CropBox(4, 4, 1e9), "side is 1e[+]09 pixels"),
    ],
)
def test_a_crop_outside_the_photo_is_refused(box, message):
    photo = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ArgumentError, match=message):
        sample_crop(photo, box, 8)
