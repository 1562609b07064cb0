"""Arrays from files and from callers of Python: what is taken, to which bits, and what is said of the rest."""

import contextlib
import functools
import io
import pathlib
import warnings

import numpy as np
import pytest
from helpers import hostile_arrays, hostile_pictures
from helpers.tiny import asset
from PIL import Image, ImageOps

from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.io import arrays, checkpoints
from gan2shape_jax.io.data import load_mask

_PIXELS = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


_WHOLE = Image.fromarray(_PIXELS)


@pytest.mark.parametrize(
    "image",
    [_PIXELS, _PIXELS / 255, (_PIXELS / 255).astype(np.float32), _WHOLE, _WHOLE.convert("RGBA")],
    ids=["uint8", "float64", "float32", "RGB", "RGBA"],
)
def test_the_same_picture_in_any_form(image):
    np.testing.assert_array_equal(np.asarray(arrays.picture_of(image)[0]), _PIXELS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_pictures_are_turned_by_their_orientation_laid_on_white_and_left_alone(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 4), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    picture.getexif()[0x0112] = 6
    before = picture.tobytes()
    turned = ImageOps.exif_transpose(picture)
    if turned.has_transparency_data:
        turned = turned.convert("RGBA")
        np.testing.assert_array_equal(np.asarray(arrays.picture_of(picture)[1]), np.asarray(turned.getchannel("A")))
        turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned)
    np.testing.assert_array_equal(np.asarray(arrays.picture_of(picture)[0]), np.asarray(turned.convert("RGB")))
    assert picture.tobytes() == before and picture.getexif()[0x0112] == 6


def test_a_mask_has_the_bits_of_its_file():
    path = pathlib.Path(asset("ictface/mask/001.png"))
    values = np.asarray(Image.open(path).convert("L"))
    for crop in (None, 40):
        from_file = load_mask(path, 32, crop, len(values))
        for mask in (Image.open(path), values):
            np.testing.assert_array_equal(arrays.mask_of(mask, len(values), 32, crop), from_file)
        np.testing.assert_allclose(arrays.mask_of(values / 255, len(values), 32, crop), from_file, atol=1e-6)


@pytest.mark.parametrize(
    "shape, dtype", [((24, 24, 1), bool), *(((24, 24), dtype) for dtype in (bool, np.uint8, np.int64, np.float32))]
)
def test_zeros_and_ones_are_a_mask_in_any_type(shape, dtype):
    mask = np.zeros((24, 24), np.float32)
    mask[6:18, 6:18] = 1
    np.testing.assert_array_equal(_mask(mask.astype(dtype).reshape(shape)), mask)


@pytest.mark.parametrize(("shape", "full"), [((8,), (1, 8)), ((6, 8), (1, 6, 8))])
def test_a_latent_has_an_axis_of_layers_or_of_images(shape, full):
    assert _latent(np.zeros(shape)).shape == _latent(np.zeros(full)).shape == full


def test_latents_and_depths():
    argument = _depth(np.pad(np.full((2, 2), 0.95), 1, constant_values=1.3))
    assert argument.max() == np.float32(1.1) and argument.min() == np.float32(0.95)


_mask = functools.partial(arrays.mask_of, side=24, size=24, crop=None)
_latent = functools.partial(arrays.latent_of, style_dim=8, layers=6)
_depth = functools.partial(arrays.true_depth_of, size=4, max_depth=1.1)


@pytest.mark.parametrize(
    ("take", "value", "message"),
    [
        (arrays.picture_of, _PIXELS[:20], "image is 20 x 24 pixels: crop it to a square"),
        (arrays.picture_of, _PIXELS[:8, :8], "image is 8 pixels wide"),
        (arrays.picture_of, _PIXELS[..., 0], r"image has the shape \(24, 24\): it must be \(height, width, 3\)"),
        (arrays.picture_of, _PIXELS.astype(int), "image has the type int64 .*: it must be uint8, or floats"),
        (
            arrays.picture_of,
            _PIXELS / 127.5 - 1,
            r"image has the type float64 and values from -.*: .* floats in \[0, 1\]",
        ),
        (arrays.picture_of, np.full((24, 24, 3), np.nan), "image holds numbers that are not finite"),
        (arrays.picture_of, np.array(["face"]), "image has the type <U4: it must be an array of numbers"),
        (arrays.picture_of, Image.new("I", (24, 24)), "image is of Pillow's mode I"),
        (arrays.picture_of, Image.open(io.BytesIO(hostile_pictures.EPS)), "image comes from a EPS file: PNG, JPEG"),
        (_mask, np.ones((20, 24)), r"mask has the shape \(20, 24\): it must be the image's, \(24, 24\)"),
        (_mask, np.zeros((24, 24)), "mask is empty"),
        (_mask, np.full((24, 24), 1.5), "mask has values from 1.5 to 1.5"),
        (_mask, np.full((24, 24), -1), "mask has values from -1 to -1"),
        (_mask, np.full((24, 24), 300), "mask has values from 300 to 300"),
        (_latent, np.zeros((5, 8)), r"latent has the shape \(5, 8\): this GAN takes \(8,\) or \(6, 8\)"),
        (_latent, np.full(8, 1e30), "latent holds 1.0e.30: at most 1e.06 is expected"),
        (_latent, np.full(8, 1e300), "latent holds numbers that are too large for 32 bits"),
        (_latent, np.ones(8, bool), "latent has the type bool"),
        (_depth, np.ones((4, 5)), r"true_depth has the shape \(4, 5\): \(4, 4\) is expected"),
        (_depth, np.eye(4), "true_depth has values down to 0: .* background is the greatest, 1.1"),
        (_depth, np.full((4, 4), 2.0), "true_depth shows no object: none of it is nearer than .*max_depth, 1.1"),
        (_depth, np.full((4, 4), np.inf), "true_depth holds numbers that are not finite"),
    ],
)
def test_other_values_are_refused_in_a_sentence(take, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        take(value)
    assert isinstance(caught.value, UserError)


class _Strange:
    def __array__(self, *args, **kwargs):
        raise MemoryError("no array of this")


def test_what_is_no_array_or_picture_is_refused_by_the_argument_s_name():
    none = [None, "text", b"text", {}, {"a": 1}, set(), object(), _Strange(), [], [[]], [[1, 2], [3]], ["a", "b"]]
    none += [[None] * 8, [10**400] * 8, [1j] * 8, np.array({}), np.zeros((), object), np.zeros(8, complex)]
    none += [np.zeros(shape) for shape in ((0,), (0, 0), (0, 0, 3), (16, 0, 3), (), (1,) * 30)]
    none += [np.zeros(8, "M8[s]"), np.zeros(8, [("a", "f4")]), np.full(8, np.inf), np.full((16, 16), 1e39)]
    none += [np.ma.masked_all((16, 16)), Image.new("F", (16, 16)), Image.new("RGB", (0, 16))]
    none += [Image.new("RGB", (9000, 1))]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for value in none:
            for name, take in (("image", arrays.picture_of), ("mask", _mask), ("latent", _latent)):
                with pytest.raises(ArgumentError, match=f"^{name}") as caught:
                    take(value)
                assert len(str(caught.value)) < 400
            with pytest.raises(ArgumentError, match="^true_depth"):
                _depth(value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_picture_that_was_opened_but_cannot_be_decoded(kind):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    half = stream.getvalue()[: len(stream.getvalue()) // 2]
    with contextlib.suppress(OSError):  # WebP is refused by Pillow itself
        opened = Image.open(io.BytesIO(half))
        for take in (arrays.picture_of, lambda value: arrays.mask_of(value, 64, 16, None)):
            with pytest.raises(ArgumentError, match="is damaged or truncated"):
                take(opened)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mean": np.zeros(5), "cov": np.eye(5)}, "mean of length 6"),
        ({"mean": np.zeros(6), "cov": np.eye(5)}, "arrays of shape .6,. and .5, 5.: a mean of length 6"),
        ({"mean": np.zeros(6), "cov": -np.eye(6)}, "positive semi-definite"),
        ({"mean": np.zeros(6), "cov": np.triu(np.ones((6, 6)))}, "symmetric"),
        ({"mean": np.full(6, np.nan), "cov": np.eye(6)}, "not finite"),
        ({"cov": np.eye(6)}, "must hold 'mean' and 'cov'"),
    ],
)
def test_unusable_statistics_are_refused_by_name(tmp_path, content, message):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match=message) as caught:
        arrays.load_mvn(tmp_path / "a.npz", 6)
    assert str(tmp_path / "a.npz") in str(caught.value)


def test_torch_latents_and_statistics(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(checkpoints, "run_limited", lambda function, *args, **limits: function(*args))
    w = torch.randn(1, 16)
    # The last one is what the original's inversion of the rendered faces wrote.
    for content in (w, w[0], torch.nn.Parameter(w), {"img": torch.zeros(3, 8, 8), "latent": w}):
        torch.save(content, tmp_path / "w.pt")
        np.testing.assert_array_equal(arrays.load_latent(tmp_path / "w.pt", 16), w.numpy())
    np.save(tmp_path / "w.npy", w.expand(1, 14, 16).numpy())
    np.testing.assert_array_equal(arrays.load_latent(tmp_path / "w.npy", 16), w.expand(1, 14, 16).numpy())
    mean, cov = torch.zeros(6), torch.eye(6)
    torch.save({"mean": mean, "cov": cov}, tmp_path / "v.pth")
    for actual, saved in zip(arrays.load_mvn(tmp_path / "v.pth", 6), (mean, cov), strict=True):
        np.testing.assert_array_equal(actual, saved.numpy())
    torch.save({"w": w}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="without 'latent'"):
        arrays.load_latent(tmp_path / "w.pt", 16)


@pytest.mark.parametrize("read", [lambda path: arrays.load_latent(path, 4), arrays.load_mvn], ids=["w", "statistics"])
@pytest.mark.parametrize("content", [[[1.0, 2.0], [3.0]], "text", None, [10**400] * 4, [True] * 4])
def test_other_torch_files_are_refused(tmp_path, monkeypatch, read, content):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(checkpoints, "run_limited", lambda function, *args, **limits: function(*args))
    torch.save({"latent": content, "mean": content, "cov": content}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt"):
        read(tmp_path / "w.pt")


def test_files_made_to_do_harm_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readers = {
        "w.npy": (hostile_arrays.npy_files(), lambda path: arrays.load_latent(path, 512)),
        "d.npy": (hostile_arrays.npy_files(), lambda path: arrays.load_depth(path, 64, None, 0.9, 1.1)),
        "v.npz": (hostile_arrays.npz_files(), lambda path: arrays.load_mvn(path, 6)),
    }
    for name, (files, read) in readers.items():
        for what, content in files.items():
            (tmp_path / name).write_bytes(content)
            with warnings.catch_warnings(), pytest.raises(UserError, match=name) as caught:
                warnings.simplefilter("error")
                read(tmp_path / name)
            assert len(str(caught.value)) < 700, what
    assert not (tmp_path / "RAN").exists()
