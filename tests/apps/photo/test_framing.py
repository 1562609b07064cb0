"""The search for the object in a photo, with the bundled GAN's guide and bundled faces."""

import numpy as np
import pytest

from gan2shape_jax.apps.photo import alignment, framing
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.stylegan2.typicality import LIMIT


def _near(box, expected, *, shift, scale, turn):
    dx, dy, log_scale, roll = np.abs(alignment.between(expected, box))
    return max(dx, dy) < shift and log_scale < np.log1p(scale) and np.degrees(roll) < turn


def test_a_face_is_found_wherever_it_stands(bundled, face_photo):
    guide, score = bundled
    (frame,) = framing.find_frames(face_photo(), guide.alignment, score, limit=LIMIT)
    assert _near(frame.box, CropBox(x=190, y=100, side=96), shift=0.1, scale=0.15, turn=10)
    assert frame.atypicality < LIMIT


def test_disturbed_crops_are_led_back_to_one_place(bundled, face_photo):
    """Shifts up to 25%, scales up to 30%, turns up to 20 degrees end where the right crop ends."""
    guide, score = bundled
    photo, right = face_photo(), CropBox(x=190, y=100, side=96)
    home = framing.refined(photo, right, guide.alignment, score).box
    rng = np.random.default_rng(1)
    for _ in range(6):
        disturbance = rng.uniform(-1, 1, 4) * (0.25, 0.25, np.log(1.3), np.radians(20))
        box = framing.refined(photo, alignment.corrected(right, disturbance), guide.alignment, score).box
        assert _near(box, home, shift=0.05, scale=0.07, turn=4)


@pytest.mark.heavy
def test_two_faces_are_two_objects_and_a_turned_photo_is_searched_too(bundled, face_photo):
    guide, score = bundled
    photo = face_photo()
    photo[60:140, 20:100] = face_photo("009", x=60, y=100, side=80)[60:140, 20:100]
    frames = framing.find_frames(photo, guide.alignment, score, limit=LIMIT)
    assert len(frames) == 2 and sorted(round(frame.box.x / 30) for frame in frames) == [2, 6]
    (frame,) = framing.find_frames(np.rot90(face_photo()).copy(), guide.alignment, score, limit=LIMIT)
    assert abs(frame.box.roll_deg % 180 - 90) < 10


@pytest.mark.parametrize("shape", [(16, 16), (16, 200), (300, 20)])
def test_photos_of_any_shape_and_of_nothing_have_one_frame(bundled, shape):
    guide, score = bundled
    (frame,) = framing.find_frames(np.full((*shape, 3), 7, np.uint8), guide.alignment, score, limit=LIMIT)
    assert frame.atypicality > LIMIT
    assert 0 <= frame.box.x <= shape[1] and 0 <= frame.box.y <= shape[0] and frame.box.side > 0


def test_frames_are_in_the_pixels_of_a_large_photo(bundled, face_photo):
    guide, score = bundled
    large = np.repeat(np.repeat(face_photo(), 5, axis=0), 5, axis=1)
    frame = framing.find_frames(large, guide.alignment, score, limit=LIMIT)[0]
    assert _near(frame.box, CropBox(x=950, y=500, side=480), shift=0.1, scale=0.15, turn=10)
