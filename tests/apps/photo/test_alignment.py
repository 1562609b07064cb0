"""Corrections of crops: their geometry, the disturbances that teach them, and that training learns to undo these."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.apps.photo import alignment
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop

_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def _picture(rng, side=48):
    """A blob with two eyes and a mouth: its place, size and turn can be seen, and its mirror image is of its kind."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    face = np.hypot(x, 0.8 * y) < 0.3
    dark = (np.hypot(np.abs(x) - 0.12, y + 0.1) < 0.06) | ((np.abs(x) < 0.12) & (np.abs(y - 0.15) < 0.03))
    picture = np.where(dark[..., None], (40, 20, 30), np.where(face[..., None], (210, 190, 150), (60, 90, 120)))
    return np.clip(picture + rng.normal(0, 6, picture.shape) + rng.normal(0, 12, 3), 0, 255).astype(np.uint8)


def test_a_correction_is_undone_by_its_inverse():
    box = CropBox(x=31, y=22, side=40, roll_deg=17)
    target = CropBox(x=25, y=29, side=55, roll_deg=-8)
    found = alignment.corrected(box, alignment.between(box, target))
    np.testing.assert_allclose(crop_to_photo(_CORNERS, found, 1), crop_to_photo(_CORNERS, target, 1), atol=1e-9)


def test_a_correction_moves_along_the_crops_own_axes():
    box = CropBox(x=0, y=0, side=10, roll_deg=90)  # its content lies turned clockwise: its right is the photo's below
    moved = alignment.corrected(box, np.array([0.5, 0, np.log(2), 0]))
    assert (moved.x, moved.y, moved.side) == pytest.approx((0, 5, 20))


def test_a_mirrored_crop_has_the_mirrored_correction():
    """The corrected box of the mirrored photo is the mirror image of the corrected box."""
    box, correction = CropBox(x=3, y=2, side=10, roll_deg=0), np.array([0.1, -0.2, 0.3, 0.4])
    moved = alignment.corrected(box, correction)
    mirrored = alignment.corrected(CropBox(x=-3, y=2, side=10), correction * (-1, 1, 1, -1))
    assert (mirrored.x, mirrored.y) == pytest.approx((-moved.x, moved.y))
    assert (mirrored.side, mirrored.roll_deg) == pytest.approx((moved.side, -moved.roll_deg))


def test_a_canvas_has_the_sample_in_its_middle_and_wrong_crops_are_not_far_off():
    rng = np.random.default_rng(0)
    sample, other = _picture(rng), rng.integers(0, 255, (48, 48, 3), np.uint8)
    frame = alignment.frame_of(48)
    for kind in alignment.KINDS:
        canvas = alignment.canvas(sample, kind, other, rng)
        assert canvas.shape == (144, 144, 3) and canvas.dtype == np.uint8
        np.testing.assert_array_equal(sample_crop(canvas, frame, 48), sample)
    for _ in range(20):
        told = alignment.disturb(np.zeros((144, 144, 3), np.uint8), frame, rng).correction
        assert (np.abs(told) < (1.2, 1.2, 0.7, 0.7)).all()


def test_any_number_of_crops_is_told_as_one_by_one():
    params = alignment.module().init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    crops = np.random.default_rng(0).integers(0, 255, (33, 64, 64, 3), np.uint8)
    together = alignment.corrections(params, crops)
    assert together.shape == (33, 4)
    np.testing.assert_allclose(together[32:], alignment.corrections(params, crops[32:]), atol=1e-6)


@pytest.mark.heavy
def test_training_learns_to_undo_shifts_and_scales_and_repeats_its_bits():
    rng = np.random.default_rng(1)
    samples = np.stack([np.asarray(_picture(rng, 64)) for _ in range(24)])
    params = alignment.train(samples, seed=0, steps=150)
    frame, left, start = alignment.frame_of(64), [], []
    for _ in range(16):
        photo = alignment.canvas(_picture(rng, 64), "plain", samples[0], rng)
        box = alignment.corrected(frame, np.array([*rng.uniform(-0.2, 0.2, 2), *rng.uniform(-0.2, 0.2, 2)]))
        start.append(np.abs(alignment.between(box, frame)))
        for _ in range(3):  # steps
            box = alignment.corrected(box, alignment.corrections(params, sample_crop(photo, box, 64)[None])[0])
        left.append(np.abs(alignment.between(box, frame)))
    # Turns take longer to learn than a test may.
    assert (np.mean(left, axis=0) < 0.5 * np.mean(start, axis=0))[:3].all()
    again = alignment.train(samples, seed=0, steps=2)
    for one, other in zip(*map(jax.tree.leaves, (again, alignment.train(samples, seed=0, steps=2))), strict=True):
        np.testing.assert_array_equal(one, other)
