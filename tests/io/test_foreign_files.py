"""Pictures made to do harm: a sentence, and nothing ran; behind the wall within its memory and time."""

import os
import pathlib
import re
import sys
import time
import warnings

import numpy as np
import pytest
from helpers import hostile_pictures
from PIL import Image

import gan2shape_jax
from gan2shape_jax.errors import UserError
from gan2shape_jax.io import image_files
from gan2shape_jax.io.data import load_mask
from gan2shape_jax.io.image_files import open_square, open_upright, picture_sides

pytestmark = pytest.mark.process
_READERS = (open_square, picture_sides, lambda path: load_mask(path, 64), lambda path: open_upright(path, least=20))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths by the description of what lies there, each under the name of a picture."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = {}
    for number, (name, content) in enumerate(hostile_pictures.pictures().items()):
        paths[name] = folder / f"{number:03}.png"
        paths[name].write_bytes(content)
    return paths


def _refusal(read, path) -> str:
    with warnings.catch_warnings(), pytest.raises(UserError) as caught:
        warnings.simplefilter("ignore")
        read(path)
    return str(caught.value)


def test_each_is_refused_by_its_name_and_in_a_sentence(files):
    told = {name: _refusal(open_square, path) for name, path in files.items()}
    assert [name for name in told if str(files[name]) not in told[name] or len(told[name]) > 500] == []
    several = "is animated or has several pages"
    expected = {name: f"is {name.split()[0]}" for name in ("HEIC of zeros", "AVIF of zeros")}
    expected |= dict.fromkeys(("PNG animated", "GIF animated", "WebP animated", "TIFF of 3 pages"), several)
    expected |= {
        "EPS": "is not an image of a known kind; PNG, JPEG, WebP, TIFF, GIF, BMP and PPM are read",
        "a web page": "has a download failed",
        "a pickle": "is not an image of a known kind",
        "nothing": "is empty",
        "PNG of 60000 x 60000": "at most 8192",
    }
    assert [name for name, words in expected.items() if words not in told[name]] == []


@pytest.mark.parametrize("name", ["AVIF of zeros", "PNG with long text", "JPEG with an EXIF bomb, cut"])
def test_behind_the_wall_too_and_soon(files, name):
    start = time.monotonic()
    assert str(files[name]) in _refusal(lambda path: open_upright(path, least=20, foreign=True), files[name])
    assert time.monotonic() - start < 20


def test_behind_the_wall_a_picture_is_the_same(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 47, 4), np.uint8)
    pixels[:9, :, 3] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    behind, here = (open_upright(tmp_path / "a.png", least=20, foreign=foreign) for foreign in (True, False))
    for actual, expected in zip(behind, here, strict=True):
        np.testing.assert_array_equal(actual, expected)


def _rough(path: pathlib.Path, size: tuple[int, int], **options) -> Image.Image:
    rough = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    picture = rough.resize(size, Image.Resampling.BICUBIC)
    picture.save(path, **options)
    return picture


def test_avif_is_read_and_a_module_beside_it_is_not_run(tmp_path, monkeypatch):
    pytest.importorskip("PIL._avif")
    picture = _rough(tmp_path / "a.png", (120, 90), format="AVIF", quality=95)
    for module in ("json", "struct", "tempfile", "numpy"):
        (tmp_path / f"{module}.py").write_text("open('RAN', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    actual, alpha, reduction, _ = open_upright("a.png", least=20)
    assert actual.size == (120, 90) and alpha is None and reduction == 1
    assert np.abs(np.asarray(actual, float) - np.asarray(picture, float)).mean() < 3
    assert not (tmp_path / "RAN").exists()
    assert "is AVIF; PNG" in _refusal(open_square, pathlib.Path("a.png"))  # only single photos are worth a process


def test_large_avif_is_reduced(tmp_path):
    pytest.importorskip("PIL._avif")
    _rough(tmp_path / "a.avif", (4200, 40), quality=50, speed=10)
    actual, _, reduction, _ = open_upright(tmp_path / "a.avif", least=16)
    assert actual.size == (2100, 20) and reduction == 2


def test_what_reads_heic_is_named_where_it_is_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(90))
    refusal = _refusal(lambda path: image_files._decoded(path, alone=True), path)
    assert "pip install -e '.[heic]' in the checkout" in refusal


@pytest.mark.skipif(os.name != "posix", reason="the other program is a shell script")
def test_no_other_program_is_started(files, tmp_path, monkeypatch):
    for name in ("gs", "gswin64c", "inkscape", "rsvg-convert", "wmf2eps"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/RAN\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("EPS", "EPS with a preview", "SVG", "PDF", "WMF"):
        for read in _READERS:
            _refusal(read, files[name])
    assert not (tmp_path / "RAN").exists()


def test_only_this_module_opens_pictures_and_only_of_named_kinds():
    """A reader beside it would open anything that Pillow knows."""
    package = pathlib.Path(gan2shape_jax.__path__[0])
    sources = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in package.rglob("*.py")}
    calls = {name: re.findall(r"Image\.open\((.*)\)", text) for name, text in sources.items()}
    allowed = calls.pop("io/image_files.py"), calls.pop("apps/serve/page.py")
    assert not any(calls.values())
    assert allowed[0] == ["io.BytesIO(content) if content else file, formats=[kind]"]
    assert all("PREVIEW" in call for call in allowed[1])  # which the worker has written
