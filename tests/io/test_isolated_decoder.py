"""HEIC and AVIF photos, decoded in a process of their own."""

import numpy as np
import pytest
from PIL import Image, features

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import isolated_decoder
from gan2shape_jax.io.image_files import open_rgb, open_upright

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


def _picture(width=48, height=32):
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def _save_heic(picture, path, **options):
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture.save(path, format="HEIF", quality=95, **options)


def _orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif.tobytes()


def test_heic_is_read_upright(tmp_path):
    _save_heic(_picture(), tmp_path / "a.heic", exif=_orientation(6))
    upright, alpha, reduction = open_upright(tmp_path / "a.heic", least=16)
    assert upright.size == (32, 48) and alpha is None and reduction == 1
    expected = np.asarray(_picture().rotate(-90, expand=True), np.float32)
    assert np.abs(np.asarray(upright, np.float32) - expected).mean() < 4


@needs_avif
def test_avif_is_read_with_its_alpha_channel(tmp_path):
    picture = _picture()
    alpha = Image.new("L", picture.size, 0)
    alpha.paste(255, (10, 10, 30, 30))
    picture.putalpha(alpha)
    picture.save(tmp_path / "a.avif", quality=90)
    upright, found, _ = open_upright(tmp_path / "a.avif", least=16)
    assert upright.mode == "RGB" and found is not None
    assert np.abs(np.asarray(found, np.float32) - np.asarray(alpha, np.float32)).mean() < 8
    assert np.asarray(upright)[0, 0].min() > 245  # laid over white where it is transparent


@needs_avif
@pytest.mark.parametrize("fault", ["cut", "animated", "large", "small"])
def test_what_is_no_usable_photo_is_refused_in_words(tmp_path, fault):
    path = tmp_path / "a.avif"
    if fault == "large":
        _picture(9000, 32).save(path)
    elif fault == "animated":
        _picture().save(path, save_all=True, append_images=[_picture().rotate(90)])
    else:
        (_picture(8, 8) if fault == "small" else _picture()).save(path)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"a\.avif"):
        open_upright(path, least=16)


def test_a_process_that_dies_is_told(tmp_path, monkeypatch):
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x20ftypavif" + bytes(100))
    monkeypatch.setattr(isolated_decoder.sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="within 2048 MiB, or is damaged"):
        open_upright(tmp_path / "a.avif", least=16)


def test_runs_over_lists_still_refuse_them(tmp_path):
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x20ftypavif" + bytes(100))
    with pytest.raises(UserError, match="AVIF"):
        open_rgb(tmp_path / "a.avif")
