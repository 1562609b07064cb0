"""Reading images, masks, depths, latents and statistics; bad files are refused by name."""

import pathlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from gan2shape_jax import data
from gan2shape_jax.config import apply_overrides, load_config
from gan2shape_jax.errors import UserError
from gan2shape_jax.image_files import crop_and_resize, open_gray, open_rgb

_RNG = np.random.default_rng(0)
_PIXELS = _RNG.integers(0, 256, (64, 64, 3), np.uint8)


def _save(path: pathlib.Path, pixels=_PIXELS, mode="RGB", **options) -> pathlib.Path:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (picture if picture.mode == mode else picture.convert(mode)).save(path, **options)
    return path


@pytest.fixture
def bundled():
    return load_config("ictface")


# The bundled faces


def test_bundled_item_has_the_stated_shapes_and_ranges(bundled):
    pytest.importorskip("gan2shape_jax.torch_reader")
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
    assert (
        data.load_item(apply_overrides(bundled, {"data.latent_root": ""}), "001.png").latent is None
    )


def test_masks_are_needed_only_where_the_method_uses_them(bundled):
    none = apply_overrides(bundled, {"data.mask_root": ""})
    with pytest.raises(UserError, match=r"001.png has no object mask.*mask_root=FOLDER"):
        data.load_item(none, "001.png")
    item = data.load_item(
        apply_overrides(none, {"networks.pretrained": "w.pth", "data.latent_root": ""}), "001.png"
    )
    assert (item.mask == 1).all()


@pytest.mark.parametrize("root", ["mask_root", "depth_root"])
def test_missing_companion_file_is_named(root, bundled, tmp_path):
    config = apply_overrides(bundled, {f"data.{root}": str(tmp_path), "data.latent_root": ""})
    with pytest.raises(UserError, match=f"{tmp_path}/001"):
        data.load_item(config, "001.png")


# Pictures


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
    expected = np.einsum("ai,bj,ijc->abc", weights, weights, inner)
    np.testing.assert_allclose(found, expected, atol=1.1)  # both passes round to 8 bits


def test_crop_takes_the_centre_and_resize_keeps_what_fits():
    picture = Image.fromarray(_PIXELS)
    np.testing.assert_array_equal(crop_and_resize(picture, 32, 32), _PIXELS[16:48, 16:48])
    np.testing.assert_array_equal(crop_and_resize(picture, None, 64), _PIXELS)
    np.testing.assert_array_equal(crop_and_resize(picture, 100, 64), _PIXELS)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16", "YCbCr"])
def test_any_colour_mode_becomes_rgb(mode, tmp_path):
    gray = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    kind = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    if mode == "I;16":
        path = _save(tmp_path / f"a{kind}", gray.astype(np.uint16) * 257, mode)
    else:
        path = _save(tmp_path / f"a{kind}", gray, "RGB" if mode == "1" else "L")
        Image.open(path).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    picture = open_rgb(path)
    assert picture.mode == "RGB"
    tolerance = 255 if mode == "1" else 4
    error = np.abs(np.asarray(picture, int) - gray[..., None])
    assert error.max() <= tolerance
    assert np.asarray(picture)[:, 0].mean() < 10 and np.asarray(picture)[:, -1].mean() > 245


def test_transparency_is_laid_over_white_with_a_warning(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:32, :, 3] = 255
    path = _save(tmp_path / "a.png", pixels, "RGBA")
    with pytest.warns(UserWarning, match=r"a.png is partly transparent"):
        picture = np.asarray(open_rgb(path))
    assert (picture[:32] == 0).all() and (picture[32:] == 255).all()


def test_opaque_alpha_warns_of_nothing(tmp_path):
    path = _save(tmp_path / "a.png", Image.fromarray(_PIXELS).convert("RGBA"), "RGBA")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(open_rgb(path), _PIXELS)


def test_exif_orientation_is_respected(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is on top has to go to the right
    path = _save(tmp_path / "a.png", pixels, exif=exif)
    turned = np.asarray(open_rgb(path))
    assert (turned[:, 32:] == 255).all() and (turned[:, :32] == 0).all()


def test_small_picture_is_enlarged_with_a_warning(tmp_path):
    path = _save(tmp_path / "a.png", _PIXELS[:32, :32])
    with pytest.warns(UserWarning, match="32 pixels wide and is enlarged to 64"):
        open_rgb(path, expected=64)


def _truncated(path):
    whole = _save(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _animated(path):
    frames = [Image.fromarray(np.roll(_PIXELS, i, 0)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _huge_header(path):
    """A PNG that claims to have 60000 pixels a side."""
    import struct
    import zlib

    raw = bytearray(_save(path).read_bytes())
    raw[16:24] = struct.pack(">II", 60000, 60000)
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "does not exist"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("no picture"), "not an image"),
        (_truncated, "damaged or truncated"),
        (_animated, "animated .3 frames"),
        (lambda path: _save(path, _PIXELS[:40]), "64 x 40 pixels.*square"),
        (lambda path: _save(path, _PIXELS[:8, :8]), "only 8 pixels wide"),
        (
            lambda path: _save(path, np.zeros((1, 9000), np.uint8), "L"),
            "9000 x 1 pixels: at most 8192",
        ),
        (_huge_header, "at most 8192"),
        (lambda path: _save(path, _PIXELS[..., 0].astype(np.int32) - 100, "I"), "8 or 16 bits"),
    ],
)
def test_unusable_picture_is_refused_by_name(make, message, tmp_path):
    path = tmp_path / ("a.gif" if make is _animated else "a.tif" if "bits" in message else "a.png")
    make(path)
    with pytest.raises(UserError, match=message) as caught:
        open_rgb(path)
    assert str(path) in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_damaged_pictures_never_escape_as_other_errors(position, noise):
    import io
    import tempfile

    buffer = io.BytesIO()
    Image.fromarray(_PIXELS).save(buffer, "PNG")
    raw = bytearray(buffer.getvalue())
    raw[position : position + len(noise)] = noise
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pathlib.Path(folder) / "a.png"
        path.write_bytes(raw)
        try:
            assert open_rgb(path).mode == "RGB"
        except UserError as error:
            assert str(path) in str(error)


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
    np.testing.assert_allclose(
        data.load_mask(path, 50, crop=60, image_size=120).mean(), 0.25, atol=0.02
    )


def test_bilevel_mask_is_read(tmp_path):
    path = _save(tmp_path / "m.png", Image.fromarray(_PIXELS[..., 0]).convert("1"), "1")
    assert set(np.unique(open_gray(path))) == {0, 255}


def test_empty_mask_is_refused(tmp_path):
    path = _save(tmp_path / "m.png", np.zeros((64, 64), np.uint8), "L")
    with pytest.raises(UserError, match=r"m.png is empty"):
        data.load_mask(path, 64)


# Depths


@pytest.mark.parametrize(
    "depth, message",
    [
        (np.ones((32, 32), np.float32), r"shape \(32, 32\): \(64, 64\)"),
        (np.ones((64, 64, 1), np.float32), "shape"),
        (np.full((64, 64), np.nan, np.float32), "not finite"),
        (np.full((64, 64), "a"), "instead of numbers"),
        (np.full((64, 64), None), "no usable .npy"),
    ],
)
def test_unusable_depth_is_refused_by_name(depth, message, tmp_path):
    np.save(tmp_path / "d.npy", depth)
    with pytest.raises(UserError, match=message) as caught:
        data.load_depth(tmp_path / "d.npy", 64, None, 0.9, 1.1)
    assert "d.npy" in str(caught.value)


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


# Latents and statistics


@pytest.mark.parametrize("shape", [(128,), (1, 128), (1, 10, 128)])
def test_latent_shapes(shape, tmp_path):
    latent = _RNG.standard_normal(shape).astype(np.float32)
    np.save(tmp_path / "w.npy", latent)
    found = data.load_latent(tmp_path / "w.npy", 128)
    assert found.shape == (shape if len(shape) > 1 else (1, 128))
    np.testing.assert_array_equal(found.reshape(shape), latent)


@pytest.mark.parametrize(
    "latent, message",
    [
        (np.zeros((1, 64)), "width is 128"),
        (np.zeros((2, 128)), "width is 128"),
        (np.zeros(()), "width is 128"),
        (np.full(128, np.inf), "not finite"),
        (np.zeros(128, complex), "instead of numbers"),
    ],
)
def test_unusable_latent_is_refused_by_name(latent, message, tmp_path):
    np.save(tmp_path / "w.npy", latent)
    with pytest.raises(UserError, match=message) as caught:
        data.load_latent(tmp_path / "w.npy", 128)
    assert "w.npy" in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5)))
def test_any_array_is_a_latent_or_a_user_error(array):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "w.npy"
        np.save(path, array)
        try:
            found = data.load_latent(path, 4)
        except UserError:
            return
    assert found.shape[0] == 1 and found.shape[-1] == 4 and np.isfinite(found).all()


def test_torch_latents_and_statistics(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("gan2shape_jax.torch_reader")
    w = torch.randn(1, 16)
    for content in (w, w[0], {"latent": w}):
        torch.save(content, tmp_path / "w.pt")
        np.testing.assert_array_equal(data.load_latent(tmp_path / "w.pt", 16), w.numpy())
    torch.save({"w": w}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="without the entry 'latent'"):
        data.load_latent(tmp_path / "w.pt", 16)
    mean, cov = torch.zeros(6), torch.eye(6)
    torch.save({"mean": mean, "cov": cov}, tmp_path / "v.pth")
    found = data.load_mvn(tmp_path / "v.pth", 6)
    np.testing.assert_array_equal(found[0], mean.numpy())
    np.testing.assert_array_equal(found[1], cov.numpy())


def test_latent_that_would_run_code_is_refused_and_does_not(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("gan2shape_jax.torch_reader")
    trace = tmp_path / "trace"

    class Hostile:
        def __reduce__(self):
            return (pathlib.Path.touch, (trace,))

    torch.save({"latent": Hostile()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w.pt"):
        data.load_latent(tmp_path / "w.pt", 16)
    assert not trace.exists()


@pytest.mark.parametrize(
    "mean, cov, message",
    [
        (np.zeros(5), np.eye(5), "mean of length 6"),
        (np.zeros(6), np.eye(5), "covariance of"),
        (np.zeros(6), -np.eye(6), "positive semi-definite"),
        (np.zeros(6), np.triu(np.ones((6, 6))), "symmetric"),
        (np.full(6, np.nan), np.eye(6), "not finite"),
        (None, np.eye(6), "has to hold 'mean' and 'cov'"),
    ],
)
def test_unusable_statistics_are_refused_by_name(mean, cov, message, tmp_path):
    np.savez(tmp_path / "v.npz", cov=cov, **({} if mean is None else {"mean": mean}))
    with pytest.raises(UserError, match=message) as caught:
        data.load_mvn(tmp_path / "v.npz", 6)
    assert "v.npz" in str(caught.value)
