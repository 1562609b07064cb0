"""Pictures made to do harm: refused in words or honestly read, at once, in little memory, and by no other program."""

import os
import pathlib
import re

import pytest
from helpers import hostile_jpegs, hostile_pictures, hostile_pngs
from helpers.measured_reading import MOST_MIB, read_all

import gan2shape_jax
from gan2shape_jax.errors import UserError
from gan2shape_jax.io.image_files import (
    has_alpha,
    open_alpha,
    open_gray,
    open_rgb,
    open_upright,
    picture_size,
    warn_of_transparency,
)
from gan2shape_jax.io.masks import load_mask

pytestmark = pytest.mark.hostile

_READERS = (
    open_rgb,
    open_gray,
    open_alpha,
    picture_size,
    lambda path: load_mask(path, 64),
    lambda path: open_upright(path, least=20),
)
# Whole pictures of the largest side take as long as decoding them takes.
_LARGE = re.compile(r"large|sides 8192 8192")
_LONGEST = 10.0  # seconds


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """What came of every file, by the description that begins with its kind."""
    folder = tmp_path_factory.mktemp("pictures")
    files = {f"PNG {name}": content for name, content in hostile_pngs.png_files().items()}
    files |= {f"JPEG {name}": content for name, content in hostile_jpegs.jpeg_files().items()}
    files |= hostile_pictures.other_files()
    cases = {}
    for index, (name, content) in enumerate(files.items()):
        path = folder / f"{index:04}.png"
        path.write_bytes(content)
        cases[name] = ("picture", path)
        cases[f"{name}, as a photo"] = ("photo", path)
        if name in ("PNG large RGBA of 16 bits", "PNG large RGB turned", "PNG large grey of 16 bits"):
            reader = "alpha" if "A" in name else "mask"
            cases[f"{name}, its {reader}"] = (reader, path)
    done = read_all(cases, folder)
    for path in folder.iterdir():
        path.unlink()
    return done


def test_there_are_many_of_each_kind(readings):
    for kind in ("PNG", "JPEG"):
        assert sum(name.startswith(f"{kind} ") for name in readings) >= 100
    assert len(readings) >= 600


def test_no_file_does_harm(readings):
    assert {name: found.harm for name, found in readings.items() if found.harm and not _LARGE.search(name)} == {}


def test_large_pictures_fit_into_the_budget(readings):
    large = {name: found for name, found in readings.items() if _LARGE.search(name)}
    assert {name: found.outcome for name, found in large.items() if found.outcome not in ("read", "refused")} == {}
    assert {name: found.mib for name, found in large.items() if found.mib > MOST_MIB} == {}
    assert {name: found.seconds for name, found in large.items() if found.seconds > _LONGEST} == {}
    for name in ("PNG large RGB of 16 bits", "PNG large RGB turned", "PNG large grey of 16 bits", "JPEG large"):
        assert large[name].outcome == "read"


def test_each_is_refused_by_its_name_and_in_a_few_words(readings):
    refused = {name: found.told for name, found in readings.items() if found.outcome == "refused"}
    assert len(refused) >= 350
    assert [name for name, told in refused.items() if ".png" not in told] == []
    assert [name for name, told in refused.items() if len(told) > 500] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("EPS", "is EPS or PostScript; PNG, JPEG, WebP, TIFF, GIF, BMP and PPM are read"),
        ("EPS with a preview", "is EPS or PostScript"),
        ("PDF", "is PDF"),
        ("SVG", "is SVG"),
        ("WMF", "is WMF or EMF"),
        ("HEIC", "is HEIC"),
        ("AVIF", "is AVIF"),
        ("an array", "is a NumPy array"),
        ("a web page", "has a download failed"),
        ("text", "is not an image of a kind that is known; PNG, JPEG"),
        ("nothing", "is empty"),
        ("PNG 300 frames", "is animated or has several pages"),
        ("GIF 3000 frames", "is animated or has several pages"),
        ("WebP 200 frames", "is animated or has several pages"),
        ("TIFF 3 pages", "is animated or has several pages"),
        ("BMP a slow one", "rare kind"),
        ("PNG many empty pieces", "more than 100000 parts"),
        ("PNG long text", "16 MiB of it are no picture"),
        ("JPEG an EXIF bomb", "its metadata announce"),
        ("JPEG an EXIF bomb in pieces", "its metadata announce"),
        ("JPEG 5000 scans", "is drawn in 50.. scans"),
        ("JPEG large in many scans, whole colours", "take 832 MiB to decode from such a JPEG file"),
        ("TIFF 1000 large entries", "table of contents is larger"),
        ("PNG sides 60000 60000", "at most 8192"),
        ("PNG sides 0 64", "image"),
    ],
)
def test_what_is_wrong_is_said(readings, name, words):
    assert re.search(words, readings[name].told)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a folder"])
def test_special_files_are_not_opened(kind, tmp_path):
    path = tmp_path / "001.png"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert not has_alpha(path)
    warn_of_transparency(path)
    for read in _READERS:
        with pytest.raises(UserError, match=rf"001\.png is {kind}, not a file"):
            read(path)


@pytest.mark.skipif(os.name != "posix", reason="the other program is a shell script")
def test_no_other_program_is_started(tmp_path, monkeypatch):
    trace, programs = tmp_path / "trace", tmp_path / "programs"
    programs.mkdir()
    for name in ("gs", "gswin64c", "gswin32c", "gswin64", "inkscape", "rsvg-convert", "wmf2eps"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {trace}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "001.png"
    for name in ("EPS", "EPS with a preview", "SVG", "PDF", "WMF"):
        path.write_bytes(hostile_pictures.other_files()[name])
        assert not has_alpha(path)
        for read in _READERS:
            with pytest.raises(UserError, match=r"001\.png"):
                read(path)
    assert not trace.exists()


def test_only_these_modules_of_the_package_open_pictures_and_only_of_named_kinds():
    """A reader beside them would open anything that Pillow knows."""
    package = pathlib.Path(gan2shape_jax.__path__[0])
    calls = {
        path.relative_to(package).as_posix(): re.findall(r"Image\.open\((.*)\)", path.read_text(encoding="utf-8"))
        for path in package.rglob("*.py")
    }
    assert {name: found for name, found in calls.items() if found} == {
        "inputs/isolated_decoder.py": ["file, formats=[_FORMATS[kind]]"],
        "inputs/picture_files.py": ["file, formats=[kind]"],
    }
