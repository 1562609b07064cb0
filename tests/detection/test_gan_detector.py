"""Objects found by what a GAN's samples teach: corrections of crops, the search, and the file of the weights."""

import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import stylegan2
from gan2shape_jax.config import load_config
from gan2shape_jax.detection import gan_detector, weights
from gan2shape_jax.detection.detector import PERHAPS, SURE, Detection, between, corrected, exposed, exposure_gain
from gan2shape_jax.detection.gan_detector import GanDetector
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo, sample_crop
from gan2shape_jax.io.files import sha256

_CHECKPOINT = pathlib.Path(load_config("cat").gan.checkpoint)
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
    actual = corrected(box, between(box, target))
    np.testing.assert_allclose(crop_to_photo(_CORNERS, actual, 1), crop_to_photo(_CORNERS, target, 1), atol=1e-9)
    box = CropBox(x=0, y=0, side=10, roll_deg=90)  # its content lies turned clockwise: its right is the photo's below
    moved = corrected(box, np.array([0.5, 0, np.log(2), 0]))
    assert (moved.x, moved.y, moved.side) == pytest.approx((0, 5, 20))
    box, correction = CropBox(x=3, y=2, side=10, roll_deg=0), np.array([0.1, -0.2, 0.3, 0.4])
    moved = corrected(box, correction)
    mirrored = corrected(CropBox(x=-3, y=2, side=10), correction * (-1, 1, 1, -1))
    assert (mirrored.x, mirrored.y) == pytest.approx((-moved.x, moved.y))
    assert (mirrored.side, mirrored.roll_deg) == pytest.approx((moved.side, -moved.roll_deg))


def test_a_canvas_has_the_sample_in_its_middle_and_wrong_crops_are_not_far_off():
    rng = np.random.default_rng(0)
    sample, other = _picture(rng), rng.integers(0, 255, (48, 48, 3), np.uint8)
    frame = gan_detector.frame_of(48)
    for kind in gan_detector.KINDS:
        canvas = gan_detector.canvas(sample, kind, other, rng)
        assert canvas.shape == (144, 144, 3) and canvas.dtype == np.uint8
        np.testing.assert_array_equal(sample_crop(canvas, frame, 48), sample)
    for _ in range(20):
        _, correction = gan_detector.disturb(np.zeros((144, 144, 3), np.uint8), frame, rng)
        assert (np.abs(correction) < (1.2, 1.2, 0.7, 0.7)).all()


def test_any_number_of_crops_is_corrected_as_one_by_one():
    params = gan_detector.MODULE.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    crops = np.random.default_rng(0).integers(0, 255, (33, 64, 64, 3), np.uint8)
    together = gan_detector.corrections(params, crops)
    assert together.shape == (33, 4)
    np.testing.assert_allclose(together[32:], gan_detector.corrections(params, crops[32:]), atol=1e-6)


@pytest.mark.heavy
def test_training_learns_to_undo_shifts_and_scales_and_repeats_its_bits():
    rng = np.random.default_rng(1)
    samples = np.stack([np.asarray(_picture(rng, 64)) for _ in range(24)])
    params = gan_detector.train(samples, seed=0, steps=150)
    frame, left, start = gan_detector.frame_of(64), [], []
    for _ in range(16):
        photo = gan_detector.canvas(_picture(rng, 64), "plain", samples[0], rng)
        box = corrected(frame, np.array([*rng.uniform(-0.2, 0.2, 2), *rng.uniform(-0.2, 0.2, 2)]))
        start.append(np.abs(between(box, frame)))
        for _ in range(3):  # steps
            box = corrected(box, gan_detector.corrections(params, sample_crop(photo, box, 64)[None])[0])
        left.append(np.abs(between(box, frame)))
    # Turns take longer to learn than a test may.
    assert (np.mean(left, axis=0) < 0.5 * np.mean(start, axis=0))[:3].all()
    again = gan_detector.train(samples, seed=0, steps=2)
    for first, other in zip(*map(jax.tree.leaves, (again, gan_detector.train(samples, seed=0, steps=2))), strict=True):
        np.testing.assert_array_equal(first, other)


def _near(box, expected, *, shift, scale, turn):
    dx, dy, log_scale, roll = np.abs(between(expected, box))
    return max(dx, dy) < shift and log_scale < np.log1p(scale) and np.degrees(roll) < turn


def test_a_face_is_found_wherever_it_stands_in_the_pixels_of_the_photo(bundled, cat_photo):
    _, detector = bundled
    photo = cat_photo(width=200, height=170, x=110, y=90)
    photo = np.repeat(np.repeat(photo, 5, axis=0), 5, axis=1)  # reduced for the search
    (frame,) = detector.detect(photo)
    assert _near(frame.box, CropBox(x=550, y=450, side=480), shift=0.1, scale=0.15, turn=10) and frame.score > 0.9


def test_a_crop_is_looked_at_by_itself_and_in_any_number(bundled, cat_photo):
    """Noise, waves and a face on its side are no faces: a search would find the most typical of such."""
    _, detector = bundled
    face = sample_crop(cat_photo(), CropBox(x=190, y=100, side=96), 64)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    waves = sample_crop(cat_photo(), CropBox(x=60, y=100, side=96), 64)
    scores = detector.scores(np.stack([face, noise, waves, np.rot90(face)]))
    assert scores[0] > SURE > PERHAPS > max(scores[1:])
    np.testing.assert_allclose(detector.scores(face[None])[0], scores[0], atol=1e-3)


def test_an_underexposed_photo_is_lightened_and_any_other_stays_as_it_is(bundled, cat_photo, monkeypatch):
    photo = cat_photo()
    night = np.zeros((64, 64, 3), np.uint8)
    assert exposed(photo) is photo and exposed(night).max() == 0
    black = np.full((64, 64, 3), 20, np.uint8)  # a black cat on a white sofa is no dark picture
    black[:8] = 230
    assert exposed(black) is black
    lights = [
        float(np.percentile(exposed(np.uint8(photo * share)) @ (0.299, 0.587, 0.114), 99)) for share in (0.5, 0.33)
    ]
    assert lights == pytest.approx([210, 210], abs=4)
    steps = [exposure_gain(np.full((8, 8, 3), value, np.uint8)) for value in range(256)]
    assert max(steps) == 4 and min(steps) == 1 and np.abs(np.diff(steps)).max() < 0.1
    monkeypatch.setattr(gan_detector, "_SMALLEST", 0.4)
    _, detector = bundled
    (dark,) = detector.detect(np.uint8(photo / 3))
    assert _near(dark.box, CropBox(x=190, y=100, side=96), shift=0.1, scale=0.15, turn=10) and dark.score > 0.9


@pytest.mark.heavy
@pytest.mark.parametrize("width", [64, 128, 1024])
def test_the_frame_does_not_depend_on_the_size_of_the_file(bundled, cat_photo, width):
    """At 64 pixels it is enlarged for the search, at 1024 reduced."""
    _, detector = bundled
    photo = cat_photo(side=140, x=170, y=110)
    size = width, round(width * 220 / 300)
    sized = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if width < 300 else cv2.INTER_CUBIC)
    box, factor = detector.detect(sized)[0].box, 300 / width
    actual = CropBox(box.x * factor, box.y * factor, box.side * factor, box.roll_deg)
    assert _near(actual, CropBox(x=170, y=110, side=140), shift=0.08, scale=0.12, turn=10)


def test_disturbed_crops_are_led_back_to_one_place(bundled, cat_photo):
    """Shifts up to 25%, scales up to 30%, turns up to 20 degrees end where the right crop ends."""
    _, detector = bundled
    photo, right = cat_photo(), CropBox(x=190, y=100, side=96)
    disturbances = np.random.default_rng(1).uniform(-1, 1, (4, 4)) * (0.25, 0.25, np.log(1.3), np.radians(20))
    boxes = [right, *(corrected(right, disturbance) for disturbance in disturbances)]
    home, *others = detector.aligned(photo, boxes, 7, upright=0)
    for box in others:
        assert _near(box, home, shift=0.05, scale=0.07, turn=4)


@pytest.mark.heavy
def test_two_faces_are_two_objects_and_a_turned_photo_is_searched_too(bundled, cat_photo):
    _, detector = bundled
    photo = cat_photo()
    photo[60:140, 20:100] = cat_photo("005", x=60, y=100, side=80)[60:140, 20:100]
    frames = detector.detect(photo)
    assert len(frames) == 2 and sorted(round(frame.box.x / 30) for frame in frames) == [2, 6]
    (frame,) = detector.detect(np.rot90(cat_photo()).copy())
    assert abs(frame.box.roll_deg % 180 - 90) < 10


@pytest.mark.parametrize(
    ("tilt", "certainty", "found"), [(50, 0.73, 90), (-50, 0.9, -50), (10, 0.73, 10), (10, 0.5, 90)]
)
def test_what_is_uncertain_and_far_from_upright_is_searched_for_sideways(bundled, monkeypatch, tilt, certainty, found):
    """A head on its side was framed half way to it, as the search that expects heads upright turns no further."""

    def search(self, work, *, turned):
        return [Detection(CropBox(9, 9, 9, turned or tilt), {0: certainty, 90: 0.97}.get(turned, 0.1))]

    monkeypatch.setattr(GanDetector, "_search", search)
    assert bundled[1].detect(np.zeros((40, 40, 3), np.uint8))[0].box.roll_deg == found


def test_photos_of_any_shape_and_of_nothing_have_one_frame(bundled, monkeypatch):
    for name, value in {"_SMALLEST": 1.0, "_KEPT": (4, 2), "_MOVES": (1, 2)}.items():  # all crops are as empty
        monkeypatch.setattr(gan_detector, name, value)
    _, detector = bundled
    (frame,) = detector.detect(np.full((16, 48, 3), 7, np.uint8))
    assert frame.score < PERHAPS and 0 <= frame.box.x <= 48 and 0 <= frame.box.y <= 16 and frame.box.side > 0


def test_weights_are_read_as_written_and_no_damaged_or_foreign_ones_are_taken(bundled, tmp_path):
    actual, _ = bundled
    assert actual.mean_mask.shape == (64, 64) and actual.mean_mask[32, 32] > 0.9 > 0.5 > actual.mean_mask[0, -1]
    content, digest = _CHECKPOINT.with_name("detector.safetensors").read_bytes(), sha256(_CHECKPOINT)
    assert weights.weights_bytes(actual, digest) == content
    path = tmp_path / "detector.safetensors"
    for spoilt, gan, kind in (
        (content[:-1000], digest, "gan"),
        (b"no weights", digest, "gan"),
        (content, "0" * 64, "gan"),
        (content, digest, "face"),
    ):
        path.write_bytes(spoilt)
        assert weights.read_weights(path, gan, kind) is None


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["face", "gan"])
def test_weights_are_learnt_once_and_kept(tmp_path, monkeypatch, kind):
    checkpoint = tmp_path / "gan.safetensors"
    checkpoint.write_bytes(pathlib.Path(load_config("people").gan.checkpoint).read_bytes())
    monkeypatch.setattr(weights, "cache", lambda name: tmp_path / "cache" / name)
    gan = stylegan2.load(checkpoint)
    monkeypatch.setattr(weights, "_SAMPLES", 40)
    monkeypatch.setattr(gan_detector, "TRAINING_STEPS", 2)
    lines = []
    new = weights.weights_of(checkpoint, *gan, kind, log=lines.append)
    assert lines and weights.cached_at(sha256(checkpoint), kind).is_file()
    if kind == "face":
        (path := weights.cached_at(sha256(checkpoint), kind)).write_bytes(b"cut")
        weights.weights_of(checkpoint, *gan, kind, log=lines.append)
        assert path.with_name(f"{path.name}.unreadable-1").read_bytes() == b"cut"
    kept = weights.weights_of(checkpoint, *gan, kind, log=lambda line: pytest.fail(line))
    for first, other in zip(jax.tree.leaves(new), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(first, other)
