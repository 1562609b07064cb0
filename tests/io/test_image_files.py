"""Reading pictures of any colour mode, cropping and resizing; unusable ones are refused by name."""

import errno
import importlib.util
import io
import os
import pathlib

import numpy as np
import pytest
from helpers.picture_files import PIXELS as _PIXELS
from helpers.picture_files import save as _save
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import image_files
from gan2shape_jax.io.arrays import picture_of
from gan2shape_jax.io.image_files import crop_and_resize, finished, open_square, open_upright

_RNG = np.random.default_rng(0)
# Pictures in colours of their own, whose profiles (ICC, version 2) and values were computed once in NumPy from the
# spaces' primaries, whites (adapted after Bradford) and exponents. The ink's is black where K is full, else 1 - C.
_COLOURS = pathlib.Path(__file__).parents[1] / "data" / "colours"


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
    actual = np.asarray(crop_and_resize(Image.fromarray(pixels), crop, size), float)
    side = crop or 200
    left = round((200 - side) / 2)
    inner = pixels[left : left + side, left : left + side]
    weights = _triangle_weights(side, size)
    expected = np.einsum("ai,bj,ijc->abc", weights, weights, inner, optimize=True)
    np.testing.assert_allclose(actual, expected, atol=1.1)  # both passes round to 8 bits


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
    assert image_files.picture_sides(path) == tuple(sorted(size))
    cut_out = _save(tmp_path / "b.png", pixels, "RGBA")
    np.testing.assert_array_equal(open_square(cut_out, cut=True).alpha, inner[..., 3])
    with pytest.raises(UserError, match="must be square: crop it .* or set config.data.crop"):
        open_square(path)


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
    with pytest.raises(UserError, match=r"a\.png cannot be read: .*Permission denied"):
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


@pytest.mark.parametrize("progressive", [False, True])
def test_of_a_jpeg_that_is_cut_short_what_there_is_is_shown_and_said(tmp_path, progressive):
    rough = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    content = io.BytesIO()
    whole = Image.fromarray(rough).resize((320, 320), Image.Resampling.BICUBIC)
    whole.save(content, "JPEG", quality=90, progressive=progressive)
    path, size = tmp_path / "a.jpg", len(content.getvalue())
    path.write_bytes(content.getvalue()[: int(0.92 * size)])
    with pytest.warns(UserWarning, match=r"a\.jpg is cut short: what is missing of it counts as grey"):
        shown = np.asarray(open_upright(path, least=16).picture, int)
    assert np.abs(shown - np.asarray(whole))[:270].mean() < 6
    with pytest.raises(UserError, match="damaged or truncated"):  # pictures of a list are whole
        open_square(path)
    if not progressive:
        assert (shown[-1] == 128).all()
        path.write_bytes(content.getvalue()[: int(0.3 * size)])
        with pytest.raises(UserError, match="damaged or truncated"):
            open_upright(path, least=16)
    png = io.BytesIO()
    whole.save(png, "PNG")
    (tmp_path / "a.png").write_bytes(png.getvalue()[: len(png.getvalue()) // 2])
    with pytest.raises(UserError, match="damaged or truncated"):
        open_upright(tmp_path / "a.png", least=16)


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


def _soft(side=64):
    """Colours that every space has, without darks, where 8 bits of linear light are too coarse."""
    rough = Image.fromarray(np.random.default_rng(0).integers(90, 170, (5, 5, 3), np.uint8))
    return np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC))


def _off(actual, expected):
    return np.abs(np.asarray(actual, int) - np.asarray(expected, int)).max()


def _coloured(name):
    """Returns a picture, without its profile, its profile, and its path."""
    path = _COLOURS / name
    picture = Image.open(path)
    return Image.fromarray(np.asarray(picture), picture.mode), picture.info["icc_profile"], path


@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB", "ProPhoto", "linear"])
def test_colours_of_a_profile_become_those_of_srgb(space, tmp_path):
    soft, (picture, profile, path) = _soft(), _coloured(f"{space}.png")
    assert _off(picture, soft) > 5
    pictures = (open_square(path), open_upright(path, least=16), picture_of(Image.open(path)))
    assert max([_off(actual[0], soft) for actual in pictures]) <= 2
    alpha = Image.fromarray(np.where(np.arange(64) < 32, 0, 255).astype(np.uint8)[None].repeat(64, 0))
    picture.putalpha(alpha)
    picture.save(tmp_path / "a.png", icc_profile=profile)
    cut = open_square(tmp_path / "a.png")
    assert _off(np.asarray(cut.picture)[:, 32:], soft[:, 32:]) <= 2 and (np.asarray(cut.picture)[:, :32] == 255).all()
    assert _off(cut.alpha, alpha) == 0


def _writes_heif() -> bool:
    if reference := importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()
    return reference


def test_every_format_that_holds_a_profile_gives_the_same_colours(tmp_path):
    soft, (picture, profile, _) = _soft(), _coloured("linear.png")
    kinds = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}, "tif": {}}
    kinds["avif"] = {"quality": 100, "subsampling": "4:4:4"}  # in a child process
    if _writes_heif():
        kinds["heic"] = {"quality": 100, "chroma": 444}
    for ending, options in kinds.items():
        picture.save(tmp_path / f"a.{ending}", icc_profile=profile, **options)
        assert _off(open_upright(tmp_path / f"a.{ending}", least=16).picture, soft) <= 5, ending


# By EXIF orientation, from the upright picture to the stored one.
_BACK = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}


@pytest.mark.parametrize("ending", ["heic", "avif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_photo_is_turned_once_by_its_boxes_or_its_exif(ending, orientation, tmp_path):
    if ending == "heic" and not _writes_heif():
        pytest.skip("nothing writes HEIC")
    upright = Image.fromarray(_soft()).resize((48, 64))
    stored = upright if orientation == 1 else upright.transpose(_BACK[orientation])
    options = {"heic": {"quality": 100, "chroma": 444}, "avif": {"quality": 100, "subsampling": "4:4:4"}}[ending]
    path = tmp_path / f"a.{ending}"
    written, patched = [], []
    tag, another, spare = (b"\x01%c\0\x03\0\0\0\x01\0" % number for number in (0x12, 0x13, 0x11))
    for says in (1, orientation):  # writers turn an orientation in EXIF into a box: another tag is renamed afterwards
        exif = Image.Exif()
        exif[0x0112], exif[0x0113] = says, orientation
        stored.save(path, exif=exif.tobytes(), **options)
        content = path.read_bytes()
        assert (b"irot" in content or b"imir" in content) is (says != 1)
        written.append(np.asarray(open_upright(path, least=16).picture))
        assert content.count(another) == 1
        path.write_bytes(content.replace(tag, spare).replace(another, tag))
        patched.append(np.asarray(open_upright(path, least=16).picture))
    assert _off(written[0], np.asarray(stored)) <= 4  # without either it is as it is stored
    for observed in (written[1], *patched):  # by the box; by EXIF; by both
        assert observed.shape == np.asarray(upright).shape and _off(observed, np.asarray(upright)) <= 4


def test_profiles_of_greys_and_inks_and_those_that_cannot_be_used():
    for exponent in (1.0, 2.2):
        ramp, grey, path = _coloured(f"grey {exponent}.png")
        expected = 255 * (1.055 * (np.asarray(ramp) / 255) ** (exponent / 2.4) - 0.055)
        assert _off(open_square(path).picture, expected[..., None]) <= 1
    _, ink, path = _coloured("ink.tif")
    observed = np.asarray(open_square(path).picture, int)
    assert (
        observed[:32].max() < 10
        and np.ptp(observed[40], axis=-1).max() < 4
        and (np.diff(observed[40, :, 0]) >= 0).all()
    )
    profile = _coloured("Adobe RGB.png")[1]
    for mode, broken in (
        ("RGB", b"no profile"),
        ("RGB", profile[:200]),
        ("RGB", profile[:128] + bytes(len(profile))),
        ("RGB", grey),  # of other modes than the picture's
        ("CMYK", profile),
        ("L", ink),
    ):
        picture = Image.fromarray(_PIXELS).convert(mode)
        expected = finished(picture, "a").picture
        picture.info["icc_profile"] = broken
        np.testing.assert_array_equal(finished(picture, "a").picture, expected)


def test_bytes_after_a_picture_are_not_read(tmp_path):
    """Phones put a clip after their photos."""
    other = _save(tmp_path / "b.jpg", _PIXELS[::-1]).read_bytes()
    clip = b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\x10\0mdat" + bytes(4088)
    endings, heif = "png jpg webp tif gif bmp ppm".split(), []
    if _writes_heif():
        other_heif = _save(tmp_path / "b.heic", _PIXELS[::-1]).read_bytes()
        endings, heif = [*endings, "heic"], [other_heif, other_heif[:-300]]
    for ending in endings:
        path = _save(tmp_path / f"a.{ending}")
        whole, expected = path.read_bytes(), np.asarray(image_files._decoded(path, alone=True)[0].convert("RGB"))
        for after in (clip, other, bytes(999), _RNG.bytes(9999), whole, *heif):
            path.write_bytes(whole + after)
            actual = image_files._decoded(path, alone=True)[0].convert("RGB")
            np.testing.assert_array_equal(actual, expected, err_msg=ending)


def test_a_folders_pictures_are_found_through_links_once_and_the_rest_is_named(tmp_path):
    folder, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    for place in (folder / "a", folder / ".hidden", elsewhere):
        place.mkdir(parents=True)
    for name in ("1.JFIF", "a/2.heic", "a/notes.txt", ".3.png", ".hidden/4.png", "clip.mov", "../elsewhere/5.jpeg"):
        (folder / name).write_bytes(b"")
    (folder / "b").symlink_to(elsewhere)
    for loop in (folder / "a" / "up", elsewhere / "self", folder / "c"):
        loop.symlink_to(elsewhere if loop.name == "c" else loop.parent)
    actual, others = image_files.pictures_in(folder, below=True)
    assert [str(path.relative_to(folder)) for path in actual] == ["1.JFIF", "a/2.heic", "b/5.jpeg"]
    assert others == ["a/notes.txt", "clip.mov"]
    assert image_files.pictures_in(folder, below=False) == ([folder / "1.JFIF"], ["a", "b", "c", "clip.mov"])
