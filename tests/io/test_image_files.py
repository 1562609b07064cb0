"""Reading pictures of any colour mode, cropping and resizing; unusable ones are refused by name."""

import errno
import os

import numpy as np
import pytest
from helpers.picture_files import PIXELS as _PIXELS
from helpers.picture_files import save as _save
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io.image_files import crop_and_resize, open_gray, open_square, open_upright, picture_sides

_RNG = np.random.default_rng(0)


def _triangle_weights(source: int, target: int) -> np.ndarray:
    """Antialiased bilinear resampling as a matrix: triangles as wide as two target pixels."""
    scale = max(source / target, 1)
    centres = (np.arange(target) + 0.5) * source / target
    weights = 1 - np.abs(np.arange(source) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("crop, size", [(170, 64), (171, 128), (None, 64), (50, 64)])
def test_resize_is_the_antialiased_triangle_filter(crop, size):
    pixels = _RNG.integers(0, 256, (200, 200, 3), np.uint8)
    found = np.asarray(crop_and_resize(Image.fromarray(pixels), crop, size), float)
    side = crop or 200
    left = round((200 - side) / 2)
    inner = pixels[left : left + side, left : left + side]
    weights = _triangle_weights(side, size)
    expected = np.einsum("ai,bj,ijc->abc", weights, weights, inner, optimize=True)
    np.testing.assert_allclose(found, expected, atol=1.1)  # both passes round to 8 bits


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16"])
def test_any_colour_mode_becomes_rgb(mode, tmp_path):
    gray = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    kind = ".tif" if mode == "CMYK" else ".png"
    if mode == "I;16":
        path = _save(tmp_path / f"a{kind}", gray.astype(np.uint16) * 257, mode)
    else:
        path = _save(tmp_path / f"a{kind}", gray, "RGB" if mode == "1" else "L")
        Image.open(path).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    picture = np.asarray(open_square(path).picture, int)
    assert picture.shape == (64, 64, 3) and picture[:, 0].mean() < 10 and picture[:, -1].mean() > 245
    assert mode == "1" or np.abs(picture - gray[..., None]).max() <= 4


def test_transparency_is_laid_over_white_and_said(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:32, :, 3] = 255
    square = open_square(_save(tmp_path / "a.png", pixels, "RGBA"))
    picture = np.asarray(square.picture)
    assert (picture[:32] == 0).all() and (picture[32:] == 255).all() and square.transparent
    square = open_square(_save(tmp_path / "a.png", Image.fromarray(_PIXELS).convert("RGBA"), "RGBA"))
    np.testing.assert_array_equal(square.picture, _PIXELS)
    assert not square.transparent and square.alpha is None


@pytest.mark.parametrize("size", [(64, 40), (41, 64), (65, 64)])
def test_a_picture_that_is_not_square_is_cut_where_that_is_asked_for(size, tmp_path):
    side = min(size)
    pixels = _RNG.integers(0, 256, (size[1], size[0], 4), np.uint8)
    path = _save(tmp_path / "a.png", pixels[..., :3])
    left, top = (round((length - side) / 2) for length in size)
    inner = pixels[top : top + side, left : left + side]
    np.testing.assert_array_equal(open_square(path, cut=True).picture, inner[..., :3])
    assert open_gray(path, cut=True).size == (side, side) and picture_sides(path) == tuple(sorted(size))
    cut_out = _save(tmp_path / "b.png", pixels, "RGBA")
    np.testing.assert_array_equal(open_square(cut_out, cut=True).alpha, inner[..., 3])
    for read in (open_square, open_gray):
        with pytest.raises(UserError, match="has to be square: cut it .* or set config.data.crop"):
            read(path)


@pytest.mark.parametrize("mode, orientation, turns", [("RGB", 1, 0), ("L", 3, 2), ("P", 6, -1), ("RGBA", 8, 1)])
def test_a_whole_photo_is_read_upright_at_its_own_size(mode, orientation, turns, tmp_path):
    lying = Image.fromarray(_RNG.integers(0, 256, (30, 47, 3), np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying.save(tmp_path / "x.png", exif=exif)
    expected = np.rot90(np.asarray(lying.convert("RGB")), turns)
    photo, alpha, reduction, _ = open_upright(tmp_path / "x.png", least=20)
    np.testing.assert_array_equal(photo, expected)
    assert alpha is None and reduction == 1
    with pytest.raises(UserError, match=r"only \d+ x \d+ pixels"):
        open_upright(tmp_path / "x.png", least=32)


def test_small_picture_is_enlarged_with_a_warning(tmp_path):
    path = _save(tmp_path / "a.png", _PIXELS[:32, :32])
    with pytest.warns(UserWarning, match="32 pixels wide and is enlarged to 64"):
        open_square(path, expected=64)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "a folder, not a file"),
        (lambda path: _save(path, _PIXELS[:40]), "64 x 40 pixels.*square"),
        (lambda path: _save(path, _PIXELS[:8, :8]), "only 8 pixels wide"),
        (lambda path: _save(path, np.zeros((1, 9000), np.uint8), "L"), "9000 x 1 pixels: at most 8192"),
        (lambda path: _save(path, _PIXELS[..., 0].astype(np.int32) - 100, "I"), "8 or 16 bits"),
    ],
)
def test_unusable_picture_is_refused_by_name(make, message, tmp_path):
    path = tmp_path / ("a.tif" if "bits" in message else "a.png")
    make(path)
    with pytest.raises(UserError, match=message) as caught:
        open_square(path)
    assert str(path) in str(caught.value)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(path, flags, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = _save(tmp_path / "a.png")
    monkeypatch.setattr(os, "open", refuse)  # root, as whom tests may run, is refused nothing
    with pytest.raises(UserError, match=r"a\.png may not be read by this user"):
        open_square(path)


def test_damaged_pictures_never_escape_as_other_errors(tmp_path):
    path, rng = _save(tmp_path / "a.png"), np.random.default_rng(0)
    whole = path.read_bytes()
    for start in rng.integers(0, 3000, 40):
        noise = rng.bytes(rng.integers(1, 9))
        path.write_bytes(whole[:start] + noise + whole[start + len(noise) :])
        try:
            assert open_square(path).picture.mode == "RGB"
        except UserError as error:
            assert str(path) in str(error)


def test_a_large_jpeg_is_opened_at_a_half_of_its_sides(tmp_path):
    rough = np.random.default_rng(0).integers(0, 255, (50, 75, 3), np.uint8)
    whole = Image.fromarray(rough).resize((9000, 6000), Image.Resampling.BICUBIC)
    whole.save(tmp_path / "a.jpg", quality=90)
    upright, alpha, reduction, _ = open_upright(tmp_path / "a.jpg", least=16)
    assert upright.size == (4500, 3000) and alpha is None and reduction == 2
    small = [np.asarray(picture.resize((75, 50), Image.Resampling.BOX), np.float32) for picture in (upright, whole)]
    assert np.abs(small[0] - small[1]).mean() < 1
    with pytest.raises(UserError, match="at most 8192"):
        open_square(tmp_path / "a.jpg", cut=True)
