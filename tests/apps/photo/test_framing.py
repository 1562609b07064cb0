"""Finding the object: corrections of crops, the search with the bundled guide, and the guide's file."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import stylegan2
from gan2shape_jax.apps.photo import framing
from gan2shape_jax.config import load_config
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop
from gan2shape_jax.io.files import sha256
from gan2shape_jax.stylegan2 import typicality

_CHECKPOINT = pathlib.Path(load_config("ictface").gan.checkpoint)
_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def _picture(rng, side=48):
    """A blob with two eyes and a mouth: its place, size and turn can be seen, and its mirror image is of its kind."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    face = np.hypot(x, 0.8 * y) < 0.3
    dark = (np.hypot(np.abs(x) - 0.12, y + 0.1) < 0.06) | ((np.abs(x) < 0.12) & (np.abs(y - 0.15) < 0.03))
    picture = np.where(dark[..., None], (40, 20, 30), np.where(face[..., None], (210, 190, 150), (60, 90, 120)))
    return np.clip(picture + rng.normal(0, 6, picture.shape) + rng.normal(0, 12, 3), 0, 255).astype(np.uint8)


def test_corrections_are_undone_by_their_inverse_and_mirrored_with_the_crop():
    box = CropBox(x=31, y=22, side=40, roll_deg=17)
    target = CropBox(x=25, y=29, side=55, roll_deg=-8)
    found = framing.corrected(box, framing.between(box, target))
    np.testing.assert_allclose(crop_to_photo(_CORNERS, found, 1), crop_to_photo(_CORNERS, target, 1), atol=1e-9)
    box = CropBox(x=0, y=0, side=10, roll_deg=90)  # its content lies turned clockwise: its right is the photo's below
    moved = framing.corrected(box, np.array([0.5, 0, np.log(2), 0]))
    assert (moved.x, moved.y, moved.side) == pytest.approx((0, 5, 20))
    box, correction = CropBox(x=3, y=2, side=10, roll_deg=0), np.array([0.1, -0.2, 0.3, 0.4])
    moved = framing.corrected(box, correction)
    mirrored = framing.corrected(CropBox(x=-3, y=2, side=10), correction * (-1, 1, 1, -1))
    assert (mirrored.x, mirrored.y) == pytest.approx((-moved.x, moved.y))
    assert (mirrored.side, mirrored.roll_deg) == pytest.approx((moved.side, -moved.roll_deg))


def test_a_canvas_has_the_sample_in_its_middle_and_wrong_crops_are_not_far_off():
    rng = np.random.default_rng(0)
    sample, other = _picture(rng), rng.integers(0, 255, (48, 48, 3), np.uint8)
    frame = framing.frame_of(48)
    for kind in framing.KINDS:
        canvas = framing.canvas(sample, kind, other, rng)
        assert canvas.shape == (144, 144, 3) and canvas.dtype == np.uint8
        np.testing.assert_array_equal(sample_crop(canvas, frame, 48), sample)
    for _ in range(20):
        _, correction = framing.disturb(np.zeros((144, 144, 3), np.uint8), frame, rng)
        assert (np.abs(correction) < (1.2, 1.2, 0.7, 0.7)).all()


def test_any_number_of_crops_is_corrected_as_one_by_one():
    params = framing.MODULE.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    crops = np.random.default_rng(0).integers(0, 255, (33, 64, 64, 3), np.uint8)
    together = framing.corrections(params, crops)
    assert together.shape == (33, 4)
    np.testing.assert_allclose(together[32:], framing.corrections(params, crops[32:]), atol=1e-6)


@pytest.mark.heavy
def test_training_learns_to_undo_shifts_and_scales_and_repeats_its_bits():
    rng = np.random.default_rng(1)
    samples = np.stack([np.asarray(_picture(rng, 64)) for _ in range(24)])
    params = framing.train(samples, seed=0, steps=150)
    frame, left, start = framing.frame_of(64), [], []
    for _ in range(16):
        photo = framing.canvas(_picture(rng, 64), "plain", samples[0], rng)
        box = framing.corrected(frame, np.array([*rng.uniform(-0.2, 0.2, 2), *rng.uniform(-0.2, 0.2, 2)]))
        start.append(np.abs(framing.between(box, frame)))
        for _ in range(3):  # steps
            box = framing.corrected(box, framing.corrections(params, sample_crop(photo, box, 64)[None])[0])
        left.append(np.abs(framing.between(box, frame)))
    # Turns take longer to learn than a test may.
    assert (np.mean(left, axis=0) < 0.5 * np.mean(start, axis=0))[:3].all()
    again = framing.train(samples, seed=0, steps=2)
    for one, other in zip(*map(jax.tree.leaves, (again, framing.train(samples, seed=0, steps=2))), strict=True):
        np.testing.assert_array_equal(one, other)


def _near(box, expected, *, shift, scale, turn):
    dx, dy, log_scale, roll = np.abs(framing.between(expected, box))
    return max(dx, dy) < shift and log_scale < np.log1p(scale) and np.degrees(roll) < turn


def test_a_face_is_found_wherever_it_stands_in_the_pixels_of_the_photo(bundled, face_photo):
    known, score = bundled
    photo = face_photo(width=200, height=170, x=110, y=90)
    photo = np.repeat(np.repeat(photo, 5, axis=0), 5, axis=1)  # reduced for the search
    (frame,) = framing.find_frames(photo, known.alignment, score)
    assert _near(frame.box, CropBox(x=550, y=450, side=480), shift=0.1, scale=0.15, turn=10) and frame.known


def test_disturbed_crops_are_led_back_to_one_place(bundled, face_photo):
    """Shifts up to 25%, scales up to 30%, turns up to 20 degrees end where the right crop ends."""
    known, score = bundled
    photo, right = face_photo(), CropBox(x=190, y=100, side=96)
    disturbances = np.random.default_rng(1).uniform(-1, 1, (4, 4)) * (0.25, 0.25, np.log(1.3), np.radians(20))
    boxes = [right, *(framing.corrected(right, disturbance) for disturbance in disturbances)]
    begin = [framing.Frame(box, 0) for box in boxes]
    home, *others = framing.moved(photo, begin, known.alignment, score, 7, upright=0)
    for frame in others:
        assert _near(frame.box, home.box, shift=0.05, scale=0.07, turn=4)


@pytest.mark.heavy
def test_two_faces_are_two_objects_and_a_turned_photo_is_searched_too(bundled, face_photo):
    known, score = bundled
    photo = face_photo()
    photo[60:140, 20:100] = face_photo("009", x=60, y=100, side=80)[60:140, 20:100]
    frames = framing.find_frames(photo, known.alignment, score)
    assert len(frames) == 2 and sorted(round(frame.box.x / 30) for frame in frames) == [2, 6]
    (frame,) = framing.find_frames(np.rot90(face_photo()).copy(), known.alignment, score)
    assert abs(frame.box.roll_deg % 180 - 90) < 10


def test_photos_of_any_shape_and_of_nothing_have_one_frame(bundled):
    known, score = bundled
    (frame,) = framing.find_frames(np.full((16, 48, 3), 7, np.uint8), known.alignment, score)
    assert not frame.known and 0 <= frame.box.x <= 48 and 0 <= frame.box.y <= 16 and frame.box.side > 0


def test_a_guide_is_read_as_it_was_written_and_none_that_is_damaged_or_of_another_gan_is_taken(bundled, tmp_path):
    found, _ = bundled
    assert found.usual_mask.shape == (64, 64) and found.usual_mask[32, 32] > 0.9 > 0.5 > found.usual_mask[0, -1]
    content, digest = _CHECKPOINT.with_name("guide.safetensors").read_bytes(), sha256(_CHECKPOINT)
    assert framing.guide_bytes(found, digest) == content
    for spoilt, gan in ((content[:-1000], digest), (b"no guide", digest), (content, "0" * 64)):
        (tmp_path / "guide.safetensors").write_bytes(spoilt)
        assert framing.read_guide(tmp_path / "guide.safetensors", gan) is None


@pytest.mark.heavy
def test_a_guide_is_made_once_and_kept(tmp_path, monkeypatch):
    checkpoint = tmp_path / "gan.safetensors"
    checkpoint.write_bytes(_CHECKPOINT.read_bytes())
    monkeypatch.setattr(typicality, "cache", lambda name: tmp_path / "cache" / name)
    gan = stylegan2.load(checkpoint)
    monkeypatch.setattr(framing, "_SAMPLES", 40)
    monkeypatch.setattr(framing, "STEPS", 2)
    lines = []
    new = framing.guide_of(checkpoint, *gan, say=lines.append)
    assert lines and typicality.cached_at(sha256(checkpoint)).is_file()
    kept = framing.guide_of(checkpoint, *gan, say=lambda line: pytest.fail(line))
    for one, other in zip(jax.tree.leaves(new), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(one, other)
