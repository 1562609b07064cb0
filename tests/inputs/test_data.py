"""What a run reads about each image: items, masks, lists."""

import numpy as np
import pytest
from helpers.picture_files import PIXELS as _PIXELS
from helpers.picture_files import save as _save
from PIL import Image

from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.inputs import data
from gan2shape_jax.inputs.image_files import open_gray

_RNG = np.random.default_rng(0)


@pytest.fixture
def bundled():
    return load_config("ictface")


# The bundled faces


def test_bundled_item_has_the_stated_shapes_and_ranges(bundled):
    pytest.importorskip("gan2shape_jax.weight_files.torch_reader")
    for name in data.read_names(bundled.data.image_list):
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


def test_png_depth_is_nearness(tmp_path):
    levels = np.tile(np.linspace(0, 255, 8).astype(np.uint8), (8, 1))
    _save(tmp_path / "d.png", levels, "L")
    loaded = data.load_depth(tmp_path / "d.png", 8, None, 0.9, 1.1)
    np.testing.assert_allclose(loaded[0, [0, -1]], [1.1, 0.9], atol=1e-6)
    assert (np.diff(loaded[0]) < 0).all()


def test_images_without_a_latent_are_left_to_the_inversion(bundled, tmp_path):
    config = apply_overrides(bundled, {"data.latent_root": str(tmp_path)})
    assert data.load_item(config, "001.png").latent is None
    assert data.load_item(apply_overrides(bundled, {"data.latent_root": ""}), "001.png").latent is None


def test_masks_are_needed_only_where_the_method_uses_them(bundled):
    none = apply_overrides(bundled, {"data.mask_root": ""})
    with pytest.raises(UserError, match=r"001.png has no object mask.*mask_root=FOLDER"):
        data.load_item(none, "001.png")
    item = data.load_item(apply_overrides(none, {"networks.pretrained": "w.pth", "data.latent_root": ""}), "001.png")
    assert (item.mask == 1).all()


@pytest.mark.parametrize("root", ["mask_root", "depth_root"])
def test_missing_companion_file_is_named(root, bundled, tmp_path):
    config = apply_overrides(bundled, {f"data.{root}": str(tmp_path), "data.latent_root": ""})
    with pytest.raises(UserError, match=f"{tmp_path}/001"):
        data.load_item(config, "001.png")


# Masks


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


def test_bilevel_mask_is_read(tmp_path):
    path = _save(tmp_path / "m.png", Image.fromarray(_PIXELS[..., 0]).convert("1"), "1")
    assert set(np.unique(open_gray(path))) == {0, 255}


def test_empty_mask_is_refused(tmp_path):
    path = _save(tmp_path / "m.png", np.zeros((64, 64), np.uint8), "L")
    with pytest.raises(UserError, match=r"m.png is empty"):
        data.load_mask(path, 64)


# Lists


def test_list_skips_blank_lines_comments_and_carriage_returns(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.png\r\n\r\n  \n# note\nsub/b.png 3\n")
    assert data.read_names(path) == ["a.png", "sub/b.png"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "names no image"),
        (b"\n \n", "names no image"),
        (b"a.png\nb.png\na.png\n", "a.png more than once"),
        (b"a.png\na.jpg\n", "a.jpg, a.png more than once"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"/etc/a.png", "relative"),
        (b"../a.png", "relative"),
        (None, "does not exist"),
    ],
)
def test_unusable_list_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        data.read_names(path)
    assert str(path) in str(caught.value)
