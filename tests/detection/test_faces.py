"""People's faces: found by OpenCV whatever the photo's size, colours and rotation, and framed as a GAN frames them."""

import pathlib

import cv2
import numpy as np
import pytest
from helpers.placed import placed

from gan2shape_jax.config import load_config
from gan2shape_jax.detection import faces, weights
from gan2shape_jax.detection.detector import PERHAPS, SURE
from gan2shape_jax.geometry.crop_box import CropBox, sample_crop

_WHERE = {"x": 190, "y": 100, "side": 96}


def _detector(kind="people"):
    """Returns the detector of a bundled GAN, without what is said of how typical a crop is."""
    detector_weights = weights.stored_weights(pathlib.Path(load_config(kind).gan.checkpoint), "face")
    return faces.FaceDetector(detector_weights.framing)


def _near(box, expected, *, shift=0.06, scale=0.12, turn=6.0):
    turned = (box.roll_deg - expected.roll_deg + 180) % 360 - 180
    shifted = np.hypot(box.x - expected.x, box.y - expected.y) / expected.side
    return shifted < shift and abs(np.log(box.side / expected.side)) < np.log1p(scale) and abs(turned) < turn


@pytest.fixture(scope="module")
def photo():
    return placed(**_WHERE)


@pytest.fixture(scope="module")
def box(photo):
    """Where the face is found in the photo as it is."""
    (detection,) = _detector().detect(photo)
    assert detection.score >= SURE and _near(detection.box, CropBox(**_WHERE), shift=0.1, scale=0.15, turn=10)
    return detection.box


@pytest.mark.parametrize(
    "colours",
    [
        pytest.param(lambda p: np.repeat(p.mean(-1, keepdims=True), 3, -1), id="grey"),
        pytest.param(lambda p: p / 3, id="a third as bright"),
        pytest.param(lambda p: p * (1.15, 0.9, 0.6), id="warm"),
        pytest.param(lambda p: 255 * (p / 255) ** 2, id="gamma"),
    ],
)
def test_a_face_is_found_in_any_colours(photo, box, colours):
    (detection,) = _detector().detect(np.clip(colours(photo.astype(np.float64)), 0, 255).astype(np.uint8))
    assert detection.score >= SURE and _near(detection.box, box)


@pytest.mark.parametrize("width", [150, 1024, 4000])
def test_a_face_is_framed_alike_in_files_of_any_size(photo, box, width):
    factor = width / photo.shape[1]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    (detection,) = _detector().detect(cv2.resize(photo, (width, round(photo.shape[0] * factor)), interpolation=how))
    there = CropBox(
        detection.box.x / factor, detection.box.y / factor, detection.box.side / factor, detection.box.roll_deg
    )
    assert detection.score >= SURE and _near(there, box, shift=0.03, scale=0.05, turn=2)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_photos_lying_and_upside_down_have_the_same_crop(photo, box, turns):
    (detection,) = _detector().detect(np.rot90(photo, turns).copy())
    x, y, (height, width) = detection.box.x, detection.box.y, photo.shape[:2]
    place = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns]
    there = CropBox(*place, detection.box.side, detection.box.roll_deg + 90 * turns)
    assert detection.score >= SURE and _near(there, box)


@pytest.mark.parametrize("share", [1.0, 0.88, 0.75, 0.65])
@pytest.mark.parametrize("grey", [False, True])
def test_a_face_that_fills_its_photo_is_as_certain(photo, box, share, grey):
    """Such as in an avatar: YuNet, with nothing around a face, scores it as low as other things."""
    half = share * box.side / 2
    top, left = round(box.y - half), round(box.x - half)
    cut = photo[top : round(box.y + half), left : round(box.x + half)]
    cut = np.repeat(cut.mean(-1, keepdims=True).astype(np.uint8), 3, -1) if grey else np.ascontiguousarray(cut)
    (detection,) = _detector().detect(cut)
    there = CropBox(detection.box.x + left, detection.box.y + top, detection.box.side, detection.box.roll_deg)
    assert detection.score >= 0.9 and _near(there, box, shift=0.1, scale=0.15)


def test_what_lies_has_to_be_certainly_a_face(photo, box):
    """A dog's blur, turned by 99 degrees, would be perhaps a face."""
    for blur in range(1, 9):
        lying = np.rot90(cv2.GaussianBlur(photo, (0, 0), blur)).copy()
        assert all(one.score >= SURE or abs(one.box.roll_deg) < 60 for one in _detector().detect(lying))


def test_a_tilted_face_is_framed_upright(photo, box):
    tilted = sample_crop(photo, CropBox(190, 100, 180, -20), 360)
    (detection,) = _detector().detect(tilted)
    assert _near(detection.box, CropBox(180, 180, 2 * box.side, box.roll_deg + 20), shift=0.12)


def test_several_faces_come_from_left_to_right():
    photo = placed(x=220, y=70, side=80)
    photo[100:180, 20:100] = placed("ictface/image/009.png", x=60, y=140, side=80)[100:180, 20:100]
    left, right = _detector().detect(photo)
    assert min(left.score, right.score) >= SURE and (left.box.x < 100 < right.box.x)


def test_of_more_faces_than_are_taken_from_one_photo_the_surest_are(monkeypatch):
    photo = placed(x=220, y=70, side=80)
    photo[100:180, 20:100] = placed("ictface/image/009.png", x=60, y=140, side=80)[100:180, 20:100]
    every = _detector().detect(photo)
    monkeypatch.setattr(faces, "_MOST", 1)
    assert _detector().detect(photo) == [max(every, key=lambda detection: detection.score)]


def test_where_there_is_no_face_the_best_candidate_is_no_detection():
    rng = np.random.default_rng(0)
    photos = (
        np.full((16, 48, 3), 7, np.uint8),
        rng.integers(0, 255, (90, 120, 3), np.uint8),
        placed("cat/image/001.png", **_WHERE),
    )
    scores = [[detection.score for detection in _detector().detect(photo)] for photo in photos]
    assert all(score < PERHAPS for each in scores for score in each), scores


def test_crops_are_assessed_one_by_one(photo):
    face = sample_crop(photo, CropBox(**_WHERE), 64)
    waves = sample_crop(photo, CropBox(60, 100, 96), 64)
    first, second, third = _detector().scores(np.stack([face, waves, np.rot90(face, 2)]))
    assert first >= SURE and max(second, third) < PERHAPS


def test_how_a_gan_frames_faces_is_measured_on_pictures_framed_alike():
    """Landmarks that a head's turn moves to one side are compensated for."""
    samples = np.stack(
        [placed(f"ictface/image/{name}.png", **_WHERE)[52:148, 142:238] for name in ("006", "009", "001")]
    )
    framing = faces.measure(samples)
    assert framing.landmarks.shape == (5, 2) and (framing.landmarks[0] < framing.landmarks[4]).all()
    assert faces.measure(np.zeros((3, 64, 64, 3), np.uint8)) is None


@pytest.mark.parametrize("x", [0, 20, 280, 300])
def test_a_face_at_the_edge_of_its_photo_stops_nothing(x):
    photo = np.pad(placed(**_WHERE), ((0, 0), (300, 300), (0, 0)), mode="edge")[:, 300 + 190 - x :][:, :300]
    for detection in _detector().detect(np.ascontiguousarray(photo)):
        assert 0 <= detection.box.x <= 300 and sample_crop(photo, detection.box, 64).shape == (64, 64, 3)
