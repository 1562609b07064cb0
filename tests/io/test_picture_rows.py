"""Working on some rows at a time gives the same bits as Pillow gives for the whole picture."""

import io

import numpy as np
import pytest
from helpers.picture_files import save
from PIL import Image, ImageOps

from gan2shape_jax.io import picture_rows
from gan2shape_jax.io.image_files import crop_and_resize, open_alpha, open_gray, open_rgb, picture_size

_RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch):
    monkeypatch.setattr(picture_rows, "_PIXELS", 300)


def _whole(path, mode: str) -> np.ndarray:
    """The picture as Pillow turns, converts and cuts it at once."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
    side = min(picture.size)
    left, top = (round((length - side) / 2) for length in picture.size)
    if mode == "A":
        picture = picture.convert("RGBA").getchannel("A")
    elif picture.mode.startswith("I"):
        picture = Image.fromarray(np.round(np.asarray(picture) / 257).astype(np.uint8)).convert(mode)
    else:
        if picture.has_transparency_data and picture.mode != "RGB":
            layer = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        picture = picture.convert("RGB").convert(mode) if picture.mode != "L" else picture.convert(mode)
    return np.asarray(picture.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16"])
@pytest.mark.parametrize("size", [(40, 40), (41, 64), (70, 33)])
def test_turned_converted_and_cut_as_at_once(mode, orientation, size, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = _RNG.integers(0, 256, (size[1], size[0], 4), np.uint8)
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        picture = Image.fromarray(_RNG.integers(0, 2**16, size[::-1], np.uint16))
    path = save(tmp_path / "a.png", picture, mode, exif=exif)
    np.testing.assert_array_equal(open_rgb(path, cut=True), _whole(path, "RGB"))
    np.testing.assert_array_equal(open_gray(path, cut=True), _whole(path, "L"))
    assert picture_size(path) == (size if orientation < 5 else size[::-1])
    if mode in ("RGBA", "LA"):
        np.testing.assert_array_equal(open_alpha(path, cut=True), _whole(path, "A"))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_every_kind_of_file_is_turned(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", _RNG.integers(0, 256, (40, 50, 3), np.uint8), format=kind, exif=exif)
    np.testing.assert_array_equal(open_rgb(path, cut=True), _whole(path, "RGB"))
    assert picture_size(path) == ((50, 40) if orientation < 5 else (40, 50))


def test_orientation_from_text_is_respected(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes()
    for key, text in {
        "Raw profile type exif": f"\nexif\n{len(data):8}\n{data.hex()}\n",
        "XML:com.adobe.xmp": '<rdf tiff:Orientation="6"/>',
    }.items():
        info = PngInfo()
        info.add_itxt(key, text) if key.startswith("XML") else info.add_text(key, text)
        path = save(tmp_path / "a.png", _RNG.integers(0, 256, (40, 40, 3), np.uint8), pnginfo=info)
        np.testing.assert_array_equal(open_rgb(path), _whole(path, "RGB"))
        assert (np.asarray(open_rgb(path)) != np.asarray(Image.open(path))).any()


@pytest.mark.parametrize("mode", ["RGB", "L", "F"])
@pytest.mark.parametrize("crop", [None, 10, 63, 64, 90, 91, 200])
@pytest.mark.parametrize("size", [16, 64, 91, 130])
@pytest.mark.parametrize("by_area", [False, True])
def test_resized_as_at_once(mode, crop, size, by_area):
    picture = Image.fromarray(_RNG.integers(0, 256, (91, 91, 3), np.uint8)).convert(mode)
    whole = picture
    if crop is not None and crop < 91:
        left = round((91 - crop) / 2)
        whole = picture.crop((left, left, left + crop, left + crop))
    filter = Image.Resampling.BOX if by_area else Image.Resampling.BILINEAR
    expected = whole if whole.size == (size, size) else whole.resize((size, size), filter)
    np.testing.assert_array_equal(crop_and_resize(picture, crop, size, by_area=by_area), expected)


def test_the_first_picture_of_a_multi_picture_jpeg_is_the_photo(tmp_path):
    photo, preview = (Image.fromarray(_RNG.integers(0, 256, (side, side, 3), np.uint8)) for side in (64, 16))
    photo.save(tmp_path / "a.mpo", save_all=True, append_images=[preview])
    alone = io.BytesIO()
    photo.save(alone, "JPEG")
    path = (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert Image.open(path).n_frames == 2
    np.testing.assert_array_equal(open_rgb(path), np.asarray(Image.open(alone)))
