"""Arguments of the public interface that are none: every one is an error that names the argument, and nothing else."""

import contextlib
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from helpers import hostile_pictures
from PIL import Image

from gan2shape_jax.errors import ArgumentError, UserError
from gan2shape_jax.interface import arguments

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def refusals():
    """What came of every wrong argument; from a process of its own, for in tests signatures are looked at before."""
    program = pathlib.Path(__file__).parents[1] / "helpers" / "argument_program.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_none_is_refused_by_its_argument(refusals):
    assert len(refusals) >= 150
    assert [found for found in refusals if found["outcome"] != "ArgumentError"] == []
    assert [found for found in refusals if not found["told"].startswith(found["argument"])] == []
    assert max(len(found["told"]) for found in refusals) < 400


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full(8, 1e30), "latent holds 1.0e.30: numbers up to 1e.06 are sensible"),
        (np.full(8, 1e300), "latent holds numbers that are too large for 32 bits"),
        (np.ones(8, bool), "latent has the type bool"),
    ],
)
def test_latents_that_no_gan_gives(value, message):
    with pytest.raises(ArgumentError, match=message):
        arguments.latent_of(value, 8, 6)


@pytest.mark.parametrize("depth", [np.ones((16, 16), bool), np.full((16, 16), -1.0), np.full((16, 16), 1e300)])
def test_depths_that_are_none(depth):
    with pytest.raises(ArgumentError, match="true_depth"):
        arguments.true_depth_of(depth, 16, 1.1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_picture_that_was_opened_but_cannot_be_decoded(kind):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(stream, kind)
    whole = stream.getvalue()
    opened = None
    with contextlib.suppress(OSError):  # WebP is refused by Pillow itself
        opened = Image.open(io.BytesIO(whole[: len(whole) // 2]))
    if opened is None:
        return
    for call in (arguments.picture_of, lambda value: arguments.mask_of(value, 64, 16, None)):
        with pytest.raises(ArgumentError, match="is damaged or truncated"):
            call(opened)


def test_a_picture_of_another_kind_is_not_decoded():
    opened = Image.open(io.BytesIO(hostile_pictures.EPS))
    with pytest.raises(ArgumentError, match="image comes from a EPS file: PNG, JPEG"):
        arguments.picture_of(opened)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_pictures_are_turned_as_pillow_turns_them_and_left_alone(mode, orientation):
    from PIL import ImageOps

    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 4), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    picture.getexif()[0x0112] = orientation
    before = picture.tobytes()
    turned = ImageOps.exif_transpose(picture)
    if turned.has_transparency_data:
        turned = turned.convert("RGBA")
        np.testing.assert_array_equal(np.asarray(arguments.alpha_of(picture)), np.asarray(turned.getchannel("A")))
        turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned)
    np.testing.assert_array_equal(np.asarray(arguments.picture_of(picture)), np.asarray(turned.convert("RGB")))
    assert picture.tobytes() == before and picture.getexif()[0x0112] == orientation


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_the_record_of_a_checkpoint_folder_is_a_regular_file(tmp_path):
    kept = importlib.import_module("gan2shape_jax.interface.reconstruct")._kept
    assert kept(tmp_path / "absent") is None
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(UserError, match="pipe"):
        kept(tmp_path / "pipe")
    assert kept(tmp_path / "bytes") == ""
