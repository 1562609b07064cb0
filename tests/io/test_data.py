"""What a run reads about each image: items, masks, lists."""

import shutil
import warnings

import numpy as np
import pytest
from helpers.picture_files import save as _save
from PIL import Image

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import data, image_lists
from gan2shape_jax.run import check

_RNG = np.random.default_rng(0)


@pytest.fixture
def bundled():
    return load_config("ictface:scratch")


def test_bundled_item_has_the_stated_shapes_and_ranges(bundled):
    for name in image_lists.read_names(bundled.data.image_list):
        item = data.load_item(bundled, name)
        assert item.name == name.removesuffix(".png")
        assert item.image.shape == (64, 64, 3) and item.image.dtype == np.float32
        assert -1 <= item.image.min() < 0 < item.image.max() <= 1
        assert item.mask.shape == (64, 64) and set(np.unique(item.mask)) == {0, 1}
        assert item.depth.shape == (64, 64) and item.depth.max() == np.float32(1.1)
        assert item.depth.min() > 0.85
        assert item.latent.shape == (1, 128)
        assert (item.original_size, item.crop) == (64, None)


def test_background_and_what_lies_beyond_becomes_the_greatest_depth(tmp_path):
    depth = np.full((8, 8), 1.0, np.float32)
    depth[0], depth[1] = 0, 1.3
    np.save(tmp_path / "d.npy", depth)
    loaded = data.load_depth(tmp_path / "d.npy", 8, None, 0.9, 1.1)
    np.testing.assert_array_equal(loaded[:2], np.float32(1.1))
    np.testing.assert_array_equal(loaded[2:], 1)


def test_images_without_a_latent_are_left_to_the_inversion_and_those_without_a_true_depth_refused(bundled, tmp_path):
    for root in ("", str(tmp_path)):
        assert data.load_item(apply_overrides(bundled, {"data.latent_root": root}), "001.png").latent is None
    with pytest.raises(UserError, match=r"the true depth of 001.png is missing: .*001.npy or .png"):
        data.load_item(apply_overrides(bundled, {"data.depth_root": str(tmp_path)}), "001.png")


def test_no_mask_is_needed_where_the_method_does_not_use_one(bundled):
    free = {"data.mask_root": "", "networks.pretrained": "w.pth", "data.latent_root": ""}
    item = data.load_item(apply_overrides(bundled, free), "001.png")
    assert (item.mask == 1).all()


def test_mask_of_any_side_is_averaged_over_cells(tmp_path):
    mask = _RNG.integers(0, 256, (128, 128), np.uint8)
    loaded = data.load_mask(_save(tmp_path / "m.png", mask, "L"), 32)
    expected = mask.reshape(32, 4, 32, 4).mean((1, 3)) / 255
    np.testing.assert_allclose(loaded, expected, atol=1e-5)


def test_mask_is_cropped_only_where_it_shows_the_whole_image(tmp_path):
    mask = np.zeros((100, 100), np.uint8)
    mask[25:75, 25:75] = 255
    path = _save(tmp_path / "m.png", mask, "L")
    assert data.load_mask(path, 50, crop=50, image_size=100).min() == 1
    np.testing.assert_allclose(data.load_mask(path, 50, crop=60, image_size=120).mean(), 0.25, atol=0.02)


def _photo(folder, size=(300, 200)):
    """A photo that is not square, its mask as a file and as its alpha channel, with a bright object in the middle."""
    pixels = _RNG.integers(0, 100, (size[1], size[0], 3), np.uint8)
    mask = np.zeros(size[::-1], np.uint8)
    top, left = size[1] // 2 - 25, size[0] // 2 - 25
    mask[top : top + 50, left : left + 50] = 255
    pixels[mask > 0] = 255
    (folder / "mask").mkdir()
    _save(folder / "a.png", pixels)
    _save(folder / "b.png", np.dstack([pixels, mask]), "RGBA")
    _save(folder / "mask" / "a.png", mask, "L")
    (folder / "list.txt").write_text("a.png\nb.png\n")
    own = {"image_list": folder / "list.txt", "image_root": folder, "mask_root": folder / "mask"}
    return {f"data.{field}": str(path) for field, path in own.items()} | {"data.latent_root": "", "data.depth_root": ""}


@pytest.mark.parametrize("crop, side", [(100, 100), (200, 200), (250, 200)])
def test_crop_cuts_photos_that_are_not_square(crop, side, bundled, tmp_path):
    fields = _photo(tmp_path)
    config = apply_overrides(bundled, fields | {"data.crop": str(crop)})
    for name in ("a.png", "b.png"):  # one with a mask file, one with an alpha channel
        item = data.load_item(config, name)
        assert item.image.shape == (64, 64, 3) and item.original_size == 200
        shown = (50 / side) ** 2  # of the square is the object
        assert item.mask.mean() == pytest.approx(shown, abs=1e-3)
        outside = item.image[item.mask == 0].mean()  # dark in the one, transparent over white in the other
        assert item.image[item.mask == 1].mean() > 0.9 and (outside < -0.5 if name == "a.png" else outside == 1)
    assert check.examine(apply_overrides(config, {"workdir": str(tmp_path / "run")})) == []
    with pytest.raises(UserError, match="a.png is 300 x 200 pixels .* set config.data.crop"):
        data.load_item(apply_overrides(config, {"data.crop": "None"}), "a.png")


def test_crop_cuts_true_depths_that_are_pictures_alike(bundled, tmp_path):
    (tmp_path / "depth").mkdir()
    fields = _photo(tmp_path) | {"data.depth_root": str(tmp_path / "depth"), "data.crop": "100"}
    Image.open(tmp_path / "mask" / "a.png").save(tmp_path / "depth" / "a.png")
    item = data.load_item(apply_overrides(bundled, fields), "a.png")
    np.testing.assert_allclose(item.depth[32], np.where(item.mask[32] > 0.5, 0.9, 1.1), atol=0.11)
    np.testing.assert_allclose(item.depth[[0, 32], [0, 32]], [1.1, 0.9], atol=1e-6)


def test_mask_that_is_neither_square_nor_its_images_is_refused(bundled, tmp_path):
    config = apply_overrides(bundled, _photo(tmp_path) | {"data.crop": "100"})
    _save(tmp_path / "mask" / "a.png", np.full((90, 120), 255, np.uint8), "L")
    with pytest.raises(UserError, match="mask/a.png is neither square nor as large as its image: .* 90 pixels"):
        data.load_item(config, "a.png")


def _warnings_of(config, name) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data.load_item(config, name)
        data.open_picture(config, name)  # as the inversion does
    return [str(warning.message) for warning in caught]


def test_transparency_is_told_once_and_not_where_it_is_the_mask(bundled, tmp_path):
    fields = _photo(tmp_path) | {"data.crop": "100"}
    config = apply_overrides(bundled, fields)
    assert _warnings_of(config, "b.png") == []
    shutil.copy(tmp_path / "mask" / "a.png", tmp_path / "mask" / "b.png")  # now the mask is a file
    (told,) = _warnings_of(config, "b.png")
    assert told == f"{tmp_path / 'b.png'} is partly transparent and was laid over white"
