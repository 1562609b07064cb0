"""What a run reads about each image: items, masks, lists; data as published, and lists longer than folders."""

import contextlib
import pathlib
import shutil
import warnings

import numpy as np
import pytest
from helpers.picture_files import save as _save
from PIL import Image

from gan2shape_jax import main as program
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import data, image_lists
from gan2shape_jax.io.bundled import asset
from gan2shape_jax.io.required_files import require_images
from gan2shape_jax.run import preflight

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
        assert item.depth.shape == (64, 64) and item.depth.max() == np.float32(1.1) and item.depth.min() > 0.85
        assert item.latent.shape == (1, 128) and item.original_size == 64


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
    enlarged = pytest.warns(UserWarning, match="is 200 pixels wide and is enlarged to 250")
    with enlarged if crop > side else contextlib.nullcontext():
        for name in ("a.png", "b.png"):  # one with a mask file, one with an alpha channel
            item = data.load_item(config, name)
            assert item.image.shape == (64, 64, 3) and item.original_size == 200
            shown = (50 / side) ** 2  # of the square is the object
            assert item.mask.mean() == pytest.approx(shown, abs=1e-3)
            outside = item.image[item.mask == 0].mean()  # dark in the one, transparent over white in the other
            assert item.image[item.mask == 1].mean() > 0.9 and (outside < -0.5 if name == "a.png" else outside == 1)
        assert preflight.examine(apply_overrides(config, {"workdir": str(tmp_path / "run")})) == []
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
    assert told == f"{tmp_path / 'b.png'} is partly transparent and was composited over white"


_STEMS = ("001", "005", "006")
_PUBLISHED = pathlib.Path(__file__).parents[1] / "data" / "published" / "faces"  # a settings file of the original's


def _overrides(folder: pathlib.Path) -> dict[str, str]:
    """What the original's files cannot say: masks of one's own, a smaller GAN, no LPIPS weights."""
    other = {"gan.channel_multiplier": "0", "loss.perceptual": "discriminator", "data.mask_source": "file"}
    return other | {"data.mask_root": f"{folder}/mask"}


@pytest.fixture
def layout(tmp_path):
    """The folder of a settings file `mine.yml` and three bundled faces as the published rendered ones lie."""
    folder = tmp_path / "faces"
    for part in ("image", "depth", "latents", "mask"):
        (folder / part).mkdir(parents=True)
    for stem in _STEMS:
        shutil.copy(asset(f"ictface/image/{stem}.png"), folder / f"image/{stem}_image_1.png")
        shutil.copy(asset(f"ictface/mask/{stem}.png"), folder / f"mask/{stem}_image_1.png")
        shutil.copy(asset(f"ictface/latents/{stem}.pt"), folder / f"latents/{stem}_image_1.pt")
        depth = np.load(asset(f"ictface/depth/{stem}.npy"))
        nearness = np.where(depth > 0, (1.1 - depth) / 0.2, 0).clip(0, 1)
        Image.fromarray(np.round(nearness * 255).astype(np.uint8)).save(folder / f"depth/{stem}_depth_1.png")
    shutil.copy(asset("ictface/gan.safetensors"), folder / "gan.safetensors")
    (folder / "list.txt").write_text("".join(f"{stem}_image_1.png 3 0.5 x\r\n" for stem in _STEMS))
    settings = (_PUBLISHED / "mine.yml").read_text().replace("FOLDER", str(folder))
    (folder / "mine.yml").write_text(settings.replace("ASSETS/ictface", asset("ictface")))
    return folder


def _config(folder: pathlib.Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        config = load_config(str(folder / "mine.yml"))
    return apply_overrides(config, _overrides(folder))


def _command(folder: pathlib.Path) -> list[str]:
    return [f"--config={folder}/mine.yml", *(f"--config.{path}={text}" for path, text in _overrides(folder).items())]


@pytest.mark.filterwarnings("always:.*ignored. tex_cube_size:UserWarning")  # is printed
def test_original_layout_is_in_place_as_it_is(layout, capsys):
    assert program.main([*_command(layout), "--check"]) == 0
    printed = capsys.readouterr()
    assert "3 images of 64 pixels" in printed.out and "everything is in place" in printed.out
    ignored = f"warning: {layout}/mine.yml: ignored: tex_cube_size (no meaning here, see "
    assert printed.err == ignored + "docs/how-to/migrating.md)\n"


def test_original_layout_gives_what_the_bundled_faces_give(layout):
    config, bundled = _config(layout), load_config("ictface")
    for name, stem in zip(image_lists.read_names(config.data.image_list), _STEMS, strict=True):
        ours, theirs = data.load_item(config, name), data.load_item(bundled, f"{stem}.png")
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_array_equal(ours.latent, theirs.latent)
        inside = (theirs.depth < 1.1) & (theirs.depth > 0.9)
        # 256 levels over 0.2 scene units, rounded to the nearest
        np.testing.assert_allclose(ours.depth[inside], theirs.depth[inside], atol=0.2 / 255 / 2 + 1e-6)


@pytest.mark.parametrize(
    ("side", "crop", "size", "mode"), [(256, 170, 64, "L"), (256, 171, 128, "RGB"), (101, None, 64, "L")]
)
def test_depth_pictures_are_loaded_by_the_original_arithmetic(side, crop, size, mode, tmp_path):
    """gan2shape/model.py load_depth: centre crop, antialiased bilinear resize to 8 bits, over 255, near is white."""
    torch = pytest.importorskip("torch")
    levels = np.random.default_rng(side).integers(0, 256, (side, side), np.uint8)
    Image.fromarray(levels).convert(mode).save(tmp_path / "d.png")
    picture = Image.open(tmp_path / "d.png")
    if crop is not None:
        margin = int(round((side - crop) / 2.0))
        picture = picture.crop((margin, margin, margin + crop, margin + crop))
    picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    tensor = torch.from_numpy(np.array(picture)).float().div(255)
    scaled = (1 - (tensor if mode == "L" else tensor[..., 0])) * 2 - 1
    expected = (1 + scaled) / 2 * 1.1 + (1 - scaled) / 2 * 0.9
    actual = data.load_depth(tmp_path / "d.png", size, crop, 0.9, 1.1)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=3e-7)


def test_depths_named_after_images_or_after_depths_are_found(tmp_path):
    for file in ("7_depth.png", "b_image.npy", "b_depth.npy"):
        (tmp_path / file).write_bytes(b"x")
    assert data.find_depth(str(tmp_path), "7_image") == tmp_path / "7_depth.png"
    assert data.find_depth(str(tmp_path), "b_image") == tmp_path / "b_image.npy"
    assert data.find_depth(str(tmp_path), "9_image") is None


@pytest.mark.filterwarnings("always:.*ignored. tex_cube_size:UserWarning")  # is printed
@pytest.mark.parametrize(
    ("file", "field", "what", "flags"),
    [
        ("depth/005_depth_1.png", "data.depth_root", "true depth", []),
        ("mask/005_image_1.png", "data.mask_root", "object mask", ["--check"]),
    ],
)
def test_missing_depths_and_masks_are_counted_and_named_once(file, field, what, flags, layout, capsys):
    (layout / file).unlink()
    assert program.main([*_command(layout), *flags]) == 1
    told = capsys.readouterr().err
    assert told.count("005_image_1") == 1 and told.count("error: ") == 1
    assert f"1 of the 3 images of {layout}/list.txt have no {what} in config.{field} " in told
    assert not (layout / "results").exists()


def test_missing_latents_are_a_warning_until_all_are_missing(layout):
    config = _config(layout)
    names = image_lists.read_names(config.data.image_list)
    (layout / "latents/001_image_1.pt").unlink()
    (layout / "latents/006_image_1.pt").unlink()
    named = "001_image_1.png, 006_image_1.png; these are computed by inverting the GAN"
    with pytest.warns(UserWarning, match=f"2 of the 3 images .* no latent .*: {named}"):
        require_images(config, names)
    (layout / "latents/005_image_1.pt").unlink()
    with pytest.raises(UserError, match=r"3 of the 3 images .* no latent .*latent_root= finds all"):
        require_images(config, names)


def test_all_that_is_missing_is_told_together_and_long_lists_are_cut(layout):
    config = _config(layout)
    names = [f"x{i}.png" for i in range(30)]
    with pytest.raises(UserError) as caught:
        require_images(config, names)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and all("30 of the 30 images" in line and "and 10 more" in line for line in lines)
