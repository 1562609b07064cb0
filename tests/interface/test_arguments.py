"""Arguments of the public interface: what is taken, to which bits, and what is said of the rest."""

import pathlib

import numpy as np
import pytest
from helpers.tiny import asset
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.interface import arguments
from gan2shape_jax.io.masks import load_mask

_RNG = np.random.default_rng(0)
_PIXELS = _RNG.integers(0, 256, (24, 24, 3), np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        _PIXELS,
        _PIXELS / 255,
        (_PIXELS / 255).astype(np.float32),
        Image.fromarray(_PIXELS),
        Image.fromarray(_PIXELS).convert("RGBA"),
    ],
)
def test_the_same_picture_in_any_form(image):
    np.testing.assert_array_equal(np.asarray(arguments.picture_of(image)), _PIXELS)


def test_transparent_pictures_lie_on_white():
    layer = np.concatenate([_PIXELS, np.zeros((24, 24, 1), np.uint8)], axis=-1)
    assert (np.asarray(arguments.picture_of(Image.fromarray(layer))) == 255).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (_PIXELS[:20], "image is 20 x 24 pixels: cut it to a square"),
        (_PIXELS[:8, :8], "image is 8 pixels wide"),
        (_PIXELS[..., 0], r"image has the shape \(24, 24\): \(height, width, 3\) is needed"),
        (_PIXELS.astype(int), "image has the type int64: uint8 from 0 to 255, or floats"),
        (_PIXELS / 127.5 - 1, r"image has values from -.* to .*: floats have to lie in \[0, 1\]"),
        (_PIXELS.astype(float), r"floats have to lie in \[0, 1\]"),
        (np.full((24, 24, 3), np.nan), "image holds numbers that are not finite"),
        (np.array(["face"]), "image has the type <U4: an array of numbers is needed"),
        (Image.fromarray(_PIXELS[..., 0].astype(np.int32)), "image is of Pillow's mode I"),
    ],
)
def test_other_pictures_are_refused(image, message):
    with pytest.raises(ValueError, match=message) as caught:
        arguments.picture_of(image)
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("crop", [None, 40])
def test_a_mask_has_the_bits_of_its_file(crop):
    path = pathlib.Path(asset("ictface/mask/001.png"))
    values = np.asarray(Image.open(path).convert("L"))
    side = len(values)
    size = 32
    from_file = load_mask(path, size, crop, side)
    for mask in (Image.open(path), values):
        np.testing.assert_array_equal(arguments.mask_of(mask, side, size, crop), from_file)
    np.testing.assert_allclose(arguments.mask_of(values / 255, side, size, crop), from_file, atol=1e-6)


def test_zeros_and_ones_are_a_mask_in_any_type():
    mask = np.zeros((24, 24), bool)
    mask[6:18, 6:18] = True
    for kind in (bool, np.uint8, np.int64, np.float32):
        np.testing.assert_array_equal(arguments.mask_of(mask.astype(kind), 24, 24, None), mask.astype(np.float32))
    np.testing.assert_array_equal(arguments.mask_of(mask[..., None], 24, 24, None), mask.astype(np.float32))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((20, 24)), r"mask has the shape \(20, 24\): that of the image is needed, \(24, 24\)"),
        (np.zeros((24, 24)), "mask is empty"),
        (np.full((24, 24), 1.5), "mask has values from 1.5 to 1.5"),
        (np.full((24, 24), -1), "mask has values from -1 to -1"),
        (np.full((24, 24), 300), "mask has values from 300 to 300"),
    ],
)
def test_other_masks_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        arguments.mask_of(mask, 24, 24, None)


def test_an_alpha_channel_is_a_mask_where_it_shows_an_object():
    alpha = np.zeros((24, 24, 1), np.uint8)
    alpha[6:18, 6:18] = 255
    mask = arguments.alpha_of(Image.fromarray(np.concatenate([_PIXELS, alpha], axis=-1)))
    np.testing.assert_array_equal(np.asarray(mask), alpha[..., 0])
    assert arguments.alpha_of(Image.fromarray(_PIXELS).convert("RGBA")) is None
    assert arguments.alpha_of(_PIXELS) is None


def test_latents_of_w_and_of_every_layer():
    for shape in ((8,), (1, 8)):
        assert arguments.latent_of(np.zeros(shape), 8, 6).shape == (1, 8)
    for shape in ((6, 8), (1, 6, 8)):
        assert arguments.latent_of(np.zeros(shape), 8, 6).shape == (1, 6, 8)
    with pytest.raises(ValueError, match=r"latent has the shape \(5, 8\): this GAN takes \(8,\) or \(6, 8\)"):
        arguments.latent_of(np.zeros((5, 8)), 8, 6)


def test_true_depth():
    depth = np.full((4, 4), 1.3)
    depth[1:3, 1:3] = 0.95
    given = arguments.true_depth_of(depth, 4, 1.1)
    assert given.max() == np.float32(1.1) and given.min() == np.float32(0.95)


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.ones((4, 5)), r"true_depth has the shape \(4, 5\): \(4, 4\) is needed"),
        (np.eye(4), "true_depth has values down to 0: .* give the background the greatest depth, 1.1"),
        (np.full((4, 4), 2.0), "true_depth shows no object: none of it is nearer than 1.1"),
        (np.full((4, 4), np.inf), "true_depth holds numbers that are not finite"),
    ],
)
def test_other_depths_are_refused(depth, message):
    with pytest.raises(ValueError, match=message):
        arguments.true_depth_of(depth, 4, 1.1)
