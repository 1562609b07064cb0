"""Numbers and names on the command lines: in their bounds, or refused with the option's name."""

import argparse
import math

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.io import option_types

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize(
    "parse, text, value",
    [
        (option_types.size(), "512", 512),
        (option_types.frames(), "1000", 1000),
        (option_types.angle("--yaw"), "-30.5", -30.5),
        (option_types.angle("--yaw"), "720", 720.0),
        (option_types.light("--light"), "1e-3", 0.001),
        (option_types.seed(), "4294967295", 2**32 - 1),
        (option_types.fps(), "16", 16.0),
    ],
)
def test_a_number_in_its_bounds_is_taken(parse, text, value):
    assert parse(text) == value and type(parse(text)) is type(value)


@pytest.mark.parametrize(
    "parse, text, message",
    [
        (option_types.size(), "0", "--size 0: must be between 1 and 4096 pixels"),
        (option_types.size(), "1000000", "--size 1000000: must be between 1 and 4096 pixels"),
        (option_types.frames(), "1000000000", "--frames 1000000000: must be between 1 and 1000"),
        (option_types.angle("--yaw"), "1e300", "--yaw 1e300: must be between -36000 and 36000 degrees"),
        (option_types.angle("--yaw"), "nan", "--yaw nan: must be a finite number"),
        (option_types.light("--light"), "-inf", "--light -inf: must be a finite number"),
        (option_types.light("--light"), "1e30", "--light 1e30: must be between -1000 and 1000"),
        (option_types.seed(), "-1", "--seed -1: must be between 0 and 4294967295"),
        (option_types.seed(), "4294967296", "--seed 4294967296: must be between 0 and 4294967295"),
        (option_types.path("--out"), "", "--out '': it is empty"),
        (option_types.path("--out"), "a\0b", "--out 'a\\x00b': it holds the control character"),
        (option_types.path("--out"), "n" * 300, "no file has so long a name"),
        (option_types.path("--out"), "\udcff", "it is not UTF-8"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(parse, text, message):
    with pytest.raises(UserError) as refusal:
        parse(text)
    assert message in str(refusal.value) and len(str(refusal.value)) < 150


@pytest.mark.parametrize("text", ["many", "1.5", "", "9" * 5000, "0x10", "1" + "\0"])
def test_what_is_no_whole_number_is_left_to_argparse(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number") as refusal:
        option_types.frames()(text)
    assert len(str(refusal.value)) < 100


def test_digits_too_many_for_a_float_are_infinite():
    with pytest.raises(UserError, match="finite"):
        option_types.angle("--yaw")("9" * 5000)
    assert math.isinf(float("9" * 5000))
