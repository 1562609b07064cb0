"""How well a picture shows an object: sharp or not, and how like a model's picture of it, whatever the light."""

import cv2
import numpy as np
import pytest

from gan2shape_jax.detection.detector import SIDE
from gan2shape_jax.photos import judge

_INSIDE = np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 25


@pytest.fixture(scope="module")
def picture():
    """Noise whose power falls with the square of frequency, as that of photographs does (64, 64, 3)."""
    rng = np.random.default_rng(3)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij"))
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / np.maximum(frequencies, 1 / SIDE)
    values = np.fft.ifft2(spectrum).real
    values = 128 + 40 * (values - values.mean()) / values.std()
    return np.clip(values, 0, 255).round().astype(np.uint8)[..., None].repeat(3, axis=-1)


def _changed(picture, gain, offset=0.0):
    return np.clip(picture * float(gain) + offset, 0, 255).round().astype(np.uint8)


def test_softness_grows_with_blur_and_not_with_gain_or_contrast(picture):
    sharp = judge.assessed(picture, 0.9, _INSIDE)
    soft = [judge.assessed(cv2.GaussianBlur(picture, (0, 0), sigma), 0.9, _INSIDE).blur for sigma in (1, 2, 4)]
    assert sharp.blur < soft[0] - 0.1 and soft[0] < soft[1] < soft[2] and soft[2] > 0.9
    for gain, offset in ((0.5, 0), (0.6, 40), (1, -20), (1, 20)):
        again = judge.assessed(_changed(picture, gain, offset), 0.9, _INSIDE)
        assert again.blur == pytest.approx(sharp.blur, abs=0.03)
    mirrored = judge.assessed(np.ascontiguousarray(picture[:, ::-1]), 0.9, _INSIDE[:, ::-1])
    np.testing.assert_allclose(mirrored, sharp, rtol=1e-9)


def test_a_plane_is_as_soft_as_can_be_and_noise_as_sharp():
    slope = np.mgrid[:SIDE, :SIDE].sum(0)
    assert judge.blur(slope * 1.0, _INSIDE) == pytest.approx(1.0)
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    assert abs(judge.blur(noise, _INSIDE)) < 0.05


def test_what_lies_beside_the_object_does_not_count(picture):
    other = np.where(_INSIDE[..., None], picture, 255 - picture)
    first, second = (judge.assessed(one, 0.9, _INSIDE) for one in (picture, other))
    assert first.blur == second.blur
    assert first.contrast * first.light == pytest.approx(second.contrast * second.light)


def test_light_and_contrast_of_a_picture(picture):
    known = judge.assessed(picture, 0.7, _INSIDE, pixels=80.0, outside=0.25)
    dark, flat = (judge.assessed(_changed(picture, *how), 0.7, _INSIDE) for how in ((0.25,), (0.1, 115)))
    assert known[:3] == (0.7, 80.0, 0.25) and np.isnan(dark[1:3]).all()
    assert dark.light == pytest.approx(known.light / 4, abs=1) and dark.contrast == pytest.approx(
        known.contrast, abs=0.03
    )
    assert flat.contrast < 0.2 * known.contrast
    black = judge.assessed(np.zeros((SIDE, SIDE, 3), np.uint8), 0.7, _INSIDE)
    assert black.light == black.contrast == 0 and np.isfinite(black.blur)


@pytest.mark.parametrize("size", [64, 128])
def test_unlikeness_compares_where_features_are_and_not_light_or_colour(picture, size):
    image = cv2.resize(picture, (size, size)).astype(np.float64) / 127.5 - 1
    inside = cv2.resize(_INSIDE.astype(np.uint8), (size, size)) > 0
    light = np.linspace(0.5, 1.5, size)[None, :, None]
    unlike = lambda other: judge.dissimilarity(image, other, inside)  # noqa: E731
    assert unlike(image) == pytest.approx(0, abs=1e-9)
    assert unlike(0.3 * image - 0.4) == pytest.approx(0, abs=1e-9)
    assert unlike(image * (0.2, 1.0, 0.6)) == pytest.approx(0, abs=1e-9)
    assert unlike((image + 1) * light - 1) < 0.1
    assert unlike(-image) == pytest.approx(2, abs=1e-9)
    assert unlike(np.roll(image, size // 4, axis=1)) > 0.7
    assert unlike(np.zeros_like(image)) == 1


@pytest.mark.parametrize("size", [64, 128])
def test_a_mouth_is_seen_unless_something_plain_covers_it(picture, size):
    face = picture.astype(np.float64)
    covered, light = face.copy(), face.copy()
    covered[34:56, 12:52] = 200
    face[41:46, 24:41] -= 60
    light[41:46, 24:41] += 60  # lips that are lighter than a beard
    face, light, covered = (cv2.resize(one, (size, size)) / 127.5 - 1 for one in (face, light, covered))
    inside = cv2.resize(_INSIDE.astype(np.uint8), (size, size)) > 0
    landmarks = (np.array([[21, 21], [42, 21], [31, 33], [22, 43], [41, 43]]) + 0.5) * size / 64 - 0.5
    mouth = lambda image: judge.mouth(image, landmarks, inside)  # noqa: E731
    doubt = judge.MEASURES["mouth"].doubt
    assert mouth(covered) < 0.7 * doubt < 1.2 * doubt < min(mouth(face), mouth(light))
    for other in (0.3 * face - 0.4, -face, face * (0.2, 1.0, 0.6)):
        assert mouth(other) == pytest.approx(mouth(face), rel=1e-6)
    across = np.array([size - 1, 0]) - landmarks[[1, 0, 2, 4, 3]] * (1, -1)
    assert judge.mouth(face[:, ::-1], across, inside[:, ::-1]) == pytest.approx(mouth(face), rel=1e-6)
    assert np.isnan(judge.mouth(face, np.full((5, 2), np.nan), inside))
    assert mouth(np.zeros_like(face)) == 0


@pytest.mark.parametrize("size", [64, 128])
def test_what_covers_a_face_is_darker_or_lighter_than_the_models_picture_of_it(picture, size):
    plain = 0.5 * picture.astype(np.float64) + 20
    sunglasses, arm = plain.copy(), plain.copy()
    sunglasses[17:26, 14:29] = sunglasses[17:26, 35:50] = 25
    arm[5:20] = 250
    face, sunglasses, arm = (cv2.resize(one, (size, size)) / 127.5 - 1 for one in (plain, sunglasses, arm))
    inside = cv2.resize(_INSIDE.astype(np.uint8), (size, size)) > 0
    landmarks = (np.array([[21, 21], [42, 21], [31, 33], [22, 43], [41, 43]]) + 0.5) * size / 64 - 0.5

    def measured(image, reconstruction=face):
        lighter = judge.brightness(image, reconstruction, inside)
        return judge.eyes(lighter, landmarks, inside), lighter[inside].std()

    eyes, uneven = (judge.MEASURES[name].doubt for name in ("eyes", "unevenness"))
    assert measured(face) == pytest.approx((0, 0), abs=1e-9)
    assert measured(sunglasses)[0] > 1.2 * eyes and measured(arm)[0] < 0 and measured(arm)[1] > uneven
    for gain, offset in ((0.6, -0.4), (0.5, 0), (1, 0.2)):  # the model's picture has the picture's light and contrast
        again = measured(gain * sunglasses + offset, gain * face + offset)
        assert again == pytest.approx(measured(sunglasses), rel=1e-6)
    assert measured(face + 0.2) == pytest.approx((0, 0), abs=1e-9)
    assert np.isnan(judge.eyes(face[..., 0], np.full((5, 2), np.nan), inside))
    assert not judge.brightness(face, face, np.zeros_like(inside)).any()

    def hidden(image):  # as uneven, an arm hides brows and forehead, and a brighter cheek nothing
        return judge.hidden(image, face, landmarks, inside, unevenness=0.15)

    cheek = face + 0.3 * (np.arange(size)[:, None, None] > 0.6 * size)
    assert hidden(arm) > judge.MEASURES["hidden"].doubt > 2 * hidden(cheek) and hidden(face) < hidden(arm) / 3
    assert hidden(0.6 * arm - 0.4) == pytest.approx(hidden(arm), rel=1e-6)
    assert np.isnan(judge.hidden(face, face, np.full((5, 2), np.nan), inside, 0.1))
    assert np.isnan(judge.hidden(face, face, landmarks, np.zeros_like(inside), 0.1))


@pytest.mark.parametrize("size", [64, 128])
def test_an_open_mouth_is_darker_than_the_models(picture, size):
    closed = 0.5 * picture.astype(np.float64) + 60
    opened = closed.copy()
    opened[43:50, 26:38] = 10
    closed, opened = (cv2.resize(one, (size, size)) / 127.5 - 1 for one in (closed, opened))
    inside = cv2.resize(_INSIDE.astype(np.uint8), (size, size)) > 0
    landmarks = (np.array([[21, 21], [42, 21], [31, 33], [22, 43], [41, 43]]) + 0.5) * size / 64 - 0.5
    told = judge.open_mouth(opened, closed, landmarks, inside)
    assert told > 1.2 * judge.MEASURES["open_mouth"].doubt
    assert judge.open_mouth(0.5 * opened - 0.1, 0.5 * closed - 0.1, landmarks, inside) == pytest.approx(told)
    assert judge.open_mouth(closed, closed, landmarks, inside) == 0
    assert np.isnan(judge.open_mouth(closed, closed, np.full((5, 2), np.nan), inside))
    assert np.isnan(judge.open_mouth(closed, closed, landmarks, np.zeros_like(inside)))


def test_a_shape_is_as_far_from_the_mean_one_wherever_it_is():
    inside = np.zeros((8, 8), bool)
    inside[2:6, 2:6] = True
    mean = np.where(inside, np.linspace(0.9, 1.1, 8), 5.0)  # what is outside does not count
    off = 0.01 * (-1.0) ** np.arange(8)
    relief = np.ptp(mean[inside])
    for moved in (0, 0.2):
        assert judge.shape_distance(mean + off + moved, mean, inside) == pytest.approx(0.01 / relief)
    flat = judge.shape_distance(np.ones((8, 8)), mean, inside)
    assert flat == pytest.approx(mean[inside].std() / relief) and flat > judge.MEASURES["shape_distance"].doubt
    assert np.isnan(judge.shape_distance(mean, mean, np.zeros_like(inside)))


def test_sums_around_pixels_are_those_of_the_square():
    values = np.random.default_rng(1).normal(size=(9, 9))
    summed = judge._summed(values, 2)
    assert summed[4, 4] == pytest.approx(values[2:7, 2:7].sum())
    assert summed[0, 8] == pytest.approx(values[:3, 6:].sum())
