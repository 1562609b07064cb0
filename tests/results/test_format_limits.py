"""What no format can hold is refused before the first frame, and what it can hold is not."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.results import format_limits

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize(
    "ending, side", [(".gif", 65535), (".jpg", 65500), (".webp", 16383), (".png", 2**17), (".mp4", 16384)]
)
def test_the_longest_side_of_each_format_is_accepted_and_one_more_is_not(ending, side):
    out = pathlib.Path(f"a{ending}")
    format_limits.require_size(out, side, 2)
    format_limits.require_size(out, 2, side)
    if ending != ".png":
        with pytest.raises(UserError, match=f"at most {side} a side"):
            format_limits.require_size(out, side + 1, 2)


@pytest.mark.parametrize("ending, side", [(".gif", 65535), (".jpg", 65500), (".webp", 16383)])
def test_pillow_writes_and_reads_the_longest_side(ending, side, tmp_path):
    Image.fromarray(np.zeros((1, side, 3), np.uint8)).save(tmp_path / f"a{ending}")
    with Image.open(tmp_path / f"a{ending}") as picture:
        assert picture.size == (side, 1)


@pytest.mark.parametrize(
    "name, width, height, frames, message",
    [
        ("a.gif", 4096, 4096, 1000, "write an .mp4"),
        ("a.mp4", 12292, 4096, 1, "an MP4 can hold"),
        ("a.png", 1000 * 4096, 4096, 1, "at most 268435456 in all"),
        ("a.JPG", 140 * 512, 512, 1, "at most 65500 a side"),
        ("a.webp", 32 * 512, 512, 1, "at most 16383 a side"),
    ],
)
def test_what_is_too_much_in_all_is_refused(name, width, height, frames, message):
    with pytest.raises(UserError, match=message):
        format_limits.require_size(pathlib.Path(name), width, height, frames)


@pytest.mark.parametrize("name, frames", [("a.gif", 1000), ("a.mp4", 1000), ("a.png", 1)])
def test_large_animations_and_pictures_that_can_be_written_are_accepted(name, frames):
    format_limits.require_size(pathlib.Path(name), 1024, 1024, frames)
